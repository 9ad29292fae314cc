/* fuzz_pmi.c: any bytes, in pieces of any size, from any rank, to the server of PMI-1.
 *
 * The input's first byte is the number of ranks; each further piece begins with the rank that says it, and its size. */
#include <assert.h>
#include <string.h>

#include "base/error.h"
#include "launch/pmi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_RANKS = 4 };

/* Every answer is one line of a bounded length. */
static void check(void *owner, uint32_t rank, const char *line, size_t size)
{
    const uint32_t *nranks = owner;
    assert(rank < *nranks);
    assert(size > 5 && size <= EXL_PMI_LINE_MAX && memcmp(line, "cmd=", 4) == 0);
    assert(memchr(line, '\n', size) == line + size - 1 && !memchr(line, '\0', size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    exl_pmi_t *pmi;
    if (size < 1)
        return 0;
    uint32_t nranks = data[0] % MAX_RANKS + 1U;
    if (exl_pmi_create(nranks, "fuzz", check, &nranks, &pmi) < 0)
        return 0;
    int rc = 0, status;
    for (size_t at = 1; rc >= 0 && at + 2 <= size;) {
        size_t piece = data[at + 1] < size - at - 2 ? data[at + 1] : size - at - 2;
        rc = exl_pmi_feed(pmi, data[at] % nranks, (const char *)data + at + 2, piece, &status);
        at += 2 + piece;
    }
    assert(rc == 0 || rc == 1 || rc == EXL_EPROTOCOL || rc == EXL_ECLOSED);
    exl_pmi_destroy(pmi);
    return 0;
}
