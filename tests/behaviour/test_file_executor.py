"""TestClusterExecutor: calls as detached processes with an input and an output file."""

import concurrent.futures
import math
import os
import pickle
import shutil
import signal
import threading

import file_functions
import pytest
import support
from support import SOON, needs_mpi

from executorlib import (
    _store,
    get_future_from_cache,
    get_item_from_future,
    terminate_task_in_cache,
    terminate_tasks_in_cache,
)
from executorlib.api import ResourceError, TestClusterExecutor, WorkerLostError
from executorlib.task_scheduler.file.shared import FutureItem


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def make(cache):
    with support.ended_executors(TestClusterExecutor, cache_directory=cache) as make:
        yield make


@pytest.fixture
def exe(make):
    return make()


def names(cache):
    return sorted(os.listdir(cache)) if cache.exists() else []


def ledger_of(path):
    """The calls that were begun, as (value, pid)."""
    return [tuple(map(int, line.split()[:2])) for line in path.read_text().splitlines()] if path.exists() else []


# ---- calls and their files ----


def test_a_call_leaves_its_output_file_and_nothing_else(exe, cache):
    future = exe.submit(math.sqrt, 16, resource_dict={"cache_key": "root"})
    assert future.result(SOON) == 4.0
    exe.shutdown()
    assert names(cache) == ["root_o.h5"]
    fields = _store.read(str(cache / "root_o.h5"))
    assert {name: pickle.loads(fields[name]) for name in ("function", "input_args", "input_kwargs", "output")} == {
        "function": math.sqrt, "input_args": [16], "input_kwargs": {}, "output": 4.0,
    }  # fmt: skip
    assert pickle.loads(fields["runtime"]) > 0
    assert isinstance(pickle.loads(fields["queue_id"]), int)


def test_keys_are_those_of_the_reference(exe, cache):
    # Of executorlib 1.11.0 with the arguments below and cloudpickle 3; a change of either key loses users' caches.
    first = exe.submit(math.hypot, 3, 4)
    second = exe.submit(math.hypot, first, 12)
    assert second.result(SOON) == 13.0
    import cloudpickle

    from executorlib._cache_key import key_of

    assert first._path == str(cache / f"{key_of(math.hypot, [3, 4], {})}_o.h5")
    item = FutureItem(file_name=first._path)
    assert second._path == str(cache / f"{key_of(math.hypot, [item, 12], {})}_o.h5")
    assert pickle.loads(cloudpickle.dumps(item)).result() == 5.0


def test_what_a_job_is(exe, cache):
    told = exe.submit(file_functions.describe, resource_dict={"threads_per_core": 3}).result(SOON)
    assert told["cwd"] == str(cache)
    assert told["threads"] == "3"
    assert told["session"]


def test_cwd_is_made_and_log_files_are_relative_to_it(exe, tmp_path):
    resources = {"cwd": tmp_path / "new" / "place", "error_log_file": "errors.txt", "stdout_file": "out.txt"}
    assert exe.submit(os.getcwd, resource_dict=resources).result(SOON) == str(tmp_path / "new" / "place")
    with pytest.raises(ValueError, match="wrong"):
        exe.submit(file_functions.fail, "wrong", resource_dict=resources).result(SOON)
    text = (tmp_path / "new" / "place" / "errors.txt").read_text()
    assert "args: ['wrong']" in text
    assert "ValueError: wrong" in text
    assert (tmp_path / "new" / "place" / "out.txt").exists()


def test_output_goes_to_logs_beside_the_result(exe, cache):
    exe.submit(print, "heard", resource_dict={"cache_key": "said"}).result(SOON)
    exe.shutdown()
    assert (cache / "said" / "out.log").read_text() == "heard\n"
    assert names(cache / "said") == ["out.log"]


def test_errors_are_kept_and_have_the_jobs_traceback(make, cache):
    for _ in range(2):
        exe = make()
        with pytest.raises(ValueError, match="kept") as caught:
            exe.submit(file_functions.fail, "kept", resource_dict={"cache_key": "k"}).result(SOON)
        exe.shutdown()
        assert "in fail" in str(caught.value.__cause__)
        assert "_job.py" not in str(caught.value.__cause__)
    assert names(cache) == ["k_o.h5"]


def test_what_cannot_be_pickled_fails_alone(exe):
    bad = exe.submit(file_functions.add, threading.Lock(), 1)
    back = exe.submit(threading.Lock)
    good = exe.submit(abs, -1)
    with pytest.raises(TypeError, match="pickle"):
        bad.result(SOON)
    with pytest.raises(TypeError, match="pickle"):
        back.result(SOON)
    assert good.result(SOON) == 1


def test_functions_of_the_test_travel_by_value_too(exe):
    assert exe.submit(lambda x: x + 1, 1).result(SOON) == 2


def test_results_are_unpickled_when_asked_for(exe, cache):
    future = exe.submit(file_functions.make_array, 1 << 20)
    concurrent.futures.wait([future], SOON)
    exe.shutdown()
    shutil.rmtree(cache)
    assert len(future.result(0)) == 1 << 20
    assert future.result() is future.result()


# ---- one call, one job ----


def test_equal_calls_in_flight_are_one_job(exe, tmp_path):
    ledger = tmp_path / "ledger"
    futures = [exe.submit(file_functions.note, str(ledger), 3) for _ in range(5)]
    assert [future.result(SOON) for future in futures] == [9] * 5
    assert len(ledger_of(ledger)) == 1


def test_an_equal_call_right_after_the_result_leaves_the_limit_as_it_was(make):
    # The process of a call exits a moment after its result: then nothing may be forgotten about it.
    exe = make(max_cores=1)
    for i in range(5):
        assert exe.submit(abs, -i).result(SOON) == exe.submit(abs, -i).result(SOON) == i


def test_a_computed_call_is_not_computed_again(make, tmp_path):
    ledger = tmp_path / "ledger"
    for _ in range(2):
        assert make().submit(file_functions.note, str(ledger), 3).result(SOON) == 9
    assert len(ledger_of(ledger)) == 1


def test_two_executors_share_a_running_job(make, gate):
    first, second = make(), make()
    one = gate.submit(first, "x")
    pids = gate.arrival()
    two = gate.submit(second, "x")
    gate.open()
    assert one.result(SOON) == two.result(SOON)
    assert len(pids) >= 1


def damage(path):
    path.write_bytes(b"torn")


def leave_out_the_result(path):
    _store.write(str(path), {"function": b"a call without a result"})


@pytest.mark.parametrize("spoil", [damage, leave_out_the_result])
def test_a_damaged_result_is_computed_again(make, cache, caplog, spoil):
    assert make().submit(abs, -5, resource_dict={"cache_key": "k"}).result(SOON) == 5
    spoil(cache / "k_o.h5")
    assert make().submit(abs, -5, resource_dict={"cache_key": "k"}).result(SOON) == 5
    assert "k_o.h5" in caplog.text


def test_cache_directory_per_call(exe, tmp_path):
    exe.submit(abs, -1, resource_dict={"cache_directory": tmp_path / "other", "cache_key": "a/b"}).result(SOON)
    exe.shutdown()
    assert names(tmp_path / "other" / "a") == ["b_o.h5"]


# ---- dependencies ----


def test_futures_as_arguments_anywhere(exe):
    one = exe.submit(file_functions.add, 1, 0)
    three = exe.submit(file_functions.add, one, right=2)
    six = exe.submit(file_functions.total, [one, {"x": three}["x"], 2])
    assert six.result(SOON) == 6
    pair = exe.submit(dict, energy=2.5)
    assert exe.submit(file_functions.add, get_item_from_future(pair, "energy"), 1).result(SOON) == 3.5


def test_futures_of_other_executors_are_waited_for(exe):
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        opened = threading.Event()
        other = threads.submit(lambda: opened.wait(SOON) and 4)
        future = exe.submit(file_functions.total, [other, 1])
        assert not future.done()
        opened.set()
        assert future.result(SOON) == 5


def test_what_fails_takes_its_dependents_along(exe, cache):
    dependent = exe.submit(file_functions.add, exe.submit(file_functions.fail, "first"), 1)
    with pytest.raises(ValueError, match="first"):
        dependent.result(SOON)
    exe.shutdown()
    assert len(names(cache)) == 1


def test_disable_dependencies(make):
    exe = make(disable_dependencies=True)
    future = exe.submit(abs, -1)
    with pytest.raises(ValueError, match="disable_dependencies"):
        exe.submit(file_functions.total, [future])
    assert future.result(SOON) == 1


# ---- limits ----


def test_no_more_run_than_the_limit(make, make_gate):
    exe = make(max_cores=2)
    gate = make_gate()
    futures = [gate.submit(exe, i) for i in range(4)]
    gate.arrivals(2)
    with pytest.raises(TimeoutError):
        gate.arrival(timeout=0.3)
    gate.open()
    assert len(concurrent.futures.wait(futures, SOON).done) == 4


def test_a_call_wider_than_the_limit_runs(make):
    assert make(max_cores=1).submit(abs, -1, resource_dict={"threads_per_core": 8}).result(SOON) == 1


@needs_mpi
def test_mpi_ranks(exe):
    future = exe.submit(file_functions.rank_and_size, resource_dict={"cores": 2, "openmpi_oversubscribe": True})
    assert future.result(2 * SOON) == [(0, 2), (1, 2)]


def test_run_time_max(exe, cache):
    from executorlib.api import RunTimeExceededError

    future = exe.submit(_forever, resource_dict={"run_time_max": 0.2})
    with pytest.raises(RunTimeExceededError):
        future.result(SOON)
    exe.shutdown()
    assert not any(name.endswith(".h5") for name in names(cache))


def _forever():
    threading.Event().wait()


# ---- ends ----


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_job_that_dies_is_an_error_at_once(exe, number):
    with pytest.raises(WorkerLostError, match=number.name) as caught:
        exe.submit(file_functions.end_by_signal, int(number)).result(SOON)
    assert caught.value.signal == number
    assert "cause of death" in caught.value.stderr
    assert exe.submit(abs, -1).result(SOON) == 1


def test_a_job_that_leaves_without_a_result_is_an_error(exe, cache):
    with pytest.raises(WorkerLostError, match="status 7"):
        exe.submit(file_functions.leave, 7).result(SOON)
    exe.shutdown()
    assert names(cache) == []


def test_cancel_ends_a_running_call(exe, gate, cache):
    future = gate.submit(exe)
    (pid,) = gate.arrival()
    assert future.running()
    assert future.cancel()
    assert future.cancelled()
    assert support.alive_after([pid], SOON) == []
    exe.shutdown()
    assert names(cache) == []


def test_cancel_leaves_a_call_that_another_future_wants(exe, gate):
    first, second = gate.submit(exe, 1), gate.submit(exe, 1)
    gate.arrival()
    assert first.cancel()
    gate.open()
    second.result(SOON)


def test_dependents_of_a_cancelled_call_are_cancelled(exe, gate):
    future = gate.submit(exe, 1)
    dependent = exe.submit(file_functions.add, future, 1)
    gate.arrival()
    future.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        dependent.result(SOON)
    assert exe.submit(abs, -1).result(SOON) == 1


@pytest.mark.parametrize("wait", [True, False])
def test_shutdown_with_cancel_ends_what_runs(make, gate, wait):
    exe = make(max_cores=1)
    running, waiting = gate.submit(exe, 1), gate.submit(exe, 2)
    (pid,) = gate.arrival()
    exe.shutdown(wait=wait, cancel_futures=True)
    assert running.cancelled()
    assert waiting.cancelled()
    assert support.alive_after([pid], SOON) == []


@pytest.mark.orphans
@pytest.mark.parametrize("arguments", [{"wait": False}, {}], ids=["executor", "shutdown"])
def test_calls_go_on_without_the_executor(make, gate, arguments):
    exe = make(max_cores=1, **arguments)
    running = gate.submit(exe, 1)
    dependent = exe.submit(file_functions.total, [exe.submit(file_functions.add, 1, 2), running])
    gate.arrival()
    exe.shutdown(wait=bool(arguments))
    assert running.cancelled()
    assert dependent.cancelled()
    path = dependent._path
    gate.open()
    watch = _watch(path)
    assert watch
    assert FutureItem(path).done()


def _watch(path):
    from executorlib import _core

    watch = _core.Watch()
    watch.add_file(1, path)
    return os.path.exists(path) or watch.next(int(SOON * 1000))


@pytest.mark.orphans
def test_a_script_that_ends_completes_its_calls(tmp_path):
    done = support.run_script(
        tmp_path,
        """
        import file_functions
        from executorlib.api import TestClusterExecutor
        exe = TestClusterExecutor(cache_directory="c")
        exe.submit(file_functions.add, exe.submit(file_functions.add, 1, 2), 3, resource_dict={"cache_key": "k"})
        """,
    )
    assert done.returncode == 0, done.stderr
    assert FutureItem(str(tmp_path / "c" / "k_o.h5")).result() == 6


def test_terminate_task_in_cache(exe, gate, cache):
    future = gate.submit(exe, 1, resource_dict={"cache_key": "k"})
    (pid,) = gate.arrival()
    terminate_task_in_cache(cache, "k")
    with pytest.raises(WorkerLostError, match="SIGTERM"):
        future.result(SOON)
    assert support.alive_after([pid], SOON) == []
    with pytest.raises(FileNotFoundError):
        terminate_task_in_cache(cache, "k")


def test_terminate_tasks_in_cache(make, gate, cache):
    exe = make(max_cores=1)
    exe.submit(abs, -1, resource_dict={"cache_key": "stays"}).result(SOON)
    futures = [gate.submit(exe, i) for i in range(3)]
    gate.arrival()
    terminate_tasks_in_cache(cache)
    assert len(concurrent.futures.wait(futures, SOON).done) == 3
    assert all(future.exception() is not None for future in futures)
    exe.shutdown()
    assert [name for name in names(cache) if name.endswith(".h5")] == ["stays_o.h5"]


def test_get_future_from_cache_of_a_running_call(exe, gate, cache):
    future = gate.submit(exe, "value", resource_dict={"cache_key": "k"})
    gate.arrival()
    other = get_future_from_cache(cache, "k")
    assert not other.done()
    gate.open()
    assert other.result(SOON) == future.result(SOON) == "value"
    assert get_future_from_cache(cache, "k").result(0) == "value"


def test_get_future_from_cache_of_a_call_whose_job_died(make, gate, cache):
    exe = make(wait=False)
    gate.submit(exe, resource_dict={"cache_key": "k"})
    (pid,) = gate.arrival()
    exe.shutdown()
    support.kill_quietly([pid])
    with pytest.raises(WorkerLostError):
        get_future_from_cache(cache, "k").result(SOON)


# ---- arguments of the executor ----


@pytest.mark.parametrize(
    "arguments",
    [{"block_allocation": True}, {"init_function": dict}, {"hostname_localhost": True}, {"max_workers": 0}],
)
def test_refused_arguments(arguments):
    with pytest.raises(ValueError):
        TestClusterExecutor(**arguments)


def test_unknown_resources_are_warned_of(make):
    with pytest.warns(UserWarning, match="partition"):
        exe = make(resource_dict={"partition": "s.cmfe"})
    with pytest.warns(UserWarning, match="memory_max"):
        assert exe.submit(abs, -1, resource_dict={"memory_max": 4}).result(SOON) == 1
    with pytest.raises(ResourceError):
        exe.submit(abs, -1, resource_dict={"cores": "many"})


def test_info_and_length(exe, gate):
    assert exe.info["cores"] == 1
    assert exe.info["cache_directory"].endswith("cache")
    gate.submit(exe)
    assert len(exe) == 1
    assert bool(exe)
    gate.open()
    exe.shutdown()
    assert exe.info is None
    with pytest.raises(RuntimeError):
        exe.submit(abs, -1)
    with pytest.raises(NotImplementedError):
        exe.max_workers = 3


def test_map_and_wait(exe):
    assert list(exe.map(abs, [-1, -2, -3])) == [1, 2, 3]
    futures = [exe.submit(abs, -i) for i in range(4)]
    assert {future.result() for future in concurrent.futures.as_completed(futures, SOON)} == {0, 1, 2, 3}
