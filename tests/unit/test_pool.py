"""Executors on a pool: what submit, map and shutdown ask of it."""

import concurrent.futures
import gc
import logging
import pickle
import queue
import sys

import pytest

from executorlib import BaseExecutor, SingleNodeExecutor, _lifetime
from executorlib.api import ResourceError

SOON = 5


@pytest.fixture(params=[False, True], ids=["per_call", "block"])
def block(request):
    return request.param


@pytest.fixture
def exe(pools, block):
    return SingleNodeExecutor(max_workers=2, block_allocation=block)


@pytest.fixture
def per_call(pools):
    return SingleNodeExecutor(max_cores=4)


def test_it_is_an_executor(exe):
    assert isinstance(exe, concurrent.futures.Executor)
    assert isinstance(exe, BaseExecutor)
    assert exe
    assert len(exe) == 0
    assert exe._max_workers == 2


def test_submit(exe, pools, block):
    future = exe.submit(pow, 2, exp=3)
    assert future is pools[0].futures[0]
    fn, args, kwargs, (cores, _, _, _, priority, *_), setup, options = pools[0].calls[0]
    assert (fn, args, kwargs, cores, priority, options) == (pow, (2,), {"exp": 3}, 1, 0, None)
    assert (setup is None) == block
    assert len(exe) == 1


def test_every_keyword_reaches_the_function(exe, pools):
    keywords = {"self": 1, "fn": 2, "args": 3, "kwargs": 4, "cores": 5, "wait": 6}
    exe.submit(dict, **keywords)
    assert pools[0].calls[0][2] == keywords


def test_calls_share_their_setup(per_call, pools):
    per_call.submit(abs, 1)
    per_call.submit(abs, 2, resource_dict={})
    assert pools[0].calls[0][4] is pools[0].calls[1][4]


def test_the_call_is_free_to_ask(per_call, pools, tmp_path):
    resources = {"threads_per_core": 3, "priority": 2, "error_log_file": tmp_path / "log", "cwd": tmp_path / "new"}
    before = dict(resources)
    per_call.submit(abs, 1, resource_dict=resources)
    _, _, _, (cores, _, _, _, priority, *_), setup, options = pools[0].calls[0]
    assert resources == before
    assert (cores, priority) == (3, 2)
    assert pickle.loads(options) == {"error_log_file": str(tmp_path / "log")}
    setup = pickle.loads(setup)
    assert (setup["threads"], setup["cwd"]) == (3, str(tmp_path / "new"))
    assert (tmp_path / "new").is_dir()


def test_the_request_of_the_call_wins(pools):
    exe = SingleNodeExecutor(max_cores=4, resource_dict={"threads_per_core": 2, "priority": 5})
    exe.submit(abs, 1)
    exe.submit(abs, 1, resource_dict={"threads_per_core": 1})
    assert [(call[3][0], call[3][4]) for call in pools[0].calls] == [(2, 5), (1, 5)]


@pytest.mark.parametrize("resources", [{"bad": 1}, {"cores": 0}, {"threads_per_core": 5}, {"cores": 5}, 3], ids=repr)
def test_a_wrong_request_loses_nothing(per_call, pools, resources):
    with pytest.raises(ResourceError):
        per_call.submit(abs, 1, resource_dict=resources)
    assert not pools[0].calls
    per_call.submit(abs, 1)
    assert len(pools[0].calls) == 1


def test_a_wide_call_is_left_to_the_default_limit(pools):
    SingleNodeExecutor().submit(abs, 1, resource_dict={"threads_per_core": 9})
    assert pools[0].calls[0][3][0] == 9


def test_a_block_allocation_takes_what_its_workers_have(pools):
    exe = SingleNodeExecutor(max_workers=1, block_allocation=True, resource_dict={"threads_per_core": 2})
    exe.submit(abs, 1, resource_dict={"threads_per_core": 2, "cores": 1, "priority": 4, "error_log_file": "log"})
    assert pools[0].calls[0][3][4] == 4
    assert pickle.loads(pools[0].calls[0][5]) == {"error_log_file": "log"}


@pytest.mark.parametrize("resources", [{"threads_per_core": 2}, {"cwd": "elsewhere"}], ids=repr)
def test_a_block_allocation_refuses_other_resources(pools, resources):
    exe = SingleNodeExecutor(max_workers=1, block_allocation=True)
    with pytest.raises(ValueError, match="block_allocation"):
        exe.submit(abs, 1, resource_dict=resources)
    assert not pools[0].calls


@pytest.mark.parametrize("use", ["submit", "map"])
def test_what_is_not_a_function(exe, pools, use):
    with pytest.raises(TypeError, match="callable"):
        getattr(exe, use)(3, [1])
    with pytest.raises(ValueError, match="resource_dict"):
        getattr(exe, use)(lambda resource_dict: 1, [1])
    assert not pools[0].calls
    assert not pools[0].mapped


def test_the_function_is_not_kept(exe):
    def function():
        pass

    exe.submit(len, [])
    before = sys.getrefcount(function)
    exe.submit(function)
    exe._pool.calls.clear()
    assert sys.getrefcount(function) == before


def test_map_hands_over_the_iterables(exe, pools):
    results = exe.map(pow, [1, 2], (3, 4, 5))
    function, iterables = pools[0].mapped[0][:2]
    assert (function, list(zip(*iterables, strict=False))) == (pow, [(1, 3), (2, 4)])
    for index, future in enumerate(pools[0].futures):
        future.set_result(index)
    assert list(results) == [0, 1]


def test_map_over_the_result_of_a_future(exe, pools):
    future = concurrent.futures.Future()
    future.set_result([1, 2])
    exe.map(abs, future)
    assert list(zip(*pools[0].mapped[0][1], strict=True)) == [(1,), (2,)]


def test_map_is_lazy_and_cancels_what_nobody_takes(exe, pools):
    results = exe.map(abs, [1, 2, 3])
    first, second, third = pools[0].futures
    first.set_result(1)
    assert next(results) == 1
    results.close()
    assert second.cancelled()
    assert third.cancelled()


def test_map_ends_in_time(exe, pools):
    results = exe.map(abs, [1, 2], timeout=0)
    with pytest.raises(concurrent.futures.TimeoutError):
        next(results)
    assert all(future.cancelled() for future in pools[0].futures)


def test_map_raises_in_its_place(exe, pools):
    results = exe.map(abs, [1, 2])
    pools[0].futures[0].set_result(1)
    pools[0].futures[1].set_exception(KeyError())
    assert next(results) == 1
    with pytest.raises(KeyError):
        next(results)


def test_map_in_chunks(exe, pools):
    results = exe.map(pow, range(5), range(5), chunksize=2)
    chunk, _, calls, *_ = pools[0].mapped[0]
    for call, future in zip(calls, pools[0].futures, strict=True):
        future.set_result(chunk(*call))
    assert list(results) == [1, 1, 4, 27, 256]


def test_map_in_chunks_cancels_what_nobody_takes(exe, pools):
    results = exe.map(abs, range(4), chunksize=2)
    pools[0].futures[0].set_result([0, 1])
    assert next(results) == 0
    results.close()
    assert pools[0].futures[1].cancelled()


@pytest.mark.parametrize("chunksize", [0, -1])
def test_impossible_chunks(exe, chunksize):
    with pytest.raises(ValueError, match="chunksize"):
        exe.map(abs, [1], chunksize=chunksize)


def test_map_goes_through_an_overridden_submit(pools, block):
    class Counting(SingleNodeExecutor):
        submitted = 0

        def submit(self, fn, /, *args, **kwargs):
            self.submitted += 1
            return super().submit(fn, *args, **kwargs)

    exe = Counting(max_workers=1, block_allocation=block)
    future = concurrent.futures.Future()
    future.set_result([1, 2, 3])
    exe.map(abs, future)
    assert exe.submitted == 3
    assert [call[1] for call in pools[0].calls] == [(1,), (2,), (3,)]


def test_a_mixin_before_the_executor(pools):
    class Directory(BaseExecutor):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.ready = True

        def submit(self, fn, /, *args, **kwargs):
            return super().submit(fn, *args, resource_dict={"priority": 9}, **kwargs)

    made = type("Made", (Directory, SingleNodeExecutor), {})
    exe = made(max_workers=3)
    assert exe.ready
    assert exe.max_workers == 3
    exe.submit(abs, 1)
    exe.map(abs, [1, 2])
    assert [call[3][4] for call in pools[0].calls] == [9, 9, 9]


def test_a_wrapped_executor(pools):
    inner = SingleNodeExecutor(max_workers=2, block_allocation=True)
    exe = BaseExecutor(executor=inner)
    exe.submit(dict, self=1, fn=2)
    assert pools[0].calls[0][2] == {"self": 1, "fn": 2}
    exe.map(abs, [1])
    assert len(pools[0].mapped) == 1
    exe.max_workers = 4
    assert (inner.max_workers, exe.max_workers, exe.info, len(exe)) == (4, 4, inner.info, 2)
    assert exe.future_queue.qsize() == 2
    with exe:
        pass
    assert pools[0].closed


def test_max_workers_can_be_set_for_a_block_allocation(pools):
    exe = SingleNodeExecutor(max_workers=2, block_allocation=True)
    exe.max_workers = 3
    assert pools[0].sizes == [3]
    assert (exe.max_workers, exe._max_workers) == (3, 3)
    for wrong in (0, "3", None):
        with pytest.raises(ResourceError):
            exe.max_workers = wrong
    exe.shutdown()
    exe.max_workers = 5
    assert pools[0].sizes == [3]


def test_max_workers_cannot_be_set_without(per_call):
    assert per_call.max_workers is None
    assert per_call._max_workers == 4
    with pytest.raises(NotImplementedError, match="block_allocation"):
        per_call.max_workers = 3


def test_shutdown(exe, pools):
    assert isinstance(exe.future_queue, queue.Queue)
    waiting = exe.submit(abs, 1)
    assert exe.future_queue.qsize() == 1
    exe.shutdown(wait=False, cancel_futures=True)
    assert waiting.cancelled()
    exe.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        exe.submit(abs, 1)
    assert (exe.info, exe.max_workers, exe.future_queue, len(exe), bool(exe)) == (None, None, None, 0, True)


def test_batched_needs_no_dependencies(pools, block):
    exe = SingleNodeExecutor(max_workers=1, block_allocation=block, disable_dependencies=True)
    batches = exe.batched([exe.submit(abs, i) for i in range(3)], n=2)
    for index, future in enumerate(pools[0].futures):
        future.set_result(index)
    assert [batch.result(SOON) for batch in batches] == [[0, 1], [2]]


def test_sizes_are_logged(pools, caplog):
    exe = SingleNodeExecutor(max_workers=1, log_obj_size=True)
    future = exe.submit(abs, 1)
    assert len(exe) == 1
    future.set_result(1)
    exe.map(abs, [1])
    exe.shutdown(cancel_futures=True)
    assert caplog.record_tuples == [
        ("executorlib", logging.WARNING, "Send dictionary of size: 120"),
        ("executorlib", logging.WARNING, "Received dictionary of size: 35"),
        ("executorlib", logging.WARNING, "Send dictionary of size: 120"),
    ]


def test_an_executor_does_not_travel(exe):
    with pytest.raises(TypeError, match="executor cannot be pickled"):
        pickle.dumps(exe)


def test_an_executor_nobody_holds_closes_its_pool_and_keeps_its_calls(exe, pools):
    future = SingleNodeExecutor(max_workers=1).submit(abs, 1)
    gc.collect()
    assert pools[1].closed
    assert not future.cancelled()
    assert not pools[0].closed


def test_the_interpreter_completes_open_pools_before_it_exits(exe, pools, monkeypatch):
    monkeypatch.setattr(_lifetime, "_pools", {exe._pool})
    _lifetime._complete()
    assert pools[0].closed
    assert not _lifetime._pools


def test_an_ended_pool_is_not_kept(exe):
    pool = exe._pool
    assert pool in _lifetime._pools
    exe.shutdown()
    assert pool not in _lifetime._pools


def test_a_pool_left_behind_is_kept_until_its_calls_are_done(exe, pools):
    exe.submit(abs, 1)
    exe.shutdown(wait=False)
    SingleNodeExecutor(max_workers=1)
    assert pools[0] in _lifetime._pools
    pools[0].futures[0].set_result(1)
    SingleNodeExecutor(max_workers=1)
    assert pools[0] not in _lifetime._pools
