/* engine.c: the loop, the lock, and the engine's life. See engine.h for the data flow. */
#include "engine/engine.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/parker.h"
#include "base/spin.h"
#include "engine/journal.h"
#include "engine/wait.h"
#include "task/memory_file.h"
#include "task/task.h"

struct exl_engine {
    uv_loop_t loop;
    uv_async_t wake;
    exl_node_t node;
    pthread_t thread;
    unsigned refs;
    bool again;           /* handles changed while the loop ran: run it once more before sleeping */
    bool ending;          /* no references left; goes when the last handle is closed */
    bool led;             /* a waiting thread runs the loop */
    exl_spin_t spin;      /* … which waits as it has learned to */
    int64_t lease_end_ns; /* until then the engine's thread leaves the loop to the next one that leads */
    int sleepers;
    _Atomic uint32_t turn; /* futex: the engine's thread is to run the loop now */
};

/* LEASE: how long the loop is left alone between two calls of result(), as in submit, result, submit, result. QUIET: how
 * long one leads without anything happening; a long wait is the engine thread's. */
enum { MAX_WAKES = 64, LEASE_NS = 1000000, QUIET_MS = 2 };

/* It is held for less time than it takes to sleep and be woken: who finds it taken looks again for a while first. */
#ifdef PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP
#define LOCK_INITIALIZER PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP
#else
#define LOCK_INITIALIZER PTHREAD_MUTEX_INITIALIZER
#endif
static pthread_mutex_t lock = LOCK_INITIALIZER;
/* All of these are protected by it. */
static exl_engine_t *present; /* the one that new executors join */
static unsigned living;       /* engines whose thread has not finished: an ending one may overlap its successor */
static exl_list_t dues = {&dues, &dues};
static _Atomic uint32_t *wakes[MAX_WAKES];
static unsigned nwakes;
static uint64_t last_id;
static _Atomic uint32_t ended_word; /* futex: counts engines that have ended */
static uint32_t generation;         /* grows in every child made by fork() while an engine lived */
static __thread bool inside;

/* ---- the lock ---- */

void exl_engine_lock(void)
{
    (void)pthread_mutex_lock(&lock);
}

static void run_dues(void)
{
    for (exl_list_t *link; (link = exl_list_pop_front(&dues));) {
        exl_due_t *due = EXL_CONTAINER(link, exl_due_t, link);
        due->run(due);
    }
}

void exl_engine_unlock(void)
{
    run_dues();
    _Atomic uint32_t *words[MAX_WAKES];
    unsigned count = nwakes;
    for (unsigned i = 0; i < count; i++)
        words[i] = wakes[i];
    nwakes = 0;
    (void)pthread_mutex_unlock(&lock);
    for (unsigned i = 0; i < count; i++)
        exl_parker_wake(words[i]);
}

void exl_engine_due(exl_due_t *due)
{
    if (exl_list_empty(&due->link))
        exl_list_push_back(&dues, &due->link);
}

void exl_engine_wake(_Atomic uint32_t *word)
{
    if (nwakes < MAX_WAKES)
        wakes[nwakes++] = word;
    else
        exl_parker_wake(word); /* a futex call under the lock does not block, it is only slower */
}

uint64_t exl_engine_next_id(void)
{
    return ++last_id;
}

bool exl_engine_inside(void)
{
    return inside;
}

uint32_t exl_engine_generation(void)
{
    return generation;
}

bool exl_engine_living(void)
{
    return living > 0;
}

exl_node_t *exl_engine_node(exl_engine_t *engine)
{
    return &engine->node;
}

/* ---- fork in the user's process ---- */

static void before_fork(void)
{
    (void)pthread_mutex_lock(&lock);
}

static void after_fork_in_parent(void)
{
    (void)pthread_mutex_unlock(&lock);
}

/* The child has no engine thread. It closes what it inherited, so that the parent's death is still heard as the end of
 * the channels, and forgets the rest: the memory is the parent's business. */
static void after_fork_in_child(void)
{
    if (living) {
        generation++;
        if (present) {
            exl_node_abandon(&present->node);
            (void)close(uv_backend_fd(&present->loop));
            (void)close(present->loop.async_io_watcher.fd);
        }
    }
    present = NULL;
    living = 0;
    exl_list_init(&dues);
    nwakes = 0;
    exl_delivery_abandon();
    exl_journals_abandon();
    lock = (pthread_mutex_t)LOCK_INITIALIZER;
}

static void install_fork_handlers(void)
{
    (void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

static void watch_forks(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, install_fork_handlers);
}

/* ---- the engine's thread ---- */

static void wake_cb(uv_async_t *handle)
{
    (void)handle;
}

/* Any thread, under the lock. */
static void changed(void *owner)
{
    exl_engine_t *engine = owner;
    if (inside)
        engine->again = true;
    else
        (void)uv_async_send(&engine->wake);
}

static void run_loop(exl_engine_t *engine)
{
    do {
        engine->again = false;
        (void)uv_run(&engine->loop, UV_RUN_NOWAIT);
        /* What the callbacks made due may change handles again. */
        run_dues();
    } while (engine->again);
}

/* ---- leading ---- */

static void hand_over(exl_engine_t *engine)
{
    engine->lease_end_ns = 0;
    atomic_fetch_add(&engine->turn, 1);
    exl_engine_wake(&engine->turn);
}

static int poll_loop(exl_engine_t *engine, int limit_ms, exl_spin_t *spin)
{
    struct pollfd loop = {.fd = uv_backend_fd(&engine->loop), .events = POLLIN};
    int timeout_ms = uv_backend_timeout(&engine->loop);
    if (limit_ms >= 0 && (timeout_ms < 0 || timeout_ms > limit_ms))
        timeout_ms = limit_ms;
    exl_engine_unlock();
    int rc = 0;
    int64_t begun_ns = exl_clock_ns();
    do
        rc = spin ? poll(&loop, 1, 0) : 0;
    while (rc == 0 && spin && exl_spin_on(spin, begun_ns));
    if (rc == 0)
        rc = poll(&loop, 1, timeout_ms);
    rc = rc < 0 ? -errno : rc;
    exl_engine_lock();
    return rc;
}

void exl_engine_sleepers(exl_engine_t *engine, int change)
{
    engine->sleepers += change;
}

int exl_engine_lead(exl_engine_t *engine, struct exl_task *task, int64_t deadline_ns)
{
    int rc = 0;
    if (engine->led || inside)
        return 1;
    engine->led = true;
    while (rc == 0 && !exl_task_done(task)) {
        int64_t left_ns = deadline_ns < 0 ? INT64_MAX : deadline_ns - exl_clock_ns();
        int limit_ms = left_ns < QUIET_MS * EXL_NS_PER_MS ? (int)(left_ns / EXL_NS_PER_MS) : QUIET_MS;
        if (left_ns <= EXL_NS_PER_MS) {
            rc = 1; /* a futex keeps the rest of the time more exactly than poll() */
            break;
        }
        int64_t begun_ns = exl_clock_ns();
        int events = poll_loop(engine, limit_ms, &engine->spin);
        exl_spin_learn(&engine->spin, events > 0 ? exl_clock_ns() - begun_ns : INT64_MAX);
        if (events == -EINTR)
            rc = EXL_EINTERRUPTED;
        else if (events == 0)
            rc = 1;
        inside = true;
        run_loop(engine);
        inside = false;
    }
    engine->led = false;
    /* The engine's thread may have gone to sleep before a timer was started, or the end decided, and this thread may have
     * taken the event that was to wake it. */
    if (engine->ending || uv_backend_timeout(&engine->loop) >= 0)
        (void)uv_async_send(&engine->wake);
    if (exl_task_done(task))
        rc = 0;
    if (rc != 0 || engine->sleepers || engine->ending)
        hand_over(engine);
    else
        engine->lease_end_ns = exl_clock_ns() + LEASE_NS;
    return rc;
}

void exl_engine_glance(exl_engine_t *engine)
{
    if (engine->led || inside)
        return;
    inside = true;
    run_loop(engine);
    inside = false;
    engine->lease_end_ns = exl_clock_ns() + LEASE_NS;
}

/* The engine's thread leaves the loop to whoever leads. True: look again. */
static bool stand_back(exl_engine_t *engine)
{
    int64_t now_ns = exl_clock_ns();
    if (!engine->led && now_ns >= engine->lease_end_ns)
        return false;
    uint32_t seen = atomic_load(&engine->turn);
    exl_engine_unlock();
    (void)exl_parker_wait_change(&engine->turn, seen, now_ns + LEASE_NS);
    exl_engine_lock();
    return true;
}

static void *engine_main(void *argument)
{
    exl_engine_t *engine = argument;
    inside = true;
    (void)pthread_setname_np(pthread_self(), "executorlib");
    exl_engine_lock();
    /* Ended: no executor, no zygote, and so no handle but the wake-up. */
    while (engine->led || !(engine->ending && exl_list_empty(&engine->node.zygotes))) {
        if (stand_back(engine))
            continue;
        (void)poll_loop(engine, -1, NULL);
        if (!engine->led)
            run_loop(engine);
    }
    uv_close((uv_handle_t *)&engine->wake, NULL);
    (void)uv_run(&engine->loop, UV_RUN_DEFAULT);
    exl_engine_unlock();
    exl_memory_files_drop();
    exl_node_fini(&engine->node); /* joins the stderr reader, which may take as long as stderr does */
    exl_engine_lock();
    (void)uv_loop_close(&engine->loop);
    living--;
    atomic_fetch_add(&ended_word, 1);
    exl_engine_wake(&ended_word);
    exl_delivery_nudge();
    exl_engine_unlock();
    free(engine);
    return NULL;
}

static int start_thread(exl_engine_t *engine)
{
    sigset_t all, old;
    pthread_attr_t attributes;
    (void)sigfillset(&all);
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    /* Signals are for the user's threads: Ctrl-C must interrupt the one that waits in result(). */
    (void)pthread_sigmask(SIG_BLOCK, &all, &old);
    int rc = -pthread_create(&engine->thread, &attributes, engine_main, engine);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    (void)pthread_attr_destroy(&attributes);
    return rc;
}

/* ---- life ---- */

static int engine_create(exl_engine_t **ret_engine)
{
    exl_engine_t *engine = calloc(1, sizeof *engine);
    if (!engine)
        return -ENOMEM;
    int rc = uv_loop_init(&engine->loop);
    if (rc < 0) {
        free(engine);
        return rc;
    }
    rc = uv_async_init(&engine->loop, &engine->wake, wake_cb);
    if (rc == 0 && (rc = exl_node_init(&engine->node, &engine->loop, changed, engine)) == 0 &&
        (rc = start_thread(engine)) < 0)
        exl_node_fini(&engine->node);
    if (rc < 0) {
        uv_close((uv_handle_t *)&engine->wake, NULL);
        (void)uv_run(&engine->loop, UV_RUN_DEFAULT);
        (void)uv_loop_close(&engine->loop);
        free(engine);
        return rc;
    }
    living++;
    exl_memory_files_keep();
    *ret_engine = engine;
    return 0;
}

int exl_engine_acquire(exl_engine_t **ret_engine, exl_error_t *err)
{
    watch_forks();
    int rc = present ? 0 : engine_create(&present);
    if (rc < 0)
        return exl_error_set(err, rc, "cannot start the engine: %s", exl_strerror(rc));
    present->refs++;
    *ret_engine = present;
    return 0;
}

void exl_engine_release(exl_engine_t *engine)
{
    assert(engine->refs);
    if (--engine->refs)
        return;
    engine->ending = true;
    if (engine == present)
        present = NULL;
    changed(engine);
}

int exl_engine_wait_ended(int64_t deadline_ns)
{
    for (;;) {
        exl_engine_lock();
        unsigned others = living - (present != NULL);
        uint32_t seen = atomic_load(&ended_word);
        exl_engine_unlock();
        if (others == 0)
            return 0;
        int rc = exl_parker_wait_change(&ended_word, seen, deadline_ns);
        if (rc < 0)
            return rc;
    }
}

/* ---- copying off the engine's thread ---- */

static void copy_cb(uv_work_t *work)
{
    exl_copy_t *copy = work->data;
    copy->rc = exl_payload_seal(copy->payload);
}

static void copied_cb(uv_work_t *work, int status)
{
    exl_copy_t *copy = work->data;
    int rc = status < 0 ? status : copy->rc;
    exl_payload_unref(copy->payload);
    copy->payload = NULL;
    copy->done(copy, rc);
}

int exl_engine_copy(exl_engine_t *engine, exl_copy_t *copy)
{
    sigset_t all, old;
    copy->work.data = copy;
    /* The first use starts libuv's threads, which inherit this mask. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, &old);
    int rc = uv_queue_work(&engine->loop, &copy->work, copy_cb, copied_cb);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}
