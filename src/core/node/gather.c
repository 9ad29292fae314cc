/* gather.c: see gather.h. */
#include "node/gather.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char begin[] = "\x80\x05"                      /* PROTO 5 */
                            "c_executorlib_core\n_gather\n" /* GLOBAL */
                            "(";                            /* MARK */
static const char end[] = "t"                               /* TUPLE */
                          "R"                               /* REDUCE */
                          ".";                              /* STOP */

enum { BINBYTES8 = 0x8e, MARK = '(', NEXT_BUFFER = 0x97, TUPLE = 't', LENGTH_BYTES = 8 };

/* What stands around one rank's pickle: before it BINBYTES8 and its length, after it the tuple of its buffers. */
static size_t size_of_opcodes(const exl_payload_view_t *view)
{
    return 1 + LENGTH_BYTES + 1 + view->nbuffers + 1;
}

static uint8_t *write_length(uint8_t *at, uint64_t length)
{
    for (int i = 0; i < LENGTH_BYTES; i++)
        *at++ = (uint8_t)(length >> (8 * i));
    return at;
}

struct gathering {
    exl_segment_t *body, *buffers; /* owned arrays */
    size_t nbody, nbuffers;
    uint8_t *opcodes; /* owned */
};

static void gathering_fini(struct gathering *gathering)
{
    free(gathering->body);
    free(gathering->buffers);
    free(gathering->opcodes);
}

static int measure(exl_payload_t *const *payloads, uint32_t count, exl_payload_view_t *views, struct gathering *ret)
{
    size_t nopcodes = 0, nbuffers = 0;
    for (uint32_t i = 0; i < count; i++) {
        int rc = exl_payload_map(payloads[i]);
        if (rc == 0)
            rc = exl_payload_view(payloads[i], &views[i]);
        if (rc < 0)
            return rc;
        nopcodes += size_of_opcodes(&views[i]);
        nbuffers += views[i].nbuffers;
    }
    ret->body = calloc(3 * (size_t)count + 2, sizeof *ret->body);
    ret->buffers = calloc(nbuffers + 1, sizeof *ret->buffers);
    ret->opcodes = malloc(nopcodes + 1);
    return ret->body && ret->buffers && ret->opcodes ? 0 : -ENOMEM;
}

static void add_body(struct gathering *gathering, const void *bytes, size_t size)
{
    gathering->body[gathering->nbody++] = (exl_segment_t){bytes, size};
}

static void compose(struct gathering *gathering, const exl_payload_view_t *views, uint32_t count)
{
    uint8_t *at = gathering->opcodes;
    add_body(gathering, begin, sizeof begin - 1);
    for (uint32_t i = 0; i < count; i++) {
        const exl_payload_view_t *view = &views[i];
        uint8_t *before = at;
        *at++ = BINBYTES8;
        at = write_length(at, view->body_size);
        add_body(gathering, before, (size_t)(at - before));
        add_body(gathering, view->body, view->body_size);
        uint8_t *after = at;
        *at++ = MARK;
        for (size_t k = 0; k < view->nbuffers; k++) {
            *at++ = NEXT_BUFFER;
            gathering->buffers[gathering->nbuffers++] = exl_payload_view_buffer(view, k);
        }
        *at++ = TUPLE;
        add_body(gathering, after, (size_t)(at - after));
    }
    add_body(gathering, end, sizeof end - 1);
}

static void nothing(void *owner)
{
    (void)owner;
}

int exl_gather(exl_payload_t *const *payloads, uint32_t count, exl_payload_t **ret_payload)
{
    struct gathering gathering = {0};
    exl_payload_view_t *views = calloc(count + 1, sizeof *views);
    int rc = views ? measure(payloads, count, views, &gathering) : -ENOMEM;
    if (rc == 0) {
        compose(&gathering, views, count);
        rc = exl_payload_create(gathering.body, gathering.nbody, gathering.buffers, gathering.nbuffers, nothing, NULL,
                                ret_payload);
    }
    /* Copied now: the pieces are the ranks' payloads, which the caller is going to drop. */
    if (rc == 0 && (rc = exl_payload_seal(*ret_payload)) < 0)
        exl_payload_unref(*ret_payload);
    gathering_fini(&gathering);
    free(views);
    return rc;
}
