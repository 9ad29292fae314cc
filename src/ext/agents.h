/* agents.h: the agents of a pool: methods and attributes of executorlib._core.Pool, which pool.c documents. */
#ifndef EXL_EXT_AGENTS_H
#define EXL_EXT_AGENTS_H

#include "state.h"

struct exl_fleet_config;

/* (address, name, key, agents, depth, grace_ms, renewed); what is borrowed is the tuple's. 1: a fleet; 0: None or NULL; -1 and an
 * exception. */
int exl_agents_parse(PyObject *tuple, struct exl_fleet_config *ret_fleet);

PyObject *exl_agents_launch(PyObject *pool, PyObject *args);
PyObject *exl_agents_resize(PyObject *pool, PyObject *list);
PyObject *exl_agents_expect(PyObject *pool, PyObject *args);
PyObject *exl_agents_dismiss(PyObject *pool, PyObject *args);
PyObject *exl_agents_bury(PyObject *pool, PyObject *args);
PyObject *exl_agents_fail_waiting(PyObject *pool, PyObject *exception);
PyObject *exl_agents_watch(PyObject *pool, PyObject *args);
PyObject *exl_agents_port(PyObject *pool, void *closure);
PyObject *exl_agents_count(PyObject *pool, void *closure);

#endif
