/* plain.c: the opcodes are those of CPython's Lib/pickletools.py. Nothing that can be changed, or whose identity can be told
 * from its value's, is plain: only for those does it matter whether two of them are one. */
#include "plain.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef struct writer {
    unsigned char *room;
    size_t size, capacity;
    exl_plain_depend_cb depend;
    void *data;
} writer_t;

enum { MAX_DEPTH = 4, MAX_SHORT = 255, PROTOCOL = 5 };

static const unsigned char header[] = {'\x80', PROTOCOL}; /* PROTO */

/* SHORT_BINUNICODE twice, STACK_GLOBAL, BININT1; the number follows, then TUPLE1 and REDUCE. */
static const unsigned char placeholder[] = "\x8c\x11_executorlib_core\x8c\x0b_dependency\x93K";
static const unsigned char call[] = {'\x85', 'R'};
enum { PLACEHOLDER = sizeof placeholder - 1 };

static bool put(writer_t *writer, const void *bytes, size_t size)
{
    if (size > writer->capacity - writer->size)
        return false;
    memcpy(writer->room + writer->size, bytes, size);
    writer->size += size;
    return true;
}

static bool put_byte(writer_t *writer, unsigned char byte)
{
    return put(writer, &byte, 1);
}

static bool put_integer(writer_t *writer, PyObject *object)
{
    unsigned char bytes[2 + sizeof(int64_t)] = {'\x8a', sizeof(int64_t)}; /* LONG1 */
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow)
        return false;
    bool small = value >= INT32_MIN && value <= INT32_MAX;
    if (small)
        bytes[1] = 'J'; /* BININT */
    for (size_t i = 0; i < sizeof(int64_t); i++)
        bytes[2 + i] = (unsigned char)((uint64_t)value >> 8 * i);
    return small ? put(writer, bytes + 1, 1 + sizeof(int32_t)) : put(writer, bytes, sizeof bytes);
}

static bool put_float(writer_t *writer, PyObject *object)
{
    unsigned char bytes[1 + sizeof(double)] = {'G'}; /* BINFLOAT, big-endian */
    double value = PyFloat_AS_DOUBLE(object);
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    for (size_t i = 0; i < sizeof bits; i++)
        bytes[1 + i] = (unsigned char)(bits >> 8 * (sizeof bits - 1 - i));
    return put(writer, bytes, sizeof bytes);
}

static bool put_short(writer_t *writer, unsigned char opcode, const void *bytes, Py_ssize_t size)
{
    return size <= MAX_SHORT && put_byte(writer, opcode) && put_byte(writer, (unsigned char)size) &&
           put(writer, bytes, (size_t)size);
}

static bool put_object(writer_t *writer, PyObject *object, int depth);

static bool put_tuple(writer_t *writer, PyObject *object, int depth)
{
    static const unsigned char by_size[] = {')', '\x85', '\x86', '\x87'}; /* EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3 */
    Py_ssize_t size = PyTuple_GET_SIZE(object);
    bool marked = size >= (Py_ssize_t)sizeof by_size;
    if (depth == MAX_DEPTH || (marked && !put_byte(writer, '('))) /* MARK */
        return false;
    for (Py_ssize_t i = 0; i < size; i++)
        if (!put_object(writer, PyTuple_GET_ITEM(object, i), depth + 1))
            return false;
    return put_byte(writer, marked ? 't' : by_size[size]); /* TUPLE */
}

static bool put_dependency(writer_t *writer, PyObject *object)
{
    Py_ssize_t index = writer->depend(writer->data, object);
    return index >= 0 && index <= UINT8_MAX && put(writer, placeholder, PLACEHOLDER) &&
           put_byte(writer, (unsigned char)index) && put(writer, call, sizeof call);
}

static bool put_object(writer_t *writer, PyObject *object, int depth)
{
    if (PyLong_CheckExact(object))
        return put_integer(writer, object);
    if (PyFloat_CheckExact(object))
        return put_float(writer, object);
    if (PyTuple_CheckExact(object))
        return put_tuple(writer, object, depth);
    if (object == Py_None)
        return put_byte(writer, 'N');
    if (PyBool_Check(object))
        return put_byte(writer, object == Py_True ? '\x88' : '\x89'); /* NEWTRUE, NEWFALSE */
    if (PyUnicode_CheckExact(object) && PyUnicode_IS_COMPACT_ASCII(object))
        return put_short(writer, '\x8c', PyUnicode_DATA(object), PyUnicode_GET_LENGTH(object)); /* SHORT_BINUNICODE */
    if (PyBytes_CheckExact(object))
        return put_short(writer, 'C', PyBytes_AS_STRING(object), PyBytes_GET_SIZE(object)); /* SHORT_BINBYTES */
    return put_dependency(writer, object);
}

size_t exl_plain_pickle(PyObject *object, exl_plain_depend_cb depend, void *data, unsigned char *room, size_t capacity)
{
    writer_t writer = {.room = room, .capacity = capacity, .depend = depend, .data = data};
    bool plain =
        put(&writer, header, sizeof header) && put_object(&writer, object, 0) && put_byte(&writer, '.'); /* STOP */
    return plain ? writer.size : 0;
}

/* ---- and back ---- */

enum { MAX_STACK = 64 };

typedef struct reader {
    const unsigned char *at, *end;
    PyObject *(*dependency)(size_t index);
    PyObject *stack[MAX_STACK]; /* owned */
    size_t height;
    size_t marks[MAX_DEPTH]; /* heights */
    size_t nmarks;
} reader_t;

/* The next bytes, or NULL. */
static const unsigned char *take(reader_t *reader, size_t size)
{
    const unsigned char *bytes = reader->at;
    if (size > (size_t)(reader->end - bytes))
        return NULL;
    reader->at += size;
    return bytes;
}

/* Takes the reference. */
static bool push(reader_t *reader, PyObject *object)
{
    if (!object || reader->height == MAX_STACK) {
        Py_XDECREF(object);
        return false;
    }
    reader->stack[reader->height++] = object;
    return true;
}

static uint64_t little_endian(const unsigned char *bytes, size_t size)
{
    uint64_t value = 0;
    while (size--)
        value = value << 8 | bytes[size];
    return value;
}

static PyObject *read_integer(reader_t *reader, unsigned char opcode)
{
    const unsigned char *bytes;
    if (opcode == 'J')
        return (bytes = take(reader, sizeof(int32_t))) ? PyLong_FromLong((int32_t)little_endian(bytes, 4)) : NULL;
    bytes = take(reader, 1 + sizeof(int64_t));
    return bytes && bytes[0] == sizeof(int64_t) ? PyLong_FromLongLong((int64_t)little_endian(bytes + 1, 8)) : NULL;
}

static PyObject *read_float(reader_t *reader)
{
    const unsigned char *bytes = take(reader, sizeof(double));
    uint64_t bits = 0;
    double value;
    for (size_t i = 0; bytes && i < sizeof bits; i++)
        bits = bits << 8 | bytes[i];
    memcpy(&value, &bits, sizeof value);
    return bytes ? PyFloat_FromDouble(value) : NULL;
}

static PyObject *read_short(reader_t *reader, unsigned char opcode)
{
    const unsigned char *size = take(reader, 1);
    const char *bytes = size ? (const char *)take(reader, *size) : NULL;
    if (!bytes)
        return NULL;
    return opcode == 'C' ? PyBytes_FromStringAndSize(bytes, *size) : PyUnicode_DecodeASCII(bytes, *size, NULL);
}

static bool push_tuple(reader_t *reader, size_t size)
{
    if (size > reader->height)
        return false;
    PyObject *tuple = PyTuple_New((Py_ssize_t)size);
    if (!tuple)
        return false;
    reader->height -= size;
    for (size_t i = 0; i < size; i++)
        PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, reader->stack[reader->height + i]);
    return push(reader, tuple);
}

static bool push_marked(reader_t *reader)
{
    if (reader->nmarks == 0 || reader->marks[reader->nmarks - 1] > reader->height)
        return false;
    return push_tuple(reader, reader->height - reader->marks[--reader->nmarks]);
}

static bool mark(reader_t *reader)
{
    if (reader->nmarks == MAX_DEPTH)
        return false;
    reader->marks[reader->nmarks++] = reader->height;
    return true;
}

/* A short text, or what begins as one. */
static bool push_text(reader_t *reader)
{
    const unsigned char *begin = reader->at - 1;
    const size_t size = PLACEHOLDER + 1 + sizeof call;
    if ((size_t)(reader->end - begin) < size || memcmp(begin, placeholder, PLACEHOLDER) != 0 ||
        memcmp(begin + PLACEHOLDER + 1, call, sizeof call) != 0)
        return push(reader, read_short(reader, *begin));
    reader->at = begin + size;
    return push(reader, reader->dependency(begin[PLACEHOLDER]));
}

static bool read_one(reader_t *reader, unsigned char opcode)
{
    switch (opcode) {
    case 'J':
    case 0x8a: /* LONG1 */
        return push(reader, read_integer(reader, opcode));
    case 'G':
        return push(reader, read_float(reader));
    case 'C':
        return push(reader, read_short(reader, opcode));
    case 0x8c:
        return push_text(reader);
    case 'N':
        return push(reader, Py_NewRef(Py_None));
    case 0x88:
        return push(reader, Py_NewRef(Py_True));
    case 0x89:
        return push(reader, Py_NewRef(Py_False));
    case ')':
        return push_tuple(reader, 0);
    case 0x85:
    case 0x86:
    case 0x87:
        return push_tuple(reader, (size_t)(opcode - 0x84));
    case '(':
        return mark(reader);
    case 't':
        return push_marked(reader);
    default:
        return false;
    }
}

PyObject *exl_plain_unpickle(const unsigned char *pickle, size_t size, PyObject *(*dependency)(size_t index))
{
    reader_t reader = {.at = pickle, .end = pickle + size, .dependency = dependency};
    const unsigned char *bytes = take(&reader, sizeof header);
    bool plain = bytes && memcmp(bytes, header, sizeof header) == 0;
    while (plain && (bytes = take(&reader, 1)) && *bytes != '.')
        plain = read_one(&reader, *bytes);
    if (plain && bytes && reader.height == 1 && reader.nmarks == 0 && reader.at == reader.end)
        return reader.stack[0];
    while (reader.height)
        Py_DECREF(reader.stack[--reader.height]);
    return NULL;
}
