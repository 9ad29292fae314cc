/* frame.h: the header of every message between driver, zygote and worker. A pure codec: bytes in, fields out.
 *
 *   offset  0  u32  magic "EXL1"
 *           4  u8   type
 *           5  u8   flags
 *           6  u8   number of descriptors that travel with the frame
 *           7  u8   0
 *           8  u32  argument (meaning depends on the type)
 *          12  u32  epoch (calls: which recall generation, see node/claim.h)
 *          16  u64  id
 *          24  u64  size of the payload's region, in bytes; it follows inline unless EXL_FRAME_FILE is set
 *
 * All numbers are little-endian. */
#ifndef EXL_WIRE_FRAME_H
#define EXL_WIRE_FRAME_H

#include <stdint.h>

enum { EXL_FRAME_SIZE = 32, EXL_FRAME_MAX_FDS = 5 };

/* Nothing legitimate comes near it; a length beyond it is refused before anything is allocated. */
#define EXL_FRAME_MAX_PAYLOAD (UINT64_C(1) << 40)

/* In the argument of EXL_FRAME_CALL. */
enum exl_call_argument {
    EXL_CALL_FUNCTION = 1,      /* the payload holds arguments only; the function is the last one named */
    EXL_CALL_REPORT_IMPORTS = 2 /* tell what the call imported */
};

enum exl_frame_flag {
    EXL_FRAME_PAYLOAD = 1, /* a payload follows */
    EXL_FRAME_FILE = 2     /* … in a memory file, the last of the frame's descriptors */
};

enum exl_frame_type {
    /* engine to worker; a group's head passes them on to its MPI ranks */
    /* These two before the setup; MPI ranks get the whole list alike, and each takes its part. */
    EXL_FRAME_DEVICES = 1, /* the variable that names GPUs, then their names, one a line */
    EXL_FRAME_PINS,        /* numbers of the processors to run on, one a line */
    EXL_FRAME_NODES,       /* to a head, before the setup: names of the nodes for its ranks, one a line */
    EXL_FRAME_SETUP,       /* id: worker, arg: its index; descriptor: stdout; payload: environment and initializer */
    EXL_FRAME_FUNCTION,    /* id: a function; payload: its pickle; without: the function of the next call */
    EXL_FRAME_FORGET,      /* all functions */
    EXL_FRAME_DEPENDENCY,  /* arg: index; payload: a result that the next call takes as argument */
    EXL_FRAME_OPTIONS,     /* payload: options of the next call */
    EXL_FRAME_CALL,        /* id: sequence number, arg: see below, epoch; payload: the call */
    EXL_FRAME_END,         /* finish and exit */
    /* worker to engine */
    EXL_FRAME_READY,        /* the initializer has returned */
    EXL_FRAME_SETUP_FAILED, /* payload: its exception */
    EXL_FRAME_RESULT,       /* id: sequence number; payload: what the function returned */
    EXL_FRAME_EXCEPTION,    /* id: sequence number; payload: what it raised */
    EXL_FRAME_REASON,       /* payload: text: why it is about to end; what its exit status does not say */
    EXL_FRAME_IMPORTS,      /* payload: modules that the call imported and a template may import before it */
    EXL_FRAME_LOG, /* the call's stderr goes to a file; descriptor: the file, id: its size as the call begins */
    EXL_FRAME_LAUNCHER_NEEDED, /* head: ranks that it forked could not start MPI; no other head is to try */
    /* MPI rank to the head of its group */
    EXL_FRAME_HELLO,  /* payload: the secret */
    EXL_FRAME_JOINED, /* MPI has started; none of the user's code has */
    /* engine to zygote */
    EXL_FRAME_FORK, /* id: worker, arg: see zygote_server.h; descriptors: channel, stderr and, for persistent workers, claim page */
    EXL_FRAME_TEMPLATE,  /* id: template; descriptor: its control channel; payload: setup and modules */
    EXL_FRAME_KILL,      /* id: worker, arg: signal for it and everything it started */
    EXL_FRAME_TERMINATE, /* id: worker, arg: ms from SIGTERM to SIGKILL, for it and everything it started */
    /* zygote to engine */
    EXL_FRAME_ONLINE,     /* the zygote can fork */
    EXL_FRAME_FORKED,     /* id: worker, arg: pid */
    EXL_FRAME_NOT_FORKED, /* id: worker, arg: errno */
    EXL_FRAME_EXITED,     /* id: worker, arg: wait status; everything it started is gone too */
    /* either end of a link (link.h), outside of its count */
    EXL_FRAME_ACK, /* id: frames received so far */
    /* driver to agent (fleet.h), besides SETUP, IMPORTS, FUNCTION, FORGET, DEPENDENCY, OPTIONS, CALL, END */
    EXL_FRAME_NEEDS,  /* payload: what the next calls need, until told otherwise */
    EXL_FRAME_RECALL, /* arg: give back so many calls that have not begun */
    EXL_FRAME_STOP,   /* id: end this call, as future.terminate() does */
    EXL_FRAME_RESIZE, /* arg: so many persistent workers from now on; payload: their ids, 32 bits each */
    /* agent to driver, besides RESULT and EXCEPTION */
    EXL_FRAME_NODE,       /* payload: what there is on its node */
    EXL_FRAME_RETURNED,   /* id: this call has not begun, and will not here */
    EXL_FRAME_LOST,       /* id: this call's worker was lost; payload: how */
    EXL_FRAME_TERMINATED, /* id: this call was ended; payload: how */
    EXL_FRAME_TYPES
};

typedef struct exl_frame {
    uint8_t type, flags, nfds;
    uint32_t arg, epoch;
    uint64_t id, size;
} exl_frame_t;

const char *exl_frame_type_to_string(uint8_t type);

void exl_frame_encode(const exl_frame_t *frame, uint8_t bytes[EXL_FRAME_SIZE]);

/* 0, or EXL_EPROTOCOL for anything that exl_frame_encode() cannot have written. */
int exl_frame_decode(const uint8_t bytes[EXL_FRAME_SIZE], exl_frame_t *ret_frame);

#endif
