/* fuzz_ticket.c: any bytes as the file that tells MPI ranks where the head of their group is. */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "node/ticket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char path[64];

static void remove_file(void)
{
    (void)unlink(path);
}

/* In memory, if there is such a directory; a ticket is refused by another name, such as that of a descriptor. */
static int open_file(void)
{
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    (void)snprintf(path, sizeof path, "%s/exl-fuzz-ticket-XXXXXX", parent);
    int fd = mkostemp(path, O_CLOEXEC);
    assert(fd >= 0 && atexit(remove_file) == 0);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    exl_error_t err = {""};
    exl_ticket_t ticket;
    if (fd < 0)
        fd = open_file();
    if (ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
        return 0;
    int rc = exl_ticket_read(path, &ticket, &err);
    assert(rc == 0 || (rc == EXL_EPROTOCOL && *err.text));
    if (rc < 0)
        return 0;
    assert(ticket.port > 0 && strlen(ticket.name) <= EXL_TLS_NAME_MAX);
    assert(strlen(ticket.addresses) <= EXL_TICKET_ADDRESSES_MAX);
    return 0;
}
