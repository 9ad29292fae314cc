/* payload.c: where the bytes of a call live. See payload.h for the places and the region's layout. */
#include "task/payload.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "task/memory_file.h"

struct exl_payload {
    _Atomic uint32_t refs;
    int fd;          /* owned memory file, or -1 */
    bool mapped;     /* region is a mapping, not heap memory */
    bool separate;   /* region is heap memory of its own, not the tail of this struct */
    bool owned;      /* nobody else uses the file */
    uint32_t forks;  /* of this process, when it got the file */
    size_t size;     /* of the region */
    uint8_t *region; /* NULL while pinned or only in the file */
    struct pin *pin; /* owned; NULL once sealed */
};

/* What a pinned payload needs to become a region later. */
struct pin {
    exl_release_cb release;
    void *owner;
    size_t nbody, nbuffers;
    exl_segment_t segments[]; /* body, then buffers */
};

enum { PREFIX_WORDS = 2 };

static size_t align_up(size_t offset)
{
    return (offset + EXL_ALIGNMENT - 1) & ~(size_t)(EXL_ALIGNMENT - 1);
}

static size_t prefix_size(size_t nbuffers)
{
    return (PREFIX_WORDS + nbuffers) * sizeof(uint64_t);
}

static size_t total_size(const exl_segment_t *segments, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += segments[i].size;
    return size;
}

static size_t region_size(size_t body_size, const exl_segment_t *buffers, size_t nbuffers)
{
    size_t size = prefix_size(nbuffers) + body_size;
    for (size_t i = 0; i < nbuffers; i++)
        size = align_up(size) + buffers[i].size;
    return size;
}

/* Words are written one by one: a region received inline need not be aligned. */
static void put_word(uint8_t *prefix, size_t index, uint64_t word)
{
    memcpy(prefix + index * sizeof word, &word, sizeof word);
}

static uint64_t get_word(const uint8_t *prefix, size_t index)
{
    uint64_t word;
    memcpy(&word, prefix + index * sizeof word, sizeof word);
    return word;
}

static void write_prefix(uint8_t *prefix, size_t body_size, const exl_segment_t *buffers, size_t nbuffers)
{
    put_word(prefix, 0, body_size);
    put_word(prefix, 1, nbuffers);
    for (size_t i = 0; i < nbuffers; i++)
        put_word(prefix, PREFIX_WORDS + i, buffers[i].size);
}

static void fill_region(uint8_t *region, const exl_segment_t *body, size_t nbody, const exl_segment_t *buffers,
                        size_t nbuffers)
{
    write_prefix(region, total_size(body, nbody), buffers, nbuffers);
    size_t offset = prefix_size(nbuffers);
    for (size_t i = 0; i < nbody; i++) {
        if (body[i].size)
            memcpy(region + offset, body[i].bytes, body[i].size);
        offset += body[i].size;
    }
    for (size_t i = 0; i < nbuffers; i++) {
        size_t aligned = align_up(offset);
        memset(region + offset, 0, aligned - offset);
        if (buffers[i].size)
            memcpy(region + aligned, buffers[i].bytes, buffers[i].size);
        offset = aligned + buffers[i].size;
    }
}

static exl_payload_t *payload_new(size_t size, size_t tail)
{
    exl_payload_t *payload = malloc(sizeof *payload + tail);
    if (!payload)
        return NULL;
    *payload = (exl_payload_t){.fd = -1, .size = size};
    atomic_init(&payload->refs, 1);
    if (tail)
        payload->region = (uint8_t *)(payload + 1);
    return payload;
}

static struct pin *pin_new(const exl_segment_t *body, size_t nbody, const exl_segment_t *buffers, size_t nbuffers,
                           exl_release_cb release, void *owner)
{
    struct pin *pin = malloc(sizeof *pin + (nbody + nbuffers) * sizeof *pin->segments);
    if (!pin)
        return NULL;
    *pin = (struct pin){.release = release, .owner = owner, .nbody = nbody, .nbuffers = nbuffers};
    memcpy(pin->segments, body, nbody * sizeof *body);
    if (nbuffers)
        memcpy(pin->segments + nbody, buffers, nbuffers * sizeof *buffers);
    return pin;
}

int exl_payload_create(const exl_segment_t *body, size_t nbody, const exl_segment_t *buffers, size_t nbuffers,
                       exl_release_cb release, void *owner, exl_payload_t **ret_payload)
{
    size_t size = region_size(total_size(body, nbody), buffers, nbuffers);
    bool copy = size <= EXL_INLINE_MAX;
    exl_payload_t *payload = payload_new(size, copy ? size : 0);
    if (!payload)
        return -ENOMEM;
    if (copy) {
        fill_region(payload->region, body, nbody, buffers, nbuffers);
    } else if (!(payload->pin = pin_new(body, nbody, buffers, nbuffers, release, owner))) {
        free(payload);
        return -ENOMEM;
    }
    *ret_payload = payload;
    return 0;
}

int exl_payload_from_region(const void *region, size_t size, exl_payload_t **ret_payload)
{
    if (size < prefix_size(0))
        return EXL_EPROTOCOL;
    exl_payload_t *payload = payload_new(size, size);
    if (!payload)
        return -ENOMEM;
    memcpy(payload->region, region, size);
    *ret_payload = payload;
    return 0;
}

int exl_payload_from_file(int fd, size_t size, exl_payload_t **ret_payload)
{
    struct stat status;
    if (size < prefix_size(0) || fstat(fd, &status) < 0 || (uint64_t)status.st_size < size)
        return EXL_EPROTOCOL;
    exl_payload_t *payload = payload_new(size, 0);
    if (!payload)
        return -ENOMEM;
    payload->fd = fd;
    payload->forks = exl_memory_file_forks();
    exl_memory_file_adopt();
    *ret_payload = payload;
    return 0;
}

exl_payload_t *exl_payload_ref(exl_payload_t *payload)
{
    atomic_fetch_add_explicit(&payload->refs, 1, memory_order_relaxed);
    return payload;
}

static void unpin(exl_payload_t *payload)
{
    struct pin *pin = payload->pin;
    payload->pin = NULL;
    if (pin && pin->release)
        pin->release(pin->owner);
    free(pin);
}

void exl_payload_unref(exl_payload_t *payload)
{
    if (!payload || atomic_fetch_sub_explicit(&payload->refs, 1, memory_order_acq_rel) > 1)
        return;
    unpin(payload);
    bool reusable = payload->owned && payload->forks == exl_memory_file_forks();
    if (payload->mapped)
        (void)munmap(payload->region, payload->size);
    else if (payload->separate)
        free(payload->region);
    if (payload->fd >= 0 && reusable)
        exl_memory_file_recycle(payload->fd, payload->size);
    else if (payload->fd >= 0)
        exl_memory_file_close(payload->fd);
    free(payload);
}

void exl_payload_own_file(exl_payload_t *payload)
{
    payload->owned = payload->fd >= 0;
}

void exl_payload_share_file(exl_payload_t *payload)
{
    payload->owned = false;
}

bool exl_payload_pinned(const exl_payload_t *payload)
{
    return payload->pin != NULL;
}

size_t exl_payload_size(const exl_payload_t *payload)
{
    return payload->size;
}

int exl_payload_fd(const exl_payload_t *payload)
{
    return payload->fd;
}

const uint8_t *exl_payload_region(const exl_payload_t *payload)
{
    return payload->region;
}

/* write() rather than a mapping: the kernel then need not clear each page before it is filled. */
static int write_all(int fd, const void *bytes, size_t size, size_t offset)
{
    const uint8_t *from = bytes;
    while (size) {
        ssize_t written = pwrite(fd, from, size, (off_t)offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -errno;
        from += written;
        size -= (size_t)written;
        offset += (size_t)written;
    }
    return 0;
}

static int write_pinned(const exl_payload_t *payload, int fd)
{
    const struct pin *pin = payload->pin;
    const exl_segment_t *buffers = pin->segments + pin->nbody;
    size_t offset = prefix_size(pin->nbuffers);
    uint8_t *prefix = malloc(offset);
    if (!prefix)
        return -ENOMEM;
    write_prefix(prefix, total_size(pin->segments, pin->nbody), buffers, pin->nbuffers);
    int rc = write_all(fd, prefix, offset, 0);
    free(prefix);
    for (size_t i = 0; rc == 0 && i < pin->nbody + pin->nbuffers; i++) {
        if (i >= pin->nbody)
            offset = align_up(offset);
        rc = write_all(fd, pin->segments[i].bytes, pin->segments[i].size, offset);
        offset += pin->segments[i].size;
    }
    /* A last buffer of size 0 leaves the file short of its alignment. */
    struct stat status;
    if (rc == 0 && (fstat(fd, &status) < 0 ||
                    ((uint64_t)status.st_size < payload->size && ftruncate(fd, (off_t)payload->size) < 0)))
        rc = -errno;
    return rc;
}

static int seal_on_heap(exl_payload_t *payload)
{
    const struct pin *pin = payload->pin;
    uint8_t *region = malloc(payload->size);
    if (!region)
        return -ENOMEM;
    fill_region(region, pin->segments, pin->nbody, pin->segments + pin->nbody, pin->nbuffers);
    payload->region = region;
    payload->separate = true;
    return 0;
}

int exl_payload_seal(exl_payload_t *payload)
{
    if (!payload->pin)
        return 0;
    int rc;
    payload->forks = exl_memory_file_forks();
    int fd = exl_memory_file_open(payload->size);
    if (fd < 0)
        rc = seal_on_heap(payload);
    else if ((rc = write_pinned(payload, fd)) == 0)
        payload->fd = fd;
    else
        exl_memory_file_close(fd);
    if (rc == 0)
        unpin(payload);
    return rc;
}

int exl_payload_of(const void *bytes, size_t size, exl_payload_t **ret_payload)
{
    exl_segment_t body = {bytes, size};
    exl_payload_t *payload;
    int rc = exl_payload_create(&body, 1, NULL, 0, NULL, NULL, &payload);
    if (rc < 0)
        return rc;
    rc = exl_payload_seal(payload);
    if (rc < 0)
        exl_payload_unref(payload);
    else
        *ret_payload = payload;
    return rc;
}

int exl_payload_map(exl_payload_t *payload)
{
    if (payload->region)
        return 0;
    assert(payload->fd >= 0);
    void *region = mmap(NULL, payload->size, PROT_READ | PROT_WRITE, MAP_PRIVATE, payload->fd, 0);
    if (region == MAP_FAILED)
        return -errno;
    payload->region = region;
    payload->mapped = true;
    return 0;
}

void exl_payload_close_file(exl_payload_t *payload)
{
    if (!payload->mapped || payload->fd < 0)
        return;
    exl_memory_file_close(payload->fd);
    payload->fd = -1;
    payload->owned = false;
}

int exl_payload_view(const exl_payload_t *payload, exl_payload_view_t *ret_view)
{
    if (!payload->region || payload->size < prefix_size(0))
        return EXL_EPROTOCOL;
    uint64_t body_size = get_word(payload->region, 0);
    uint64_t nbuffers = get_word(payload->region, 1);
    if (nbuffers > payload->size / sizeof(uint64_t) - PREFIX_WORDS)
        return EXL_EPROTOCOL;
    uint64_t offset = prefix_size(nbuffers);
    if (body_size > payload->size - offset)
        return EXL_EPROTOCOL;
    offset += body_size;
    for (uint64_t i = 0; i < nbuffers; i++) {
        uint64_t size = get_word(payload->region, PREFIX_WORDS + i);
        offset = align_up(offset);
        if (offset > payload->size || size > payload->size - offset)
            return EXL_EPROTOCOL;
        offset += size;
    }
    *ret_view = (exl_payload_view_t){.body = payload->region + prefix_size(nbuffers),
                                     .body_size = body_size,
                                     .nbuffers = nbuffers,
                                     .region = payload->region};
    return 0;
}

exl_segment_t exl_payload_view_buffer(const exl_payload_view_t *view, size_t index)
{
    assert(index < view->nbuffers);
    size_t offset = prefix_size(view->nbuffers) + view->body_size;
    for (size_t i = 0;; i++) {
        size_t size = get_word(view->region, PREFIX_WORDS + i);
        offset = align_up(offset);
        if (i == index)
            return (exl_segment_t){.bytes = view->region + offset, .size = size};
        offset += size;
    }
}
