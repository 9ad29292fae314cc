/* stub_mpiexec.c: a launcher whose ranks are its own forks, and do what they and their calls are told.
 *
 *   stub_mpiexec MODE RANK...
 *
 * MODE  run       starts the ranks, waits for them, exits with the first status that is not 0
 *       refuse    complains and exits with 3
 *       alone     starts them and exits with 0 at once
 * RANK  "N" or "N HOW": number N; HOW is
 *       stranger  says a wrong secret      mute      connects, says nothing, and leaves
 *       foreign   is another user (root)   odd       says something else than that it is ready
 *       silent    connects, says nothing, and stays
 *       die       exits with 7 once it is set up       fail      cannot set itself up
 *
 * The text of a call has a part per rank, separated by "|"; what is in the last one is for all further ranks. Parts:
 *   exit N | signal N | raise TEXT | pause | garbage | wait FD | launcher N (signals the launcher) | daemon FD | pid FD
 *   told FD (writes a byte there once its answer is on its way)
 *   join (the arguments from other calls, and the options) | ready (answers with another frame) | big N
 * Another text is its own result. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/rank_group.h"

enum { TEXT_SIZE = 4096, SECRET_BYTES = 32, OTHER_USER = 65534 };

typedef struct rank {
    exl_channel_t channel;
    unsigned number; /* as it says */
    char inputs[TEXT_SIZE];
} rank_t;

static void die(const char *why)
{
    perror(why);
    _exit(70);
}

static void send_text(rank_t *rank, uint8_t type, uint64_t id, const char *text, size_t size)
{
    exl_payload_t *payload;
    if (exl_payload_of(text, size, &payload) < 0 ||
        exl_channel_queue(&rank->channel, (exl_frame_t){.type = type, .id = id}, payload, NULL, 0, false) < 0)
        die("send");
    exl_payload_unref(payload);
    (void)exl_channel_flush(&rank->channel);
}

static void send_plain(rank_t *rank, uint8_t type, uint64_t id)
{
    (void)exl_channel_queue(&rank->channel, (exl_frame_t){.type = type, .id = id}, NULL, NULL, 0, false);
    (void)exl_channel_flush(&rank->channel);
}

static void copy_text(exl_payload_t *payload, char *text)
{
    exl_payload_view_t view;
    if (!payload || exl_payload_map(payload) < 0 || exl_payload_view(payload, &view) < 0 || view.body_size >= TEXT_SIZE)
        die("payload");
    memcpy(text, view.body, view.body_size);
    text[view.body_size] = '\0';
}

/* ---- joining ---- */

static void address_of(char *path, uint8_t *secret)
{
    const char *value = getenv(EXL_RANKS_VARIABLE), *colon = value ? strrchr(value, ':') : NULL;
    if (!colon || strlen(colon + 1) != (size_t)2 * SECRET_BYTES)
        die(EXL_RANKS_VARIABLE);
    (void)snprintf(path, TEXT_SIZE, "%.*s", (int)(colon - value), value);
    for (size_t i = 0; i < SECRET_BYTES; i++) {
        char digits[3] = {colon[1 + 2 * i], colon[2 + 2 * i], '\0'};
        secret[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
}

/* Another user cannot even enter the directory. Root opens it, so that the door itself is put to the test. */
static void become_another_user(const char *path)
{
    char directory[TEXT_SIZE];
    (void)snprintf(directory, sizeof directory, "%.*s", (int)(strrchr(path, '/') - path), path);
    if (chmod(directory, 0755) < 0 || chmod(path, 0777) < 0 || setuid(OTHER_USER) < 0)
        die("setuid");
}

static void join_group(rank_t *rank, const char *how)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char path[TEXT_SIZE];
    uint8_t secret[SECRET_BYTES];
    address_of(path, secret);
    if (strcmp(how, "foreign") == 0)
        become_another_user(path);
    if (strcmp(how, "stranger") == 0)
        secret[SECRET_BYTES - 1] ^= 1;
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%.100s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("connect");
    exl_channel_init(&rank->channel, fd);
    if (strcmp(how, "silent") == 0)
        for (;;)
            (void)pause();
    if (strcmp(how, "mute") != 0)
        send_text(rank, EXL_FRAME_HELLO, 0, (const char *)secret, sizeof secret);
}

/* ---- calls ---- */

static void start_daemon(int fd)
{
    if (fork() != 0)
        return;
    (void)setsid();
    pid_t pid = fork();
    if (pid != 0) {
        (void)!write(fd, &pid, sizeof pid);
        _exit(0);
    }
    for (;;)
        (void)pause();
}

static const char *part_of(char *text, unsigned place)
{
    char *part = text, *bar;
    while ((bar = strchr(part, '|'))) {
        if (place == 0)
            *bar = '\0';
        if (place-- == 0)
            break;
        part = bar + 1;
    }
    return part;
}

static void send_big(rank_t *rank, uint64_t id, size_t size)
{
    char *bytes = malloc(size);
    if (!bytes)
        die("big");
    memset(bytes, (int)('a' + rank->number), size);
    send_text(rank, EXL_FRAME_RESULT, id, bytes, size);
    free(bytes);
}

static void run_call(rank_t *rank, const exl_message_t *message)
{
    char text[TEXT_SIZE], byte;
    copy_text(message->payload, text);
    const char *part = part_of(text, rank->number), *space = strchr(part, ' '), *rest = space ? space + 1 : "";
    uint64_t id = message->frame.id;
    if (strncmp(part, "exit ", 5) == 0)
        _exit(atoi(rest));
    if (strncmp(part, "signal ", 7) == 0)
        (void)kill(getpid(), atoi(rest));
    if (strncmp(part, "launcher ", 9) == 0)
        (void)kill(getppid(), atoi(rest));
    if (strncmp(part, "launcher ", 9) == 0 || strcmp(part, "pause") == 0)
        for (;;)
            (void)pause();
    if (strcmp(part, "garbage") == 0)
        (void)!write(rank->channel.fd, "these are more than thirty-two bytes of nonsense", 48);
    if (strncmp(part, "wait ", 5) == 0)
        (void)!read(atoi(rest), &byte, 1);
    if (strncmp(part, "daemon ", 7) == 0)
        start_daemon(atoi(rest));
    pid_t pid = getpid();
    if (strncmp(part, "pid ", 4) == 0)
        (void)!write(atoi(rest), &pid, sizeof pid);
    if (strcmp(part, "ready") == 0)
        send_plain(rank, EXL_FRAME_READY, rank->number);
    else if (strncmp(part, "raise ", 6) == 0)
        send_text(rank, EXL_FRAME_EXCEPTION, id, rest, strlen(rest));
    else if (strncmp(part, "big ", 4) == 0)
        send_big(rank, id, strtoul(rest, NULL, 10));
    else if (strcmp(part, "join") == 0)
        send_text(rank, EXL_FRAME_RESULT, id, rank->inputs, strlen(rank->inputs));
    else
        send_text(rank, EXL_FRAME_RESULT, id, part, strlen(part));
    if (strncmp(part, "told ", 5) == 0)
        (void)!write(atoi(rest), ".", 1);
    rank->inputs[0] = '\0';
}

static void keep_input(rank_t *rank, exl_payload_t *payload)
{
    char text[TEXT_SIZE];
    size_t length = strlen(rank->inputs);
    copy_text(payload, text);
    (void)snprintf(rank->inputs + length, TEXT_SIZE - length, "%.100s+", text);
}

static void set_up(rank_t *rank, const char *how)
{
    if (strcmp(how, "die") == 0)
        _exit(7);
    if (strcmp(how, "fail") == 0)
        send_text(rank, EXL_FRAME_SETUP_FAILED, 0, "no place for this rank", 22);
    else if (strcmp(how, "odd") == 0)
        send_plain(rank, EXL_FRAME_HELLO, 0);
    else
        send_plain(rank, EXL_FRAME_READY, rank->number);
}

static int rank_main(rank_t *rank, const char *how)
{
    exl_message_t message;
    join_group(rank, how);
    if (strcmp(how, "mute") == 0)
        return 0;
    for (bool more = true; more;) {
        if (exl_channel_receive(&rank->channel, &message) != 1)
            return strcmp(how, "stranger") == 0 || strcmp(how, "foreign") == 0 ? 0 : 1;
        if (message.frame.type == EXL_FRAME_SETUP)
            set_up(rank, how);
        else if (message.frame.type == EXL_FRAME_CALL)
            run_call(rank, &message);
        else if (message.frame.type == EXL_FRAME_END)
            more = false;
        else if (message.payload)
            keep_input(rank, message.payload);
        exl_message_fini(&message);
    }
    exl_channel_fini(&rank->channel);
    return 0;
}

/* ---- the launcher ---- */

static void start_rank(const char *argument)
{
    if (fork() != 0)
        return;
    char how[32] = "";
    rank_t rank = {.number = 0};
    (void)sscanf(argument, "%u %31s", &rank.number, how);
    _exit(rank_main(&rank, how));
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    int status, worst = 0;
    if (strcmp(mode, "refuse") == 0) {
        (void)fprintf(stderr, "no ranks today\n");
        return 3;
    }
    for (int i = 2; i < argc; i++)
        start_rank(argv[i]);
    if (strcmp(mode, "alone") == 0)
        return 0;
    for (pid_t pid; (pid = wait(&status)) > 0 || errno == EINTR;)
        if (pid > 0 && status != 0 && worst == 0)
            worst = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return worst;
}
