/* event.c: lines are put together by hand: there may be some hundred thousand of them in a second. */
#include "engine/event.h"

#include <string.h>

#include "base/clock.h"

/* Without texts and lists: names of fields, a dozen numbers, the node's name twice, in each of two lines. */
enum { LINE_BOUND = 2048, CHARACTER_BOUND = 6, NUMBER_BOUND = 21 };

static const char digits_of_100[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
                                    "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
                                    "8081828384858687888990919293949596979899";

static const char *const names[EXL_EVENT_KINDS] = {"timeline",   "executor", "submitted", "ready", "started",
                                                   "returned",   "finished", "failed",    "lost",  "cancelled",
                                                   "terminated", "closed",   "dropped"};

const char *exl_event_to_string(uint8_t kind)
{
    return kind < EXL_EVENT_KINDS ? names[kind] : "unknown";
}

static char *put(char *end, const char *text)
{
    return stpcpy(end, text);
}

static char *put_number(char *end, uint64_t number)
{
    char digits[NUMBER_BOUND], *first = digits + sizeof digits;
    for (; number >= 100; number /= 100)
        memcpy(first -= 2, digits_of_100 + 2 * (number % 100), 2);
    if (number >= 10)
        memcpy(first -= 2, digits_of_100 + 2 * number, 2);
    else
        *--first = (char)('0' + number);
    size_t size = (size_t)(digits + sizeof digits - first);
    memcpy(end, first, size);
    return end + size;
}

static char *put_fraction(char *end, uint64_t fraction, int ndigits)
{
    *end = '.';
    for (int i = ndigits; i > 0; i--, fraction /= 10)
        end[i] = (char)('0' + fraction % 10);
    return end + ndigits + 1;
}

static char *put_seconds(char *end, int64_t ns, int ndigits)
{
    uint64_t unit = ndigits == 9 ? 1 : 1000; /* nanoseconds or microseconds */
    uint64_t number = ns > 0 ? (uint64_t)ns : 0;
    end = put_number(end, number / EXL_NS_PER_S);
    return put_fraction(end, number % EXL_NS_PER_S / unit, ndigits);
}

static char *put_field(char *end, const char *name, uint64_t number)
{
    return put_number(put(end, name), number);
}

/* Control characters, quotes and backslashes are what JSON wants escaped. Reads to the zero or to `size`. */
static char *put_quoted(char *end, const char *text, size_t size)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte < 0x20) {
            end = put(end, "\\u00");
            *end++ = hex[byte >> 4];
            *end++ = hex[byte & 15];
            continue;
        }
        if (byte == '"' || byte == '\\')
            *end++ = '\\';
        *end++ = (char)byte;
    }
    return end;
}

void exl_event_quote(const char *text, char *quoted, size_t size)
{
    char *end = quoted;
    for (; *text && (size_t)(end - quoted) + CHARACTER_BOUND < size; text++)
        end = put_quoted(end, text, 1);
    *end = '\0';
}

static char *put_head(char *end, const char *name, int64_t t_ns, const exl_origin_t *origin)
{
    end = put(put(end, "{\"event\":\""), name);
    end = put_seconds(put(end, "\",\"time\":"), t_ns + origin->wall_minus_ns, 6);
    end = put_seconds(put(end, ",\"t\":"), t_ns, 9);
    end = put(put(end, ",\"driver\":\""), origin->node);
    *end++ = ':';
    end = put_number(end, (uint64_t)origin->pid);
    *end++ = '"';
    return end;
}

static char *put_tail(char *end)
{
    *end++ = '}';
    *end++ = '\n';
    return end;
}

static char *put_worker(char *end, const exl_event_t *event)
{
    end = put_field(end, ",\"worker\":", event->worker);
    return event->pid ? put_field(end, ",\"pid\":", (uint64_t)event->pid) : end;
}

static char *put_start(char *end, const exl_event_t *event, const exl_origin_t *origin, int64_t t_ns)
{
    end = put_head(end, "started", t_ns, origin);
    end = put_field(end, ",\"executor\":", event->executor);
    end = put_field(end, ",\"call\":", event->call);
    end = put_worker(end, event);
    end = put(put(end, ",\"node\":\""), origin->node);
    *end++ = '"';
    return put_tail(end);
}

static char *put_driver(char *end, const exl_event_t *event, const exl_origin_t *origin)
{
    end = put(put(end, ",\"version\":1,\"node\":\""), origin->node);
    end = put_field(end, "\",\"pid\":", (uint64_t)origin->pid);
    return put_field(end, ",\"cores\":", event->cores);
}

static char *put_executor(char *end, const exl_event_t *event)
{
    end = put(end, event->persistent ? ",\"kind\":\"workers\"" : ",\"kind\":\"processes\"");
    end = put_field(end, ",\"cores\":", event->cores);
    end = put_field(end, ",\"workers\":", event->workers);
    return event->host ? put_field(end, ",\"host\":", event->host) : end;
}

static char *put_request(char *end, const exl_event_t *event, const char *text, const uint64_t *after)
{
    end = put_quoted(put(end, ",\"function\":\""), text, event->text_size);
    end = put_field(end, "\",\"cores\":", event->cores);
    end = put_field(end, ",\"ranks\":", event->ranks);
    end = put_field(end, ",\"gpus\":", event->gpus / 1000);
    if (event->gpus % 1000)
        end = put_fraction(end, event->gpus % 1000, 3);
    for (uint32_t i = 0; i < event->nafter; i++)
        end = put_number(put(end, i ? "," : ",\"after\":["), after[i]);
    if (event->nafter)
        *end++ = ']';
    return end;
}

static char *put_run(char *end, const exl_event_t *event)
{
    end = put_worker(end, event);
    if (event->began_ns) {
        end = put_seconds(put(end, ",\"began\":"), event->began_ns, 9);
        end = put_seconds(put(end, ",\"ended\":"), event->ended_ns, 9);
    }
    end = put_field(end, ",\"sent\":", event->sent);
    return put_field(end, ",\"received\":", event->received);
}

static char *put_reason(char *end, const exl_event_t *event, const char *text)
{
    if (!event->text_size)
        return end;
    end = put_quoted(put(end, ",\"reason\":\""), text, event->text_size);
    *end++ = '"';
    return end;
}

static char *put_call(char *end, const exl_event_t *event, const char *text, const uint64_t *after)
{
    end = put_field(end, ",\"call\":", event->call);
    switch (event->kind) {
    case EXL_EVENT_SUBMITTED:
        return put_request(end, event, text, after);
    case EXL_EVENT_RETURNED:
        end = put(put_worker(end, event), event->lost ? ",\"lost\":true" : ",\"lost\":false");
        return put_field(end, ",\"restarts\":", event->count);
    case EXL_EVENT_READY:
        return end;
    default:
        return put_reason(event->ran ? put_run(end, event) : end, event, text);
    }
}

size_t exl_event_bound(const exl_event_t *event)
{
    return LINE_BOUND + (size_t)event->text_size * CHARACTER_BOUND + (size_t)event->nafter * (NUMBER_BOUND + 1);
}

size_t exl_event_write(const exl_event_t *event, const exl_origin_t *origin, const char *text, const uint64_t *after,
                       char *line)
{
    char *end = line;
    if (event->kind == EXL_EVENT_STARTED)
        return (size_t)(put_start(end, event, origin, event->t_ns) - line);
    if (event->starts)
        end = put_start(end, event, origin, event->began_ns ? event->began_ns : event->t_ns);
    end = put_head(end, exl_event_to_string(event->kind), event->t_ns, origin);
    if (event->kind == EXL_EVENT_TIMELINE)
        return (size_t)(put_tail(put_driver(end, event, origin)) - line);
    if (event->kind == EXL_EVENT_DROPPED)
        return (size_t)(put_tail(put_field(end, ",\"count\":", event->count)) - line);
    end = put_field(end, ",\"executor\":", event->executor);
    if (event->kind == EXL_EVENT_EXECUTOR)
        end = put_executor(end, event);
    else if (event->kind != EXL_EVENT_CLOSED)
        end = put_call(end, event, text, after);
    return (size_t)(put_tail(end) - line);
}
