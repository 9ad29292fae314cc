/* remote.h: an agent as its fleet knows it: a place where calls can go, what has been said to it, and the calls that it has.
 *
 *   vacant ──▶ awaited ──▶ there ──▶ gone         from gone to vacant only where agents are renewed, see renewal.h
 *
 * Its calls are in `outstanding` and, by number, in `calls`; `place` and the allocation's ledger count what they need. These four change
 * together. What it is told leaves with exl__remote_flush(), or at the end of the fleet's pass. All under the engine's lock. */
#ifndef EXL_ENGINE_REMOTE_H
#define EXL_ENGINE_REMOTE_H

#include "engine/deadline.h"
#include "node/peer.h"
#include "sched/places.h"
#include "task/task.h"
#include "wire/record.h"

typedef enum exl_remote_state {
    EXL_REMOTE_VACANT,  /* nobody is to come */
    EXL_REMOTE_AWAITED, /* has not come yet */
    EXL_REMOTE_THERE,   /* has come; its connection may be broken at the moment */
    EXL_REMOTE_GONE     /* for good, or, where agents are renewed, until it is known why */
} exl_remote_state_t;

typedef struct exl_remote {
    exl_place_t place;
    exl_list_t unsent_link;  /* among those that have been told something which has not left */
    exl_list_t idle_link;    /* among those that are there and have nothing to do */
    exl_list_t stale_link;   /* among those of whose node others may use more or less than before */
    struct exl_fleet *fleet; /* borrowed */
    exl_remote_state_t state;
    uint32_t index, instance; /* the latter tells an agent from its successor */
    bool known;               /* it has said what there is on its node */
    bool asked_back;          /* it is giving calls back, and gets none meanwhile */
    bool dismissed;           /* it gets no more calls */
    bool died;                /* and the launcher may still say why */
    uint64_t asked_at;        /* when it was asked back: so often the fleet had missed some before */
    int64_t end_ns;           /* nothing starts there later; EXL_NO_END_NS: no end is known */
    exl_peer_t peer;
    exl_deadline_t *silence; /* owned; runs while the connection is broken */
    exl_node_record_t node;
    exl_list_t outstanding;
    exl_hosts_watch_t host_watch;
    int host;              /* in the ledger of the allocation; negative: not counted there */
    uint32_t held;         /* cores there that its persistent workers have */
    uint32_t *workers;     /* owned: ids of its persistent workers, to be told; NULL: none */
    exl_idmap_t calls;     /* number -> task */
    exl_idmap_t functions; /* those that it has */
    exl_payload_t *setup;  /* a reference: the last that it was told */
    exl_needs_record_t needs;
    uint32_t nworkers;
    bool has_needs, has_imports;
} exl_remote_t;

/* Vacant. -ENOMEM. */
int exl__remote_create(struct exl_fleet *fleet, uint32_t index, exl_remote_t **ret_remote);
void exl__remote_destroy(exl_remote_t *remote);

/* Vacant -> awaited: an agent of which nothing is known yet. -ENOMEM. */
int exl__remote_await(exl_remote_t *remote, const exl_peer_events_t *events);

/* Forgets what it was told, and closes its connection. Its calls stay. */
void exl__remote_close(exl_remote_t *remote, bool good_bye);

/* To be called when something has changed that says whether it takes calls. */
void exl__remote_update(exl_remote_t *remote);

/* What others use of its node is counted from now on. */
void exl__remote_look_at_host(exl_remote_t *remote);

/* Its persistent workers have these cores of its node, also while they do nothing. */
void exl__remote_hold(exl_remote_t *remote, uint32_t workers);

/* What there is on its node, once it has said so. -ENOMEM, -EINVAL: it cannot be counted. */
int exl__remote_describe(exl_remote_t *remote, const exl_node_record_t *node);

/* Numbers the call and sends it; fails it if it cannot be sent. */
void exl__remote_give(exl_remote_t *remote, exl_task_t *task);

/* The call is its no more, and nobody else's yet. */
void exl__remote_detach(exl_remote_t *remote, exl_task_t *task);

int exl__remote_tell(exl_remote_t *remote, exl_frame_t frame, exl_payload_t *payload);
void exl__remote_flush(exl_remote_t *remote);

/* So many workers, whose ids are copied; told at once if it is there, else when it comes. -ENOMEM. */
int exl__remote_set_workers(exl_remote_t *remote, const uint32_t *ids, uint32_t nids);
void exl__remote_tell_workers(exl_remote_t *remote);

/* It gives back at most so many calls that it has not begun, the latest first, and gets none until it has said that it has. */
void exl__remote_ask_back(exl_remote_t *remote, uint32_t count);
void exl__remote_has_given_back(exl_remote_t *remote);

/* No more calls for it; it goes when it has ended those that have begun there. */
void exl__remote_dismiss(exl_remote_t *remote);

/* It goes when it has nothing to do and we have all that it said. */
void exl__remote_send_end(exl_remote_t *remote);

#endif
