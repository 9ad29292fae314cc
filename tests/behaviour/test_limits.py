"""Limits of a call: its time, its end from outside, and whether anything may run beside it."""

import asyncio
import concurrent.futures
import os
import signal
import threading
import time

import functions
import pytest
from support import AT_ONCE, SOON, TIME_FACTOR

from executorlib import SingleNodeExecutor, split_future
from executorlib.api import CallTerminatedError, ResourceError, RunTimeExceededError

SHORT = {"run_time_max": 0.2}
LONG = {"run_time_max": 600}
# Enough for a process to start and to say so, also on a busy machine.
ROOMY = {"run_time_max": 2.0 * TIME_FACTOR}


@pytest.fixture(params=[False, True], ids=["per_call", "block"])
def single(request):
    """One call at a time."""
    with SingleNodeExecutor(max_workers=1, block_allocation=request.param) as exe:
        yield exe


# ---- time ----


def check_too_long(error, seconds):
    assert isinstance(error, TimeoutError) and isinstance(error, RunTimeExceededError)
    assert error.seconds == seconds and f"run_time_max={seconds:g} s" in str(error)
    assert error.pid and str(error.pid) in str(error)


def test_the_limit_of_an_executor(make):
    exe = make(resource_dict=SHORT)
    started = time.monotonic()
    check_too_long(exe.submit(signal.pause).exception(timeout=SOON), 0.2)
    assert time.monotonic() - started > 0.2
    assert exe.submit(functions.add, 1, 2, resource_dict=LONG).result(timeout=SOON) == 3


def test_the_limit_of_a_call(exe):
    check_too_long(exe.submit(signal.pause, resource_dict={"run_time_max": 0.1}).exception(timeout=SOON), 0.1)
    check_too_long(exe.submit(time.sleep, 600, resource_dict={"run_time_max": 1}).exception(timeout=SOON), 1)
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_a_call_may_have_more_time_than_its_executor_says(make, gate):
    exe = make(resource_dict={"run_time_max": 0.1})
    future = gate.submit(exe, "value", resource_dict=LONG)
    gate.arrival()
    check_too_long(make().submit(signal.pause, resource_dict=SHORT).exception(timeout=SOON), 0.2)
    gate.open()
    assert future.result(timeout=SOON) == "value"


def test_calls_within_the_limit(make):
    exe = make(resource_dict=LONG)
    assert [f.result(timeout=SOON) for f in [exe.submit(functions.identity, n) for n in range(50)]] == list(range(50))
    assert list(exe.map(functions.identity, range(50))) == list(range(50))
    assert isinstance(exe.submit(functions.divide, 1, 0).exception(timeout=SOON), ZeroDivisionError)


def test_waiting_for_a_worker_does_not_count(make, gate):
    exe = make(max_workers=1)
    held = gate.submit(exe)
    gate.arrival()
    waiting = [exe.submit(functions.identity, n, resource_dict=ROOMY) for n in range(5)]
    longer = 1.2 * ROOMY["run_time_max"]
    check_too_long(make().submit(signal.pause, resource_dict={"run_time_max": longer}).exception(timeout=SOON), longer)
    gate.open()
    assert [future.result(timeout=SOON) for future in waiting] == list(range(5))
    assert held.result(timeout=SOON) is None


def test_an_answer_after_the_limit_counts_for_nothing(exe):
    future = exe.submit(functions.answer_when_terminated, "late", resource_dict=SHORT)
    check_too_long(future.exception(timeout=SOON), 0.2)
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_calls_beside_one_that_runs_too_long(make, mode):
    exe = make()
    futures = [exe.submit(functions.identity, n) for n in range(20)]
    limited = [exe.submit(signal.pause, resource_dict=SHORT) for _ in range(2)]
    futures += [exe.submit(functions.identity, n) for n in range(20, 40)]
    for future in limited:
        check_too_long(future.exception(timeout=SOON), 0.2)
    assert [future.result(timeout=SOON) for future in futures] == list(range(40))


def test_what_depends_on_a_call_that_runs_too_long(exe):
    future = exe.submit(signal.pause, resource_dict=SHORT)
    dependent = exe.submit(functions.identity, [exe.submit(functions.identity, future)])
    check_too_long(dependent.exception(timeout=SOON), 0.2)


def test_a_map_with_a_limit(make):
    exe = make(resource_dict=SHORT)
    results = exe.map(functions.answer_when_terminated, range(3))
    with pytest.raises(TimeoutError, match="run_time_max"):
        list(results)


@pytest.mark.parametrize("end", ["limit", "terminate"])
def test_an_ended_call_is_not_restarted(tmp_path, make_gate, end):
    gate, log = make_gate(), str(tmp_path / "log")

    def call(folder, log):
        functions.append_line(log, "started")
        functions.announce(folder, os.getpid())
        signal.pause()

    with SingleNodeExecutor(max_workers=1, block_allocation=True, restart_limit=3) as exe:
        future = exe.submit(call, gate.folder, log, resource_dict=ROOMY if end == "limit" else None)
        gate.arrival()
        assert end == "limit" or future.terminate()
        assert isinstance(future.exception(timeout=SOON), (RunTimeExceededError, CallTerminatedError))
        assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3
    assert open(log).read() == "started\n"


@pytest.mark.parametrize("key", ["run_time_max", "terminate_grace"])
@pytest.mark.parametrize("value", [-1, "1", float("nan"), float("inf"), 1e12, [1]], ids=repr)
def test_times_that_make_no_sense(exe, key, value):
    with pytest.raises(ResourceError, match=key):
        exe.submit(functions.add, 1, 2, resource_dict={key: value})
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


# ---- terminate() ----


def test_terminating_a_call_that_runs(exe, gate):
    future = gate.submit(exe)
    pid = gate.arrival()[0]
    assert future.cancel() is False
    assert future.terminate() is True
    error = future.exception(timeout=SOON)
    assert isinstance(error, CallTerminatedError) and error.pid == pid and str(pid) in str(error)
    assert (future.done(), future.running(), future.cancelled()) == (True, False, False)
    assert future.terminate() is True
    assert exe.submit(functions.worker_pid).result(timeout=SOON) != pid


@pytest.mark.timing
def test_terminating_takes_no_grace_time_that_nobody_needs(exe, gate):
    future = gate.submit(exe, resource_dict={"terminate_grace": 60})
    gate.arrival()
    started = time.monotonic()
    assert future.terminate()
    assert isinstance(future.exception(timeout=SOON), CallTerminatedError)
    assert time.monotonic() - started < AT_ONCE


def test_terminating_a_call_that_has_not_begun(single, gate):
    held = gate.submit(single)
    gate.arrival()
    waiting = single.submit(functions.identity, 1)
    dependent = single.submit(functions.identity, held)
    assert waiting.terminate() and dependent.terminate()
    assert waiting.cancelled() and dependent.cancelled()
    gate.open()
    assert held.result(timeout=SOON) is None


def test_terminating_a_call_that_has_ended(exe):
    good, bad = exe.submit(functions.add, 1, 2), exe.submit(functions.divide, 1, 0)
    assert good.result(timeout=SOON) == 3
    assert isinstance(bad.exception(timeout=SOON), ZeroDivisionError)
    assert (good.terminate(), bad.terminate()) == (False, False)
    assert good.result() == 3


def test_terminating_a_call_whose_time_is_up(exe, gate):
    """The limit came first, and is what the future tells."""
    future = exe.submit(functions.leave_child_that_tidies_up, gate.folder, os.devnull,
                        resource_dict={**ROOMY, "terminate_grace": 60})  # fmt: skip
    _, child = gate.arrival()
    assert gate.arrival() == [child]
    assert future.terminate() is False
    gate.open()
    check_too_long(future.exception(timeout=SOON), ROOMY["run_time_max"])


def test_terminating_a_future_without_a_call():
    from executorlib import _core

    future = _core.Future()
    assert future.terminate() and future.cancelled()


def test_calls_sent_ahead_of_a_terminated_one(single, gate):
    held = gate.submit(single)
    pid = gate.arrival()[0]
    waiting = [single.submit(functions.worker_pid) for _ in range(20)]
    assert held.terminate()
    assert pid not in [future.result(timeout=SOON) for future in waiting]


def test_what_depends_on_a_terminated_call(exe, gate):
    future = gate.submit(exe)
    dependents = [exe.submit(functions.identity, future)]
    dependents.append(exe.submit(functions.identity, {"inner": dependents[0]}))
    pid = gate.arrival()[0]
    assert future.terminate()
    for dependent in dependents:
        error = dependent.exception(timeout=SOON)
        assert isinstance(error, CallTerminatedError) and error.pid == pid


def test_terminating_all_calls_at_once(make, mode, make_gate):
    exe, gate = make(), make_gate()
    futures = [gate.submit(exe) for _ in range(mode.workers)]
    gate.arrivals(mode.workers)
    assert all(future.terminate() for future in futures)
    assert all(isinstance(future.exception(timeout=SOON), CallTerminatedError) for future in futures)
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_terminating_right_after_submitting(exe):
    """Wherever the call is, its future ends, and so does the next call's."""
    for _ in range(30):
        future = exe.submit(signal.pause)
        assert future.terminate()
        assert future.cancelled() or isinstance(future.exception(timeout=SOON), CallTerminatedError)
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_terminating_while_arguments_are_copied(exe):
    for _ in range(5):
        future = exe.submit(len, bytearray(20_000_000))
        ended = future.terminate()
        assert ended or future.result(timeout=SOON) == 20_000_000
        assert not ended or future.cancelled() or isinstance(future.exception(timeout=SOON), CallTerminatedError)
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_terminating_while_another_thread_waits(exe, gate):
    future = gate.submit(exe)
    gate.arrival()
    errors = []
    waiter = threading.Thread(target=lambda: errors.append(future.exception(timeout=SOON)))
    waiter.start()
    assert future.terminate()
    waiter.join(SOON)
    assert isinstance(errors[0], CallTerminatedError)


def test_terminating_an_observed_call(exe, gate):
    future = gate.submit(exe)
    called = threading.Event()
    errors = []
    future.add_done_callback(lambda done: (errors.append(done.exception()), called.set()))
    gate.arrival()
    assert future.terminate()
    assert concurrent.futures.wait([future], timeout=SOON).done == {future}
    assert list(concurrent.futures.as_completed([future], timeout=SOON)) == [future]
    assert called.wait(SOON)
    assert isinstance(errors[0], CallTerminatedError)


def test_terminating_an_observed_call_that_has_not_begun(single, gate):
    gate.submit(single)
    gate.arrival()
    future = single.submit(functions.identity, 1)
    called = []
    future.add_done_callback(lambda done: called.append(done.cancelled()))
    assert future.terminate()
    assert called == [True]
    gate.open()


def test_terminating_what_asyncio_waits_for(exe, gate):
    async def main():
        future = gate.submit(exe)
        waiter = asyncio.wrap_future(future)
        gate.arrival()
        assert future.terminate()
        with pytest.raises(CallTerminatedError):
            await asyncio.wait_for(waiter, SOON)

    asyncio.run(main())


def test_terminating_through_a_selector(exe, gate):
    first, second = split_future(gate.submit(exe, (1, 2)), 2)
    gate.arrival()
    assert first.terminate()
    assert isinstance(second.exception(timeout=SOON), CallTerminatedError)


def test_terminating_after_shutdown(make, gate):
    exe = make()
    future = gate.submit(exe)
    gate.arrival()
    exe.shutdown(wait=False)
    assert future.terminate()
    exe.shutdown(wait=True)
    assert isinstance(future.exception(timeout=0), CallTerminatedError)


# ---- alone ----


def spans(log):
    lines = open(log).read().splitlines()
    return [(lines[n].split(), lines[n + 1].split()) for n in range(0, len(lines), 2)]


@pytest.mark.parametrize("limit", [{"max_cores": 3}, {"max_workers": 3}, {}], ids=str)
def test_an_exclusive_call_runs_alone(tmp_path, limit):
    log = str(tmp_path / "log")
    with SingleNodeExecutor(**limit) as exe:
        alone = {"exclusive": True}
        futures = [exe.submit(functions.record_span, log, n, resource_dict=alone if n % 2 else None) for n in range(8)]
        for future in futures:
            future.result(timeout=SOON)
    lines = open(log).read().splitlines()
    for n in (1, 3, 5, 7):
        start = lines.index(f"start {n}")
        assert lines[start + 1] == f"end {n}"


def test_an_exclusive_call_waits_until_nobody_runs(gate, tmp_path):
    with SingleNodeExecutor(max_workers=2) as exe:
        gate.submit(exe)
        gate.arrival()
        alone = exe.submit(functions.identity, "alone", resource_dict={"exclusive": True})
        assert exe.submit(functions.identity, "beside").result(timeout=SOON) == "beside"
        assert not alone.done()
        gate.open()
        assert alone.result(timeout=SOON) == "alone"


def test_exclusive_calls_of_persistent_workers(tmp_path):
    log = str(tmp_path / "log")
    with SingleNodeExecutor(max_workers=3, block_allocation=True, resource_dict={"exclusive": True}) as exe:
        for future in [exe.submit(functions.record_span, log, n) for n in range(20)]:
            future.result(timeout=SOON)
    assert all(start[1] == end[1] for start, end in spans(log)) and len(spans(log)) == 20


def test_an_exclusive_call_cannot_be_had_from_other_workers():
    with SingleNodeExecutor(max_workers=2, block_allocation=True) as exe:
        with pytest.raises(ResourceError, match="exclusive"):
            exe.submit(functions.add, 1, 2, resource_dict={"exclusive": True})
        assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_more_than_one_node(exe):
    with pytest.raises(ResourceError, match="num_nodes"):
        exe.submit(functions.add, 1, 2, resource_dict={"num_nodes": 2})
    assert exe.submit(functions.add, 1, 2, resource_dict={"num_nodes": 1}).result(timeout=SOON) == 3


def inner_cores():
    with SingleNodeExecutor() as inner:
        return inner._max_workers


def test_an_executor_inside_an_exclusive_call():
    with SingleNodeExecutor() as exe:
        assert exe.submit(inner_cores).result(timeout=SOON) == 1
        cores = exe.submit(inner_cores, resource_dict={"exclusive": True}).result(timeout=SOON)
        assert cores == exe._max_workers
