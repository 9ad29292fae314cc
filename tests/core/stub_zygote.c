/* stub_zygote.c: a zygote whose workers do, instead of Python, what the text of a call says.
 *
 * The text is a list of commands separated by "; ". What the last one says is the result; a text that is no command is its
 * own result. Commands that take FD use descriptors that the test made inheritable before the zygote started.
 *
 *   exit N | signal N | raise TEXT | pause | close | garbage | exec
 *   say FD TEXT      writes TEXT to FD           wait FD         waits for a byte from FD
 *   linger FD        waits for a byte from FD before it exits
 *   stderr TEXT      writes TEXT to stderr       daemon FD       starts a daemon, writes its pid to FD
 *   deaf             ignores SIGTERM             reply           answers, but not before SIGTERM has come
 *   heir FD          starts a child, writes its pid to FD; the child writes TERM there when SIGTERM comes, and lives on
 *   pid | parent | index | count | function | functions | options | setup | size | devices | cpus
 *   join             the arguments from other calls, joined by "+"
 *   big N            N bytes
 *   twice            answers twice
 *
 * The setup's text is run likewise before the worker says that it is ready; "raise" there makes the setup fail. What
 * follows "end: " in it is run when the worker is told to end. What a template is to import is run before it is online.
 *
 * With the argument "fail" the zygote ends at once; with "linger SAY WAIT" it only writes its pid to SAY and ends when there
 * is a byte from WAIT, whatever happens to its channel. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/claim.h"
#include "node/zygote_server.h"
#include "wire/channel.h"

enum { MAX_DEPENDENCIES = 16, MAX_FUNCTIONS = 256, TEXT_SIZE = 4096 };

typedef struct stub {
    exl_channel_t channel;
    exl_claim_t *claim; /* NULL for one process per call */
    char *dependencies[MAX_DEPENDENCIES];
    struct function {
        uint64_t id;
        char *text;
    } functions[MAX_FUNCTIONS];
    uint32_t nfunctions;
    const char *function; /* of the next call, one of them */
    char *options, *setup, *call, *devices, *cpus;
    char *big; /* what the answer in `text` stands for, if set */
    size_t call_size, big_size;
    uint32_t ndependencies, index;
    unsigned count;
    bool raised;
    int linger;           /* a descriptor, or 0 */
    char text[TEXT_SIZE]; /* the answer */
} stub_t;

static void die(const char *why)
{
    perror(why);
    _exit(70);
}

static char *text_of(exl_payload_t *payload)
{
    exl_payload_view_t view;
    if (!payload)
        return strdup("");
    if (exl_payload_map(payload) < 0 || exl_payload_view(payload, &view) < 0)
        die("payload");
    char *text = malloc(view.body_size + 1);
    if (!text)
        die("text");
    memcpy(text, view.body, view.body_size);
    text[view.body_size] = '\0';
    return text;
}

static void answer(stub_t *stub, uint8_t type, uint64_t id)
{
    exl_payload_t *payload;
    if ((stub->big ? exl_payload_of(stub->big, stub->big_size, &payload)
                   : exl_payload_of(stub->text, strlen(stub->text), &payload)) < 0)
        die("answer");
    if (exl_channel_queue(&stub->channel, (exl_frame_t){.type = type, .id = id}, payload, NULL, 0, false) < 0)
        die("queue");
    exl_payload_unref(payload);
    (void)exl_channel_flush(&stub->channel);
}

/* Returns when the daemon has told its pid. */
static void start_daemon(int fd)
{
    int told[2];
    char byte;
    if (pipe(told) < 0)
        die("pipe");
    if (fork() != 0) {
        (void)close(told[1]);
        (void)!read(told[0], &byte, 1);
        (void)close(told[0]);
        return;
    }
    (void)setsid();
    if (fork() != 0)
        _exit(0);
    pid_t pid = getpid();
    (void)!write(fd, &pid, sizeof pid);
    (void)close(told[0]);
    (void)close(told[1]);
    for (;;)
        (void)pause();
}

static void await_sigterm(void)
{
    sigset_t set;
    int number;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)sigwait(&set, &number);
}

static void start_heir(int fd)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    pid_t pid = fork();
    if (pid == 0) {
        pid = getpid();
        (void)!write(fd, &pid, sizeof pid);
        await_sigterm();
        (void)!write(fd, "TERM", 4);
        for (;;)
            (void)pause();
    }
    (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
}

static void kill_self(int number)
{
    /* A sanitizer's handler would turn it into an exit. */
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

static void make_big(stub_t *stub, size_t size)
{
    free(stub->big);
    stub->big = malloc(size);
    if (!stub->big)
        die("big");
    for (size_t i = 0; i < size; i++)
        stub->big[i] = (char)('a' + i % 26);
    stub->big_size = size;
}

static void join(stub_t *stub)
{
    size_t at = 0;
    stub->text[0] = '\0';
    for (uint32_t i = 0; i < stub->ndependencies; i++)
        at += (size_t)snprintf(stub->text + at, TEXT_SIZE - at, "%s%.100s", i ? "+" : "", stub->dependencies[i]);
}

/* A gate must have been there before the zygote was. */
static void pass(int gate)
{
    char byte;
    if (read(gate, &byte, 1) < 0)
        die("gate");
}

/* Commands that end the process or its channel, and those that talk to the outside. */
static bool run_act(stub_t *stub, const char *name, const char *rest)
{
    int number = atoi(rest);
    const char *after = strchr(rest, ' ');
    if (strcmp(name, "exit") == 0)
        exit(number);
    else if (strcmp(name, "signal") == 0)
        kill_self(number);
    else if (strcmp(name, "pause") == 0)
        for (;;)
            (void)pause();
    else if (strcmp(name, "close") == 0)
        (void)shutdown(stub->channel.fd, SHUT_RDWR);
    else if (strcmp(name, "garbage") == 0)
        (void)!write(stub->channel.fd, "these are more than thirty-two bytes of nonsense", 48);
    else if (strcmp(name, "exec") == 0)
        (void)execl("/bin/sleep", "sleep", "1000", (char *)NULL);
    else if (strcmp(name, "say") == 0 && after)
        (void)!write(number, after + 1, strlen(after + 1));
    else if (strcmp(name, "wait") == 0)
        pass(number);
    else if (strcmp(name, "linger") == 0)
        stub->linger = number;
    else if (strcmp(name, "stderr") == 0)
        (void)!write(STDERR_FILENO, rest, strlen(rest));
    else if (strcmp(name, "deaf") == 0)
        (void)signal(SIGTERM, SIG_IGN);
    else if (strcmp(name, "reply") == 0)
        await_sigterm();
    else if (strcmp(name, "heir") == 0)
        start_heir(number);
    else if (strcmp(name, "daemon") == 0)
        start_daemon(number);
    else
        return false;
    return true;
}

/* Commands that say something. */
static bool run_say(stub_t *stub, const char *name, const char *rest)
{
    char *text = stub->text;
    if (strcmp(name, "raise") == 0) {
        stub->raised = true;
        (void)snprintf(text, TEXT_SIZE, "%s", rest);
    } else if (strcmp(name, "pid") == 0)
        (void)snprintf(text, TEXT_SIZE, "%d", (int)getpid());
    else if (strcmp(name, "parent") == 0)
        (void)snprintf(text, TEXT_SIZE, "%d", (int)getppid());
    else if (strcmp(name, "index") == 0)
        (void)snprintf(text, TEXT_SIZE, "%u", stub->index);
    else if (strcmp(name, "count") == 0)
        (void)snprintf(text, TEXT_SIZE, "%u", stub->count);
    else if (strcmp(name, "size") == 0)
        (void)snprintf(text, TEXT_SIZE, "%zu", stub->call_size);
    else if (strcmp(name, "function") == 0)
        (void)snprintf(text, TEXT_SIZE, "%s", stub->function ? stub->function : "none");
    else if (strcmp(name, "functions") == 0)
        (void)snprintf(text, TEXT_SIZE, "%u", stub->nfunctions);
    else if (strcmp(name, "options") == 0)
        (void)snprintf(text, TEXT_SIZE, "%s", stub->options ? stub->options : "none");
    else if (strcmp(name, "setup") == 0)
        (void)snprintf(text, TEXT_SIZE, "%s", stub->setup ? stub->setup : "none");
    else if (strcmp(name, "devices") == 0)
        (void)snprintf(text, TEXT_SIZE, "%s", stub->devices ? stub->devices : "none");
    else if (strcmp(name, "cpus") == 0)
        (void)snprintf(text, TEXT_SIZE, "%s", stub->cpus ? stub->cpus : "none");
    else if (strcmp(name, "join") == 0)
        join(stub);
    else if (strcmp(name, "big") == 0)
        make_big(stub, strtoul(rest, NULL, 10));
    else
        return false;
    return true;
}

static void run(stub_t *stub, const char *script)
{
    (void)snprintf(stub->text, TEXT_SIZE, "%s", script);
    char *copy = strdup(script), *end;
    if (!copy)
        die("script");
    for (char *command = copy; command; command = end) {
        end = strstr(command, "; ");
        if (end) {
            *end = '\0';
            end += 2;
        }
        char name[16] = "";
        (void)sscanf(command, "%15[a-z]", name);
        const char *rest = command + strlen(name);
        rest += *rest == ' ';
        if (!run_act(stub, name, rest))
            (void)run_say(stub, name, rest);
    }
    free(copy);
}

static void run_call(stub_t *stub, const exl_frame_t *frame)
{
    if (stub->claim && !exl_claim_start(stub->claim, frame->epoch, frame->id))
        return;
    if (stub->claim)
        exl_claim_mark_stderr(stub->claim, STDERR_FILENO);
    stub->count++;
    stub->raised = false;
    run(stub, stub->call);
    if ((frame->arg & EXL_CALL_REPORT_IMPORTS) && !stub->raised) {
        exl_payload_t *modules;
        if (exl_payload_of("modules", 7, &modules) == 0) {
            (void)exl_channel_queue(&stub->channel, (exl_frame_t){.type = EXL_FRAME_IMPORTS}, modules, NULL, 0, false);
            exl_payload_unref(modules);
        }
    }
    answer(stub, stub->raised ? EXL_FRAME_EXCEPTION : EXL_FRAME_RESULT, frame->id);
    if (strcmp(stub->call, "twice") == 0)
        answer(stub, EXL_FRAME_RESULT, frame->id);
}

static void forget_functions(stub_t *stub)
{
    while (stub->nfunctions)
        free(stub->functions[--stub->nfunctions].text);
    stub->function = NULL;
}

static void learn_function(stub_t *stub, exl_message_t *message)
{
    if (message->payload) {
        if (stub->nfunctions == MAX_FUNCTIONS)
            die("functions");
        stub->functions[stub->nfunctions++] =
            (struct function){.id = message->frame.id, .text = text_of(message->payload)};
        return;
    }
    stub->function = "unknown";
    for (uint32_t i = 0; i < stub->nfunctions; i++)
        if (stub->functions[i].id == message->frame.id)
            stub->function = stub->functions[i].text;
}

static void forget_call(stub_t *stub)
{
    stub->function = NULL;
    for (uint32_t i = 0; i < stub->ndependencies; i++)
        free(stub->dependencies[i]);
    stub->ndependencies = 0;
    free(stub->options);
    free(stub->call);
    free(stub->big);
    stub->options = stub->call = stub->big = NULL;
}

static void set_up(stub_t *stub, exl_message_t *message)
{
    if (message->frame.nfds)
        (void)dup2(message->fds[0], STDOUT_FILENO);
    stub->index = message->frame.arg;
    stub->setup = text_of(message->payload);
    char *end = strstr(stub->setup, "end: ");
    if (end != stub->setup) {
        if (end)
            *end = '\0';
        run(stub, stub->setup);
        if (end)
            *end = 'e';
    }
    if (stub->raised)
        answer(stub, EXL_FRAME_SETUP_FAILED, 0);
    else
        (void)exl_channel_queue(&stub->channel, (exl_frame_t){.type = EXL_FRAME_READY}, NULL, NULL, 0, false);
    (void)exl_channel_flush(&stub->channel);
}

static void end(const stub_t *stub)
{
    const char *script = stub->setup ? strstr(stub->setup, "end: ") : NULL;
    static stub_t ending;
    if (script)
        run(&ending, script + 5);
}

/* True until the worker is to end. */
static bool handle(stub_t *stub, exl_message_t *message)
{
    uint32_t at = message->frame.arg;
    switch (message->frame.type) {
    case EXL_FRAME_DEVICES:
    case EXL_FRAME_PINS:
        if (stub->setup)
            die("too late");
        *(message->frame.type == EXL_FRAME_DEVICES ? &stub->devices : &stub->cpus) = text_of(message->payload);
        return true;
    case EXL_FRAME_SETUP:
        set_up(stub, message);
        return !stub->raised;
    case EXL_FRAME_FUNCTION:
        learn_function(stub, message);
        return true;
    case EXL_FRAME_FORGET:
        forget_functions(stub);
        return true;
    case EXL_FRAME_DEPENDENCY:
        if (at != stub->ndependencies || at >= MAX_DEPENDENCIES)
            die("dependency");
        stub->dependencies[stub->ndependencies++] = text_of(message->payload);
        return true;
    case EXL_FRAME_OPTIONS:
        stub->options = text_of(message->payload);
        return true;
    case EXL_FRAME_CALL:
        stub->call = text_of(message->payload);
        stub->call_size = strlen(stub->call);
        run_call(stub, &message->frame);
        forget_call(stub);
        return stub->claim != NULL;
    case EXL_FRAME_END:
        end(stub);
        return false;
    default:
        die("frame");
    }
    return false;
}

static int worker_main(const exl_role_t *role)
{
    stub_t stub = {.index = 0};
    exl_message_t message;
    exl_channel_init(&stub.channel, role->channel_fd);
    if (role->claim_fd >= 0 && exl_claim_open(role->claim_fd, &stub.claim) < 0)
        die("claim");
    bool more = true;
    while (more && exl_channel_receive(&stub.channel, &message) == 1) {
        more = handle(&stub, &message);
        exl_message_fini(&message);
    }
    char byte;
    if (stub.linger)
        (void)!read(stub.linger, &byte, 1);
    forget_call(&stub);
    forget_functions(&stub);
    free(stub.setup);
    free(stub.devices);
    free(stub.cpus);
    exl_claim_close(stub.claim);
    exl_channel_fini(&stub.channel);
    return 0;
}

static int serve(exl_channel_t *control, pid_t driver);

static int template_main(exl_role_t *role, pid_t driver)
{
    static stub_t importing;
    exl_channel_t channel;
    exl_message_t message;
    exl_channel_init(&channel, role->channel_fd);
    char *modules = text_of(role->payload);
    exl_payload_unref(role->payload);
    if (exl_channel_receive(&channel, &message) != 1)
        return 0;
    exl_message_fini(&message); /* the setup */
    run(&importing, modules);
    free(modules);
    return serve(&channel, driver);
}

static int serve(exl_channel_t *control, pid_t driver)
{
    static const exl_fork_hooks_t hooks = {NULL, NULL, NULL, NULL};
    exl_role_t role = {.kind = EXL_ROLE_ENDED};
    int rc = exl_zygote_serve(control, driver, &hooks, &role);
    if (rc < 0)
        return 71;
    if (role.kind == EXL_ROLE_WORKER)
        return worker_main(&role);
    return role.kind == EXL_ROLE_TEMPLATE ? template_main(&role, driver) : 0;
}

static int linger(const char *argument)
{
    int said, waited;
    pid_t pid = getpid();
    char byte;
    if (sscanf(argument, "linger %d %d", &said, &waited) != 2)
        return 72;
    (void)!write(said, &pid, sizeof pid);
    (void)!read(waited, &byte, 1);
    return 0;
}

int main(int argc, char **argv)
{
    enum { CONTROL_FD = 3 };
    if (argc > 1 && strncmp(argv[1], "linger", 6) == 0)
        return linger(argv[1]);
    if (argc > 1 && strcmp(argv[1], "fail") == 0) {
        (void)!write(STDERR_FILENO, "no zygote today\n", 16);
        return 1;
    }
    exl_channel_t control;
    exl_channel_init(&control, CONTROL_FD);
    return serve(&control, getppid());
}
