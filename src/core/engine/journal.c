/* journal.c: see journal.h. The ring has one writer, whoever holds the engine's lock, and one reader, the thread. */
#include "engine/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/parker.h"
#include "sched/cpus.h"

enum {
    RING_SIZE = 8 * 1024 * 1024,
    RING_HURRY = RING_SIZE / 4, /* so full, it is not left to fill for longer */
    MAX_AFTER = RING_SIZE / 64,
    BATCH_SIZE = 256 * 1024,
    BATCH_MS = 50
};

#define CLOSING UINT32_C(0x80000000)

/* An event in the ring, with its text and the calls it comes after. */
typedef struct {
    exl_event_t event;
    uint32_t size; /* of all of it */
} slot_t;

struct exl_journal {
    exl_list_t link;
    uint64_t serial; /* in the order of the list */
    unsigned refs;   /* under `registry_lock`, like the link */
    int fd;          /* owned */
    dev_t device;
    ino_t inode;
    pid_t pid; /* of the process whose thread writes it */
    exl_origin_t origin;
    uint8_t *ring;            /* owned */
    _Atomic uint64_t told;    /* bytes that have ever gone into the ring */
    _Atomic uint64_t taken;   /* … and out of it */
    _Atomic uint64_t settled; /* … and are written or dropped */
    _Atomic uint64_t dropped; /* events */
    _Atomic bool sleeping;    /* the thread waits for the first event */
    _Atomic bool hurried;
    _Atomic uint32_t call;     /* futex: changes when the thread is to look; and CLOSING */
    _Atomic uint32_t progress; /* futex: `settled` has moved */
    /* The thread's own. */
    exl_buffer_t lines, extra;
    uint64_t admitted; /* dropped events that the log has told of */
    bool torn;         /* the file may end in half a line */
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static exl_list_t journals = {&journals, &journals};
static uint64_t last_serial;
static _Atomic uint32_t closing; /* futex: how many have no reference and are not closed yet */

/* ---- telling ---- */

static void wake(exl_journal_t *journal)
{
    uint32_t call = atomic_load(&journal->call);
    while (!atomic_compare_exchange_weak(&journal->call, &call, (call & CLOSING) | ((call + 1) & ~CLOSING))) {
    }
    exl_parker_wake(&journal->call);
}

static void copy_in(exl_journal_t *journal, uint64_t position, const void *bytes, size_t size)
{
    size_t start = position % RING_SIZE, first = size < RING_SIZE - start ? size : RING_SIZE - start;
    memcpy(journal->ring + start, bytes, first);
    memcpy(journal->ring, (const uint8_t *)bytes + first, size - first);
}

static void copy_out(const exl_journal_t *journal, uint64_t position, void *bytes, size_t size)
{
    size_t start = position % RING_SIZE, first = size < RING_SIZE - start ? size : RING_SIZE - start;
    memcpy(bytes, journal->ring + start, first);
    memcpy((uint8_t *)bytes + first, journal->ring, size - first);
}

void exl_journal_tell(exl_journal_t *journal, const exl_event_t *event, const char *text, const uint64_t *after)
{
    slot_t slot = {.event = *event};
    if (slot.event.nafter > MAX_AFTER)
        slot.event.nafter = MAX_AFTER;
    size_t after_size = slot.event.nafter * sizeof *after;
    slot.size = (uint32_t)(sizeof slot + slot.event.text_size + after_size);
    uint64_t told = atomic_load_explicit(&journal->told, memory_order_relaxed);
    uint64_t used = told - atomic_load_explicit(&journal->taken, memory_order_acquire);
    if (used + slot.size > RING_SIZE) {
        atomic_fetch_add(&journal->dropped, slot.event.starts ? 2 : 1);
    } else {
        copy_in(journal, told, &slot, sizeof slot);
        if (slot.event.text_size)
            copy_in(journal, told + sizeof slot, text, slot.event.text_size);
        if (after_size)
            copy_in(journal, told + sizeof slot + slot.event.text_size, after, after_size);
        atomic_store(&journal->told, told + slot.size);
    }
    bool hurry = used > RING_HURRY && !atomic_exchange(&journal->hurried, true);
    if (hurry || (atomic_load(&journal->sleeping) && atomic_exchange(&journal->sleeping, false)))
        wake(journal);
}

/* ---- the thread ---- */

/* Returns how many lines could not be written. */
static uint64_t write_lines(exl_journal_t *journal)
{
    exl_buffer_t *lines = &journal->lines;
    uint64_t lost = 0;
    while (exl_buffer_size(lines) > 0) {
        ssize_t rc = write(journal->fd, exl_buffer_data(lines), exl_buffer_size(lines));
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc <= 0)
            break;
        exl_buffer_consume(lines, (size_t)rc);
        journal->torn = exl_buffer_size(lines) > 0;
    }
    for (size_t i = lines->start; i < lines->end; i++)
        lost += lines->bytes[i] == '\n';
    exl_buffer_consume(lines, exl_buffer_size(lines));
    return lost;
}

static void add_lines(exl_journal_t *journal, const exl_event_t *event, const char *text, const uint64_t *after)
{
    uint8_t *line = exl_buffer_reserve(&journal->lines, exl_event_bound(event) + 1);
    if (!line) {
        atomic_fetch_add(&journal->dropped, 1);
        return;
    }
    bool apart = journal->torn && exl_buffer_size(&journal->lines) == 0;
    if (apart)
        *line++ = '\n';
    journal->lines.end += exl_event_write(event, &journal->origin, text, after, (char *)line) + apart;
}

/* How many events are missing, as soon as the file takes that line. */
static void add_drops(exl_journal_t *journal)
{
    uint64_t dropped = atomic_load(&journal->dropped);
    if (dropped == journal->admitted)
        return;
    exl_event_t event = {.kind = EXL_EVENT_DROPPED, .t_ns = exl_clock_ns(), .count = dropped - journal->admitted};
    add_lines(journal, &event, NULL, NULL);
    if (exl_buffer_size(&journal->lines) > 0 && write_lines(journal) == 0)
        journal->admitted = dropped;
}

static void add_event(exl_journal_t *journal, uint64_t position, uint32_t *ret_size)
{
    slot_t slot;
    copy_out(journal, position, &slot, sizeof slot);
    *ret_size = slot.size;
    size_t after_size = slot.size - sizeof slot - slot.event.text_size;
    uint8_t *extra = exl_buffer_reserve(&journal->extra, slot.size);
    if (!extra) {
        atomic_fetch_add(&journal->dropped, 1);
        return;
    }
    /* The list first, where it is aligned. */
    copy_out(journal, position + sizeof slot + slot.event.text_size, extra, after_size);
    copy_out(journal, position + sizeof slot, extra + after_size, slot.event.text_size);
    add_lines(journal, &slot.event, (const char *)extra + after_size, (const uint64_t *)(const void *)extra);
}

static int64_t wall_minus_monotonic(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * EXL_NS_PER_S + now.tv_nsec - exl_clock_ns();
}

/* From the ring into lines, until there is enough for one write. */
static uint64_t take(exl_journal_t *journal, uint64_t position)
{
    uint64_t told = atomic_load(&journal->told);
    while (position != told && exl_buffer_size(&journal->lines) < BATCH_SIZE) {
        uint32_t size;
        add_event(journal, position, &size);
        position += size;
        atomic_store_explicit(&journal->taken, position, memory_order_release);
    }
    return position;
}

static void write_all(exl_journal_t *journal)
{
    uint64_t position = atomic_load_explicit(&journal->taken, memory_order_relaxed);
    journal->origin.wall_minus_ns = wall_minus_monotonic();
    do {
        position = take(journal, position);
        atomic_store(&journal->hurried, false);
        atomic_fetch_add(&journal->dropped, write_lines(journal));
        add_drops(journal);
        atomic_store(&journal->settled, position);
        atomic_fetch_add(&journal->progress, 1);
        exl_parker_wake(&journal->progress);
    } while (atomic_load(&journal->told) != position);
}

static void destroy(exl_journal_t *journal)
{
    exl_buffer_fini(&journal->lines);
    exl_buffer_fini(&journal->extra);
    (void)close(journal->fd);
    free(journal->ring);
    free(journal);
}

static void *journal_main(void *argument)
{
    exl_journal_t *journal = argument;
    (void)pthread_setname_np(pthread_self(), "executorlib-log");
    for (;;) {
        uint32_t seen = atomic_load(&journal->call);
        write_all(journal);
        if (seen & CLOSING)
            break;
        atomic_store(&journal->sleeping, true);
        if (atomic_load(&journal->told) == atomic_load(&journal->taken))
            (void)exl_parker_wait_change(&journal->call, seen, -1);
        atomic_store(&journal->sleeping, false);
        /* More is coming: let it collect, unless somebody waits for it. */
        seen = atomic_load(&journal->call);
        if (!atomic_load(&journal->hurried) && !(seen & CLOSING))
            (void)exl_parker_wait_change(&journal->call, seen, exl_clock_ns() + BATCH_MS * EXL_NS_PER_MS);
    }
    destroy(journal);
    (void)atomic_fetch_sub(&closing, 1);
    exl_parker_wake(&closing);
    return NULL;
}

/* ---- life ---- */

static int start_thread(exl_journal_t *journal)
{
    sigset_t all, old;
    pthread_t thread;
    pthread_attr_t attributes;
    (void)sigfillset(&all);
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_sigmask(SIG_BLOCK, &all, &old);
    int rc = -pthread_create(&thread, &attributes, journal_main, journal);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    (void)pthread_attr_destroy(&attributes);
    return rc;
}

static void introduce(exl_journal_t *journal)
{
    char host[sizeof journal->origin.node / 2] = "";
    exl_event_t event = {.kind = EXL_EVENT_TIMELINE, .t_ns = exl_clock_ns(), .cores = (uint32_t)exl_cpus_usable()};
    (void)gethostname(host, sizeof host - 1);
    exl_event_quote(host, journal->origin.node, sizeof journal->origin.node);
    journal->origin.pid = journal->pid;
    exl_journal_tell(journal, &event, NULL, NULL);
}

/* Takes the descriptor, also on failure. */
static int create(int fd, const struct stat *file, exl_journal_t **ret_journal)
{
    exl_journal_t *journal = calloc(1, sizeof *journal);
    uint8_t *ring = journal ? malloc(RING_SIZE) : NULL;
    if (!ring) {
        free(journal);
        (void)close(fd);
        return -ENOMEM;
    }
    journal->fd = fd;
    journal->ring = ring;
    journal->device = file->st_dev;
    journal->inode = file->st_ino;
    journal->pid = getpid();
    journal->refs = 1;
    exl_buffer_init(&journal->lines);
    exl_buffer_init(&journal->extra);
    introduce(journal);
    int rc = start_thread(journal);
    if (rc < 0) {
        destroy(journal);
        return rc;
    }
    journal->serial = ++last_serial;
    exl_list_push_back(&journals, &journal->link);
    *ret_journal = journal;
    return 0;
}

static exl_journal_t *find(const struct stat *file)
{
    EXL_LIST_FOREACH(&journals, link)
    {
        exl_journal_t *journal = EXL_CONTAINER(link, exl_journal_t, link);
        if (journal->device == file->st_dev && journal->inode == file->st_ino)
            return journal;
    }
    return NULL;
}

static int share_or_create(int fd, exl_journal_t **ret_journal)
{
    struct stat file;
    if (fstat(fd, &file) < 0) {
        int rc = -errno;
        (void)close(fd);
        return rc;
    }
    exl_journal_t *journal = find(&file);
    if (!journal)
        return create(fd, &file, ret_journal);
    (void)close(fd);
    journal->refs++;
    *ret_journal = journal;
    return 0;
}

int exl_journal_open(const char *path, exl_journal_t **ret_journal, exl_error_t *err)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    int rc = fd < 0 ? -errno : 0;
    if (rc == 0) {
        (void)pthread_mutex_lock(&registry_lock);
        rc = share_or_create(fd, ret_journal);
        (void)pthread_mutex_unlock(&registry_lock);
    }
    return rc < 0 ? exl_error_set(err, rc, "cannot write the timeline to %s", path) : 0;
}

exl_journal_t *exl_journal_ref(exl_journal_t *journal)
{
    (void)pthread_mutex_lock(&registry_lock);
    journal->refs++;
    (void)pthread_mutex_unlock(&registry_lock);
    return journal;
}

void exl_journal_unref(exl_journal_t *journal)
{
    if (!journal || journal->pid != getpid()) /* the thread that would free it is not in this process */
        return;
    (void)pthread_mutex_lock(&registry_lock);
    bool last = --journal->refs == 0;
    if (last)
        exl_list_remove(&journal->link);
    (void)pthread_mutex_unlock(&registry_lock);
    if (!last)
        return;
    (void)atomic_fetch_add(&closing, 1);
    /* The thread may free it as soon as it sees that: only the word's address is used after. */
    _Atomic uint32_t *call = &journal->call;
    (void)atomic_fetch_or(call, CLOSING);
    exl_parker_wake(call);
}

int exl_journal_flush(exl_journal_t *journal, int64_t deadline_ns)
{
    uint64_t told = atomic_load(&journal->told);
    for (;;) {
        uint32_t seen = atomic_load(&journal->progress);
        if (atomic_load(&journal->settled) >= told)
            return 0;
        atomic_store(&journal->hurried, true);
        wake(journal);
        int rc = exl_parker_wait_change(&journal->progress, seen, deadline_ns);
        if (rc < 0)
            return rc;
    }
}

/* With a reference; NULL: there is none after `serial`. */
static exl_journal_t *next_after(uint64_t serial)
{
    exl_journal_t *found = NULL;
    (void)pthread_mutex_lock(&registry_lock);
    EXL_LIST_FOREACH(&journals, link)
    {
        exl_journal_t *journal = EXL_CONTAINER(link, exl_journal_t, link);
        if (!found && journal->serial > serial)
            found = journal;
    }
    if (found)
        found->refs++;
    (void)pthread_mutex_unlock(&registry_lock);
    return found;
}

int exl_journals_settle(int64_t deadline_ns)
{
    exl_journal_t *journal;
    for (uint64_t serial = 0; (journal = next_after(serial));) {
        serial = journal->serial;
        int rc = exl_journal_flush(journal, deadline_ns);
        exl_journal_unref(journal);
        if (rc < 0)
            return rc;
    }
    for (uint32_t left; (left = atomic_load(&closing)) != 0;) {
        int rc = exl_parker_wait_change(&closing, left, deadline_ns);
        if (rc < 0)
            return rc;
    }
    return 0;
}

void exl_journals_abandon(void)
{
    atomic_store(&closing, 0);
    EXL_LIST_FOREACH(&journals, link)
    (void)close(EXL_CONTAINER(link, exl_journal_t, link)->fd);
    exl_list_init(&journals);
    (void)pthread_mutex_init(&registry_lock, NULL);
}
