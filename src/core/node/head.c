/* head.c: see head.h. */
#include "node/head.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/claim.h"
#include "node/gather.h"
#include "node/rank_group.h"
#include "wire/channel.h"

/* After one rank has raised, how long the others may take to do the same. */
enum { SAME_FATE_MS = 100 };

typedef struct {
    exl_channel_t channel; /* to the engine */
    exl_claim_t *claim;    /* owned; NULL for one process per call */
    exl_rank_group_t *group;
    bool launcher;         /* it alone may start ranks */
    exl_rank_step_t step;  /* that of the group, if it is one */
    exl_payload_t *nodes;  /* owned, or NULL */
    exl_message_t *inputs; /* owned; of the next call: what it depends on, and its options; before the setup: GPUs and
                              processors */
    uint32_t ninputs, capacity;
} head_t;

static void send_up(head_t *head, uint8_t type, uint64_t id, exl_payload_t *payload)
{
    if (head->claim && (type == EXL_FRAME_RESULT || type == EXL_FRAME_EXCEPTION))
        exl_claim_end(head->claim, id);
    /* A failure means that the engine has gone; the zygote hears of that, and kills. */
    if (exl_channel_queue(&head->channel, (exl_frame_t){.type = type, .id = id}, payload, NULL, 0, false) == 0)
        (void)exl_channel_flush(&head->channel);
}

static void send_reason(head_t *head, const exl_error_t *err)
{
    exl_segment_t text = {err->text, strlen(err->text)};
    exl_payload_t *payload;
    if (exl_payload_create(&text, 1, NULL, 0, NULL, NULL, &payload) == 0) {
        send_up(head, EXL_FRAME_REASON, 0, payload);
        exl_payload_unref(payload);
    }
}

static void lose_group(head_t *head)
{
    if (head->group)
        exl_rank_group_kill(head->group);
    head->group = NULL;
}

/* ---- starting ---- */

static void drop_inputs(head_t *head)
{
    for (uint32_t i = 0; i < head->ninputs; i++)
        exl_payload_unref(head->inputs[i].payload);
    head->ninputs = 0;
}

/* Ranks that are forks of this process: they cost what MPI_Init costs. */
static int fork_group(head_t *head, const exl_launch_plan_t *plan, const exl_message_t *setup,
                      exl_payload_t **ret_exception, exl_error_t *err)
{
    exl_rank_fork_t how = plan->fork;
    how.foreign_fd = head->channel.fd;
    int rc = exl_rank_group_create(plan->nranks, &head->group, err);
    return rc < 0 ? rc : exl_rank_group_fork(head->group, &how, head->inputs, head->ninputs, setup, ret_exception, err);
}

static int launch_group(head_t *head, const exl_launch_plan_t *plan, const exl_message_t *setup,
                        exl_payload_t **ret_exception, exl_error_t *err)
{
    int rc = exl_rank_group_create(plan->nranks, &head->group, err);
    if (rc == 0 && plan->is_step) {
        head->step = plan->step;
        exl_rank_group_as_step(head->group, &head->step);
    }
    return rc < 0 ? rc
                  : exl_rank_group_launch(head->group, plan->argv, plan->envp, head->inputs, head->ninputs, setup,
                                          ret_exception, err);
}

/* MPI did not come up in any forked rank, so nothing of the user's has run in them: the launcher may try, from now on. */
static bool give_up_forks(head_t *head, const exl_error_t *err)
{
    bool unused = head->group && exl_rank_group_retract(head->group);
    head->group = NULL;
    if (!unused)
        return false;
    (void)fprintf(stderr,
                  "executorlib: MPI ranks are started by mpiexec from now on; forked, they could not start MPI: %s\n",
                  err->text);
    send_up(head, EXL_FRAME_LAUNCHER_NEEDED, 0, NULL);
    return true;
}

static bool start_group(head_t *head, const exl_launch_plan_t *plan, const exl_message_t *setup)
{
    exl_error_t err = {"a rank raised an exception"};
    exl_payload_t *exception = NULL;
    int rc = 1;
    bool forked = plan->fork.run && !head->launcher;
    if (forked)
        rc = fork_group(head, plan, setup, &exception, &err);
    if (forked && rc != 0 && give_up_forks(head, &err)) {
        exl_payload_unref(exception);
        exception = NULL;
        forked = false;
    }
    if (!forked)
        rc = launch_group(head, plan, setup, &exception, &err);
    drop_inputs(head);
    if (rc == 0) {
        send_up(head, EXL_FRAME_READY, setup->frame.id, NULL);
        return true;
    }
    if (rc > 0)
        send_up(head, EXL_FRAME_SETUP_FAILED, setup->frame.id, exception);
    else
        send_reason(head, &err);
    exl_payload_unref(exception);
    lose_group(head);
    return false;
}

static bool set_up(head_t *head, const exl_message_t *message, exl_plan_cb plan)
{
    exl_launch_plan_t launch = {0};
    if (message->frame.nfds > 0)
        (void)dup2(message->fds[0], STDOUT_FILENO);
    if (!message->payload || head->group)
        return false;
    if (plan(message->payload, head->launcher, head->nodes, &launch) != 0) {
        send_up(head, EXL_FRAME_SETUP_FAILED, message->frame.id, launch.exception);
        return false;
    }
    bool started = start_group(head, &launch, message);
    if (started && launch.imports)
        send_up(head, EXL_FRAME_IMPORTS, 0, launch.imports);
    exl_payload_unref(launch.imports);
    return started;
}

/* ---- calls ---- */

static bool keep_input(head_t *head, exl_message_t *message)
{
    if (head->ninputs == head->capacity) {
        uint32_t capacity = head->capacity ? head->capacity * 2 : 8;
        exl_message_t *grown = realloc(head->inputs, capacity * sizeof *grown);
        if (!grown)
            return false;
        head->inputs = grown;
        head->capacity = capacity;
    }
    head->inputs[head->ninputs++] = *message;
    message->payload = NULL;
    return true;
}

static int hand_out(head_t *head, const exl_message_t *call)
{
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < head->ninputs; i++)
        rc = exl_rank_group_send(head->group, head->inputs[i].frame, head->inputs[i].payload);
    drop_inputs(head);
    return rc < 0 ? rc : exl_rank_group_send(head->group, call->frame, call->payload);
}

static void send_list(head_t *head, uint64_t number, exl_payload_t *const *results, uint32_t count)
{
    exl_error_t err = {""};
    exl_payload_t *list;
    if (count == 1) { /* a plain process in a step of its own */
        send_up(head, EXL_FRAME_RESULT, number, results[0]);
        return;
    }
    int rc = exl_gather(results, count, &list);
    if (rc == 0) {
        send_up(head, EXL_FRAME_RESULT, number, list);
        exl_payload_unref(list);
        return;
    }
    (void)exl_error_set(&err, rc, "the results of %u MPI ranks cannot be sent: %s", count, exl_strerror(rc));
    send_reason(head, &err);
    lose_group(head);
}

/* Waits for all answers. The first exception goes up at once. False: the group is lost. */
static bool collect(head_t *head, uint64_t number, exl_payload_t **results)
{
    uint32_t size = exl_rank_group_size(head->group), nanswers = 0, nraised = 0, rank;
    exl_rank_answer_t answer;
    exl_error_t err = {""};
    int rc = 1;
    while (nanswers < size && rc > 0) {
        rc = exl_rank_group_answer(head->group, nraised ? SAME_FATE_MS : -1, &rank, &answer, &err);
        if (rc <= 0)
            break;
        nanswers++;
        if (answer.raised && nraised++ == 0)
            send_up(head, EXL_FRAME_EXCEPTION, number, answer.payload);
        if (answer.raised || results[rank])
            exl_payload_unref(answer.payload);
        else
            results[rank] = answer.payload;
    }
    if (nraised == 0 && nanswers < size) {
        send_reason(head, &err);
        return false;
    }
    if (nraised == 0)
        send_list(head, number, results, size);
    /* All alike: nobody waits for anybody. */
    return nraised == 0 || nraised == size;
}

static bool run_call(head_t *head, const exl_message_t *call)
{
    uint32_t size = exl_rank_group_size(head->group);
    exl_payload_t **results = calloc(size, sizeof *results);
    bool goes_on = results && hand_out(head, call) == 0 && collect(head, call->frame.id, results);
    for (uint32_t i = 0; results && i < size; i++)
        exl_payload_unref(results[i]);
    free(results);
    if (!goes_on)
        lose_group(head);
    return head->group && head->claim;
}

/* ---- frames ---- */

/* False: the head is to end. */
static bool handle(head_t *head, exl_message_t *message, exl_plan_cb plan)
{
    switch (message->frame.type) {
    case EXL_FRAME_DEVICES:
    case EXL_FRAME_PINS:
        return keep_input(head, message);
    case EXL_FRAME_NODES:
        exl_payload_unref(head->nodes);
        head->nodes = message->payload;
        message->payload = NULL;
        return true;
    case EXL_FRAME_SETUP:
        return set_up(head, message, plan);
    case EXL_FRAME_FUNCTION:
    case EXL_FRAME_FORGET:
        return head->group && exl_rank_group_send(head->group, message->frame, message->payload) == 0;
    case EXL_FRAME_DEPENDENCY:
    case EXL_FRAME_OPTIONS:
        return keep_input(head, message);
    case EXL_FRAME_CALL:
        if (!message->payload || !head->group)
            return false;
        if (head->claim && !exl_claim_start(head->claim, message->frame.epoch, message->frame.id)) {
            drop_inputs(head); /* taken back */
            return true;
        }
        if (head->claim)
            exl_claim_mark_stderr(head->claim, STDERR_FILENO);
        return run_call(head, message);
    default:
        return false;
    }
}

static void head_fini(head_t *head)
{
    drop_inputs(head);
    free(head->inputs);
    exl_payload_unref(head->nodes);
    exl_claim_close(head->claim);
    exl_channel_fini(&head->channel);
}

/* The engine's next message; negative when there is none any more, or the group is lost while it has nothing to do. */
static int next_message(head_t *head, exl_message_t *ret_message)
{
    exl_error_t err = {""};
    for (;;) {
        int rc = exl_channel_next(&head->channel, ret_message);
        if (rc != 0)
            return rc;
        rc = head->group ? exl_rank_group_wait(head->group, head->channel.fd, &err) : 0;
        if (rc < 0) {
            send_reason(head, &err);
            lose_group(head);
            return rc;
        }
        rc = exl_channel_fill(&head->channel);
        if (rc < 0)
            return rc;
    }
}

int exl_head_serve(const exl_role_t *role, exl_plan_cb plan)
{
    head_t head = {0};
    bool asked_to_end = false;
    exl_channel_init(&head.channel, role->channel_fd);
    head.launcher = role->launcher;
    if (role->claim_fd >= 0 && exl_claim_open(role->claim_fd, &head.claim) < 0)
        return EXIT_FAILURE;
    for (bool serving = true; serving;) {
        exl_message_t message;
        if (next_message(&head, &message) <= 0)
            break;
        asked_to_end = message.frame.type == EXL_FRAME_END || (message.frame.type == EXL_FRAME_CALL && !head.claim);
        serving = handle(&head, &message, plan);
        exl_message_fini(&message);
    }
    bool healthy = head.group != NULL;
    if (healthy && asked_to_end)
        exl_rank_group_end(head.group);
    else
        lose_group(&head);
    head_fini(&head);
    return healthy ? EXIT_SUCCESS : EXIT_FAILURE;
}
