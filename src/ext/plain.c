/* plain.c: the opcodes are those of CPython's Lib/pickletools.py. Nothing that can be changed, or whose identity can be told
 * from its value's, is plain: only for those does it matter whether two of them are one. */
#include "plain.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef struct writer {
    unsigned char *room;
    size_t size, capacity;
} writer_t;

enum { MAX_DEPTH = 4, MAX_SHORT = 255, PROTOCOL = 5 };

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
    return false;
}

size_t exl_plain_pickle(PyObject *object, unsigned char *room, size_t capacity)
{
    writer_t writer = {.room = room, .capacity = capacity};
    static const unsigned char header[] = {'\x80', PROTOCOL}; /* PROTO */
    bool plain =
        put(&writer, header, sizeof header) && put_object(&writer, object, 0) && put_byte(&writer, '.'); /* STOP */
    return plain ? writer.size : 0;
}
