/* buffer.c: executorlib._core.Buffer: a writable part of a payload's memory. NumPy arrays that were sent out of band
 * stand on one; the payload's mapping lives as long as they do. */
#include "buffer.h"

typedef struct {
    PyObject_HEAD exl_payload_t *payload; /* owned */
    void *bytes;
    Py_ssize_t size;
} BufferObject;

static void buffer_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    exl_payload_unref(((BufferObject *)self)->payload);
    type->tp_free(self);
    Py_DECREF(type);
}

static int buffer_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    BufferObject *buffer = (BufferObject *)self;
    return PyBuffer_FillInfo(view, self, buffer->bytes, buffer->size, 0, flags);
}

static PyType_Slot buffer_slots[] = {
    {Py_tp_dealloc, buffer_dealloc},
    {Py_tp_doc, "Bytes received from another process."},
    {Py_bf_getbuffer, buffer_getbuffer},
    {0, NULL},
};

PyType_Spec exl_buffer_spec = {
    .name = "executorlib._core.Buffer",
    .basicsize = sizeof(BufferObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = buffer_slots,
};

PyObject *exl_buffer_new(PyTypeObject *type, exl_payload_t *payload, exl_segment_t segment)
{
    BufferObject *buffer = PyObject_New(BufferObject, type);
    if (!buffer)
        return NULL;
    buffer->payload = exl_payload_ref(payload);
    buffer->bytes = (void *)segment.bytes;
    buffer->size = (Py_ssize_t)segment.size;
    return (PyObject *)buffer;
}
