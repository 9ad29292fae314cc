/* pmi.c: see pmi.h. The commands are those of PMI 1.1; tests/core/test_pmi.c has each with its answer. */
#include "launch/pmi.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* As Hydra announces them; a library cuts longer values into pieces. */
enum { NAME_MAX_SIZE = 256, KEY_MAX_SIZE = 64, VALUE_MAX_SIZE = 1024 };
/* A rank publishes a handful of addresses. */
enum { ENTRIES = 1024, ENTRIES_PER_RANK = 256 };

struct entry {
    char *key, *value; /* one block, owned through `key` */
};

struct client {
    char line[EXL_PMI_LINE_MAX];
    size_t length;
    bool in_barrier;
    bool in_spawn;      /* within the many lines of a request to spawn */
    long spawns, spawn; /* how many such requests make one, and which of them this is */
};

struct exl_pmi {
    char name[NAME_MAX_SIZE];  /* of the store of keys, and so of the group */
    uint32_t nranks, nwaiting; /* in the barrier */
    struct client *clients;    /* owned */
    struct entry *entries;     /* owned */
    size_t nentries, capacity;
    exl_pmi_answer_cb send;
    void *owner;
};

/* A part of a line. */
struct text {
    const char *start;
    size_t size;
};

__attribute__((format(printf, 3, 4))) static void answer(exl_pmi_t *pmi, uint32_t rank, const char *format, ...)
{
    char line[EXL_PMI_LINE_MAX + 64];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    line[size] = '\n';
    pmi->send(pmi->owner, rank, line, (size_t)size + 1);
}

/* ---- lines ---- */

/* The value of `key` among the words "key=value" of the line; a space in a value has a backslash before it. */
static bool field(const char *line, const char *key, struct text *ret_value)
{
    size_t length = strlen(key);
    for (const char *at = line; *at;) {
        const char *word = at;
        for (; *at && *at != ' '; at++)
            if (*at == '\\' && at[1])
                at++;
        if (strncmp(word, key, length) == 0 && word[length] == '=') {
            *ret_value = (struct text){word + length + 1, (size_t)(at - word) - length - 1};
            return ret_value->size > 0;
        }
        at += strspn(at, " ");
    }
    return false;
}

static long number(const char *line, const char *key, long otherwise)
{
    struct text value;
    return field(line, key, &value) ? strtol(value.start, NULL, 10) : otherwise;
}

static bool equals(struct text text, const char *string)
{
    return strlen(string) == text.size && memcmp(text.start, string, text.size) == 0;
}

/* ---- keys and values ---- */

static struct entry *find(const exl_pmi_t *pmi, struct text key)
{
    for (size_t i = 0; i < pmi->nentries; i++)
        if (equals(key, pmi->entries[i].key))
            return &pmi->entries[i];
    return NULL;
}

static bool add(exl_pmi_t *pmi, struct text key, struct text value)
{
    if (pmi->nentries == pmi->capacity) {
        size_t capacity = pmi->capacity ? 2 * pmi->capacity : 16;
        struct entry *grown = realloc(pmi->entries, capacity * sizeof *grown);
        if (!grown)
            return false;
        pmi->entries = grown;
        pmi->capacity = capacity;
    }
    struct entry *entry = find(pmi, key);
    char *block = malloc(key.size + value.size + 2);
    if (!block)
        return false;
    memcpy(block, key.start, key.size);
    block[key.size] = '\0';
    memcpy(block + key.size + 1, value.start, value.size);
    block[key.size + 1 + value.size] = '\0';
    if (entry)
        free(entry->key);
    else
        entry = &pmi->entries[pmi->nentries++];
    *entry = (struct entry){block, block + key.size + 1};
    return true;
}

static int put(exl_pmi_t *pmi, uint32_t rank, const char *line)
{
    struct text key, value;
    if (!field(line, "key", &key) || !field(line, "value", &value))
        return EXL_EPROTOCOL;
    /* A value may have a backslash for each of its bytes. */
    if (key.size > KEY_MAX_SIZE || value.size > (size_t)2 * VALUE_MAX_SIZE ||
        pmi->nentries >= ENTRIES + (size_t)ENTRIES_PER_RANK * pmi->nranks || !add(pmi, key, value))
        return EXL_EPROTOCOL;
    answer(pmi, rank, "cmd=put_result rc=0");
    return 0;
}

static int get(exl_pmi_t *pmi, uint32_t rank, const char *line)
{
    struct text key;
    if (!field(line, "key", &key))
        return EXL_EPROTOCOL;
    const struct entry *entry = find(pmi, key);
    if (entry)
        answer(pmi, rank, "cmd=get_result rc=0 value=%s", entry->value);
    else
        answer(pmi, rank, "cmd=get_result rc=-1 msg=key_not_found value=unknown");
    return 0;
}

/* ---- commands ---- */

static int init(exl_pmi_t *pmi, uint32_t rank, const char *line)
{
    long version = number(line, "pmi_version", 0);
    answer(pmi, rank, "cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=%d", version == 1 ? 0 : -1);
    return 0;
}

static int enter_barrier(exl_pmi_t *pmi, uint32_t rank)
{
    if (pmi->clients[rank].in_barrier)
        return EXL_EPROTOCOL;
    pmi->clients[rank].in_barrier = true;
    if (++pmi->nwaiting < pmi->nranks)
        return 0;
    pmi->nwaiting = 0;
    for (uint32_t i = 0; i < pmi->nranks; i++)
        pmi->clients[i].in_barrier = false;
    for (uint32_t i = 0; i < pmi->nranks; i++)
        answer(pmi, i, "cmd=barrier_out rc=0");
    return 0;
}

static int dispatch(exl_pmi_t *pmi, uint32_t rank, const char *line, int *ret_status)
{
    static const char *const refused[][2] = {
        {"publish_name", "publish_result"}, {"unpublish_name", "unpublish_result"}, {"lookup_name", "lookup_result"}};
    struct text command;
    if (strncmp(line, "cmd=", 4) != 0 || !field(line, "cmd", &command))
        return EXL_EPROTOCOL;
    if (equals(command, "init"))
        return init(pmi, rank, line);
    if (equals(command, "put"))
        return put(pmi, rank, line);
    if (equals(command, "get"))
        return get(pmi, rank, line);
    if (equals(command, "barrier_in"))
        return enter_barrier(pmi, rank);
    if (equals(command, "abort")) {
        *ret_status = (int)number(line, "exitcode", 1);
        return EXL_ECLOSED;
    }
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (equals(command, refused[i][0])) {
            answer(pmi, rank, "cmd=%s info=failed rc=-1 msg=not_supported", refused[i][1]);
            return 1;
        }
    if (equals(command, "get_maxes"))
        answer(pmi, rank, "cmd=maxes kvsname_max=%d keylen_max=%d vallen_max=%d rc=0", NAME_MAX_SIZE, KEY_MAX_SIZE,
               VALUE_MAX_SIZE);
    else if (equals(command, "get_my_kvsname"))
        answer(pmi, rank, "cmd=my_kvsname kvsname=%s rc=0", pmi->name);
    else if (equals(command, "get_appnum"))
        answer(pmi, rank, "cmd=appnum appnum=0 rc=0");
    else if (equals(command, "get_universe_size"))
        answer(pmi, rank, "cmd=universe_size size=%u rc=0", pmi->nranks);
    else if (equals(command, "finalize"))
        answer(pmi, rank, "cmd=finalize_ack rc=0");
    else
        return EXL_EPROTOCOL;
    return 0;
}

/* A request to spawn has many lines, up to "endcmd", and for several programs comes several times: one answer to all. */
static int pass_over_spawn(exl_pmi_t *pmi, uint32_t rank, const char *line)
{
    struct client *client = &pmi->clients[rank];
    client->spawns = number(line, "totspawns", client->spawns);
    client->spawn = number(line, "spawnssofar", client->spawn);
    if (strcmp(line, "endcmd") != 0)
        return 0;
    client->in_spawn = false;
    if (client->spawn < client->spawns)
        return 0;
    answer(pmi, rank, "cmd=spawn_result rc=-1 msg=not_supported");
    return 1;
}

static int take_line(exl_pmi_t *pmi, uint32_t rank, const char *line, int *ret_status)
{
    struct client *client = &pmi->clients[rank];
    if (client->in_spawn)
        return pass_over_spawn(pmi, rank, line);
    if (strcmp(line, "mcmd=spawn") == 0) {
        client->in_spawn = true;
        client->spawn = client->spawns = 1;
        return 0;
    }
    return dispatch(pmi, rank, line, ret_status);
}

int exl_pmi_feed(exl_pmi_t *pmi, uint32_t rank, const char *bytes, size_t size, int *ret_status)
{
    struct client *client = &pmi->clients[rank];
    int refused = 0;
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] == '\0' || client->length == sizeof client->line)
            return EXL_EPROTOCOL;
        if (bytes[i] != '\n') {
            client->line[client->length++] = bytes[i];
            continue;
        }
        if (client->length == sizeof client->line)
            return EXL_EPROTOCOL;
        client->line[client->length] = '\0';
        client->length = 0;
        int rc = take_line(pmi, rank, client->line, ret_status);
        if (rc < 0)
            return rc;
        refused |= rc;
    }
    return refused;
}

/* ---- life ---- */

/* What a library asks before it publishes anything: which ranks are on which node. All are on the first. */
static bool add_mapping(exl_pmi_t *pmi)
{
    char mapping[64];
    (void)snprintf(mapping, sizeof mapping, "(vector,(0,1,%u))", pmi->nranks);
    static const char key[] = "PMI_process_mapping";
    return add(pmi, (struct text){key, sizeof key - 1}, (struct text){mapping, strlen(mapping)});
}

int exl_pmi_create(uint32_t nranks, const char *name, exl_pmi_answer_cb send, void *owner, exl_pmi_t **ret_pmi)
{
    exl_pmi_t *pmi = calloc(1, sizeof *pmi);
    if (!pmi)
        return -ENOMEM;
    *pmi = (exl_pmi_t){.nranks = nranks, .send = send, .owner = owner};
    (void)snprintf(pmi->name, sizeof pmi->name, "%s", name);
    pmi->clients = calloc(nranks, sizeof *pmi->clients);
    if (!pmi->clients || !add_mapping(pmi)) {
        exl_pmi_destroy(pmi);
        return -ENOMEM;
    }
    *ret_pmi = pmi;
    return 0;
}

void exl_pmi_destroy(exl_pmi_t *pmi)
{
    for (size_t i = 0; i < pmi->nentries; i++)
        free(pmi->entries[i].key);
    free(pmi->entries);
    free(pmi->clients);
    free(pmi);
}
