/* agents.c: so many agents in one thread, without processes: agents NODES CORES, with a line "ADDRESS PORT NAME KEY" on stdin.
 *
 *   driver ==== TLS ==== peer -- answers each call at once, with None
 *
 * To the driver they are like any others, so that this measures all of an executor but its nodes. Prints the time when all have come,
 * ends when all have ended. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "node/handshake.h"
#include "node/peer.h"
#include "wire/record.h"
#include "wire/tls_openssl.h"

/* AT_ONCE: handshakes; the driver's door has room for some more. */
enum { LIMIT_MS = 30000, AT_ONCE = 16 };

typedef struct agent {
    exl_peer_t peer;
    uint32_t index;
} agent_t;

static struct {
    exl_node_t node;
    struct sockaddr_in driver;
    char name[EXL_TLS_NAME_MAX + 1];
    uint8_t key[EXL_TLS_KEY_SIZE];
    agent_t *agents;
    uint32_t nagents, nbegun, ncome;
    exl_payload_t *record, *answer;
} all;

static void check(int rc, const char *what)
{
    if (rc >= 0)
        return;
    (void)fprintf(stderr, "simulated agents: %s: %s\n", what, exl_strerror(rc));
    exit(1);
}

/* ---- what they say ---- */

static void say(agent_t *agent, exl_frame_t frame, exl_payload_t *payload)
{
    check(exl_peer_send(&agent->peer, frame, payload), "sending");
}

static void message_cb(exl_peer_t *peer, exl_message_t *message)
{
    agent_t *agent = EXL_CONTAINER(peer, agent_t, peer);
    switch (message->frame.type) {
    case EXL_FRAME_CALL:
        say(agent, (exl_frame_t){.type = EXL_FRAME_RESULT, .id = message->frame.id}, all.answer);
        break;
    case EXL_FRAME_RECALL:
        say(agent, (exl_frame_t){.type = EXL_FRAME_RECALL}, NULL);
        break;
    case EXL_FRAME_END:
        exl_peer_fini(peer, true);
        break;
    default:
        break;
    }
}

static void broken_cb(exl_peer_t *peer, int code, const char *reason)
{
    exl_peer_fini(peer, false);
}

static const exl_peer_events_t events = {message_cb, broken_cb};

/* ---- coming ---- */

static void come(agent_t *agent);

/* At one time, so that what is measured does not begin with some of them. Prints when, on the clock of the system. */
static void introduce_all(void)
{
    (void)printf("%" PRId64 "\n", exl_clock_ns());
    (void)fflush(stdout);
    for (uint32_t i = 0; i < all.nagents; i++) {
        say(&all.agents[i], (exl_frame_t){.type = EXL_FRAME_NODE}, all.record);
        exl_peer_flush(&all.agents[i].peer);
    }
}

static void met_cb(void *owner, exl_handshake_t *handshake, exl_connection_t *connection, const exl_frame_t *hello,
                   int code, const char *reason)
{
    agent_t *agent = owner;
    check(code, reason);
    exl_connection_tune(exl_connection_fd(connection), LIMIT_MS);
    check(exl_peer_connect(&agent->peer, connection, hello->id), "connecting");
    if (all.nbegun < all.nagents)
        come(&all.agents[all.nbegun++]);
    if (++all.ncome == all.nagents)
        introduce_all();
}

static void come(agent_t *agent)
{
    exl_error_t err = {""};
    exl_handshake_t *handshake;
    const exl_handshake_config_t config = {.node = &all.node,
                                           .side = EXL_TLS_CONNECTS,
                                           .name = all.name,
                                           .key = all.key,
                                           .hello = {.arg = agent->index, .epoch = 1},
                                           .limit_ms = LIMIT_MS,
                                           .done = met_cb,
                                           .owner = agent};
    check(exl_peer_init(&agent->peer, &all.node, &events), "out of memory");
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || (connect(fd, (struct sockaddr *)&all.driver, sizeof all.driver) < 0 && errno != EINPROGRESS))
        check(-errno, "connecting");
    check(exl_handshake_start(&config, fd, &handshake, &err), err.text);
}

/* ---- life ---- */

static void changed(void *owner)
{
}

static void read_driver(void)
{
    char address[64], name[EXL_TLS_NAME_MAX + 1], key[2 * EXL_TLS_KEY_SIZE + 1];
    unsigned port;
    if (scanf("%63s %u %128s %64s", address, &port, name, key) != 4)
        check(-EINVAL, "the line on stdin");
    all.driver.sin_family = AF_INET;
    all.driver.sin_port = htons((uint16_t)port);
    (void)inet_pton(AF_INET, address, &all.driver.sin_addr);
    memcpy(all.name, name, sizeof name);
    for (size_t i = 0; i < EXL_TLS_KEY_SIZE; i++) {
        const char digits[] = {key[2 * i], key[2 * i + 1], '\0'};
        all.key[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
}

static void raise_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    static const char none[] = "\x80\x05N."; /* pickled */
    if (argc != 3) {
        (void)fprintf(stderr, "usage: %s NODES CORES\n", argv[0]);
        return 2;
    }
    exl_node_record_t record = {.cores = (uint32_t)atoi(argv[2]), .host = "simulated"};
    read_driver();
    raise_limit();
    exl_tls_provide(&exl_tls_openssl);
    all.nagents = (uint32_t)atoi(argv[1]);
    all.agents = calloc(all.nagents, sizeof *all.agents);
    check(all.agents ? 0 : -ENOMEM, "agents");
    check(exl_node_record_write(&record, &all.record), "record");
    check(exl_payload_of(none, sizeof none - 1, &all.answer), "answer");
    all.node = (exl_node_t){.loop = uv_default_loop(), .changed = changed};
    exl_list_init(&all.node.sockets);
    for (uint32_t i = 0; i < all.nagents; i++)
        all.agents[i].index = i;
    while (all.nbegun < all.nagents && all.nbegun < AT_ONCE)
        come(&all.agents[all.nbegun++]);
    (void)uv_run(all.node.loop, UV_RUN_DEFAULT);
    exl_payload_unref(all.record);
    exl_payload_unref(all.answer);
    free(all.agents);
    return 0;
}
