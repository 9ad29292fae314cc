/* frame.c: the codec of frame.h. */
#include "wire/frame.h"

#include <assert.h>

#include "base/error.h"
#include "base/little_endian.h"

static const uint8_t magic[4] = {'E', 'X', 'L', '1'};

const char *exl_frame_type_to_string(uint8_t type)
{
    static const char *const names[EXL_FRAME_TYPES] = {
        [EXL_FRAME_DEVICES] = "devices",
        [EXL_FRAME_PINS] = "pins",
        [EXL_FRAME_NODES] = "nodes",
        [EXL_FRAME_SETUP] = "setup",
        [EXL_FRAME_FUNCTION] = "function",
        [EXL_FRAME_FORGET] = "forget",
        [EXL_FRAME_DEPENDENCY] = "dependency",
        [EXL_FRAME_OPTIONS] = "options",
        [EXL_FRAME_CALL] = "call",
        [EXL_FRAME_END] = "end",
        [EXL_FRAME_READY] = "ready",
        [EXL_FRAME_SETUP_FAILED] = "setup failed",
        [EXL_FRAME_RESULT] = "result",
        [EXL_FRAME_EXCEPTION] = "exception",
        [EXL_FRAME_IMPORTS] = "imports",
        [EXL_FRAME_LOG] = "log",
        [EXL_FRAME_FORK] = "fork",
        [EXL_FRAME_TEMPLATE] = "template",
        [EXL_FRAME_REASON] = "reason",
        [EXL_FRAME_HELLO] = "hello",
        [EXL_FRAME_JOINED] = "joined",
        [EXL_FRAME_LAUNCHER_NEEDED] = "launcher needed",
        [EXL_FRAME_KILL] = "kill",
        [EXL_FRAME_TERMINATE] = "terminate",
        [EXL_FRAME_ONLINE] = "online",
        [EXL_FRAME_FORKED] = "forked",
        [EXL_FRAME_NOT_FORKED] = "not forked",
        [EXL_FRAME_EXITED] = "exited",
        [EXL_FRAME_ACK] = "ack",
        [EXL_FRAME_NEEDS] = "needs",
        [EXL_FRAME_RECALL] = "recall",
        [EXL_FRAME_STOP] = "stop",
        [EXL_FRAME_RESIZE] = "resize",
        [EXL_FRAME_NODE] = "node",
        [EXL_FRAME_RETURNED] = "returned",
        [EXL_FRAME_LOST] = "lost",
        [EXL_FRAME_TERMINATED] = "terminated",
    };
    return type < EXL_FRAME_TYPES && names[type] ? names[type] : "unknown";
}

void exl_frame_encode(const exl_frame_t *frame, uint8_t bytes[EXL_FRAME_SIZE])
{
    assert(frame->type > 0 && frame->type < EXL_FRAME_TYPES && frame->nfds <= EXL_FRAME_MAX_FDS);
    for (int i = 0; i < 4; i++)
        bytes[i] = magic[i];
    bytes[4] = frame->type;
    bytes[5] = frame->flags;
    bytes[6] = frame->nfds;
    bytes[7] = 0;
    exl_put_le(bytes + 8, frame->arg, 4);
    exl_put_le(bytes + 12, frame->epoch, 4);
    exl_put_le(bytes + 16, frame->id, 8);
    exl_put_le(bytes + 24, frame->size, 8);
}

int exl_frame_decode(const uint8_t bytes[EXL_FRAME_SIZE], exl_frame_t *ret_frame)
{
    for (int i = 0; i < 4; i++)
        if (bytes[i] != magic[i])
            return EXL_EPROTOCOL;
    exl_frame_t frame = {.type = bytes[4],
                         .flags = bytes[5],
                         .nfds = bytes[6],
                         .arg = (uint32_t)exl_le(bytes + 8, 4),
                         .epoch = (uint32_t)exl_le(bytes + 12, 4),
                         .id = exl_le(bytes + 16, 8),
                         .size = exl_le(bytes + 24, 8)};
    if (frame.type == 0 || frame.type >= EXL_FRAME_TYPES || bytes[7] != 0)
        return EXL_EPROTOCOL;
    if (frame.nfds > EXL_FRAME_MAX_FDS || frame.size > EXL_FRAME_MAX_PAYLOAD)
        return EXL_EPROTOCOL;
    if (frame.flags & ~(EXL_FRAME_PAYLOAD | EXL_FRAME_FILE))
        return EXL_EPROTOCOL;
    if (frame.size && !(frame.flags & EXL_FRAME_PAYLOAD))
        return EXL_EPROTOCOL;
    if ((frame.flags & EXL_FRAME_FILE) && (!(frame.flags & EXL_FRAME_PAYLOAD) || frame.nfds == 0))
        return EXL_EPROTOCOL;
    *ret_frame = frame;
    return 0;
}
