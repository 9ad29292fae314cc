"""Presets without persistent workers."""

import functions
import pytest
from support import SOON

from executorlib import SingleNodeExecutor


def test_init_function_needs_persistent_workers():
    with pytest.raises(ValueError):
        SingleNodeExecutor(max_workers=1, init_function=dict)


def test_the_worker_id_is_zero():
    def worker_id(executorlib_worker_id):
        return executorlib_worker_id

    with SingleNodeExecutor(max_workers=2) as exe:
        assert [exe.submit(worker_id).result(timeout=SOON) for _ in range(3)] == [0, 0, 0]
        assert exe.submit(worker_id, 5).result(timeout=SOON) == 5


def test_restart_limit_needs_persistent_workers():
    with pytest.raises(ValueError):
        SingleNodeExecutor(max_workers=1, restart_limit=1)


def test_a_function_with_that_name_as_keyword_only():
    with SingleNodeExecutor(max_workers=1) as exe:
        assert exe.submit(lambda *, executorlib_worker_id: executorlib_worker_id).result(timeout=SOON) == 0
        assert exe.submit(functions.echo).result(timeout=SOON) == ((), {})
