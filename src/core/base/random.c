/* random.c: getrandom(), which may be interrupted and may give less than asked for. */
#include "base/random.h"

#include <errno.h>
#include <stdint.h>
#include <sys/random.h>

int exl_random(void *ret_bytes, size_t size)
{
    uint8_t *bytes = ret_bytes;
    for (size_t done = 0; done < size;) {
        ssize_t got = getrandom(bytes + done, size - done, 0);
        if (got < 0 && errno != EINTR)
            return -errno;
        done += got > 0 ? (size_t)got : 0;
    }
    return 0;
}
