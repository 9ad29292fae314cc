"""The processes that run the calls: one per call, or persistent ones whose number changes while running."""

import os
import signal

import functions
import pytest
from support import AT_ONCE, SOON, alive_after

from executorlib import SingleNodeExecutor
from executorlib.api import ExecutorlibSocketError


@pytest.fixture
def block(mode):
    if not mode.block:
        pytest.skip("only persistent workers")


def concurrent_pids(exe, make_gate, count):
    """Pids of *count* calls that run at the same time."""
    gate = make_gate()
    futures = [gate.submit(exe) for _ in range(count)]
    pids = gate.arrivals(count)
    gate.open()
    for future in futures:
        future.result(timeout=SOON)
    return pids


def test_calls_run_outside_the_driver(exe):
    assert exe.submit(functions.worker_pid).result(timeout=SOON) != os.getpid()


def test_as_many_at_once_as_workers(exe, mode, make_gate):
    assert len(set(concurrent_pids(exe, make_gate, mode.workers))) == mode.workers


def test_no_more_at_once_than_workers(make, tmp_path):
    exe = make(max_workers=1)
    log = str(tmp_path / "log")
    for name in range(10):
        exe.submit(functions.record_span, log, name)
    exe.shutdown()
    lines = open(log).read().splitlines()
    assert lines == [f"{word} {name}" for name in range(10) for word in ("start", "end")]


def test_one_process_per_call_or_the_same_again(make, mode):
    exe = make(max_workers=1)
    pids = [exe.submit(functions.worker_pid).result(timeout=SOON) for _ in range(4)]
    assert len(set(pids)) == (1 if mode.block else 4)


def test_state_lives_as_long_as_the_worker(make, mode):
    def count():
        import sys

        sys.calls_seen_here = getattr(sys, "calls_seen_here", 0) + 1
        return sys.calls_seen_here

    exe = make(max_workers=1)
    counts = [exe.submit(count).result(timeout=SOON) for _ in range(3)]
    assert counts == ([1, 2, 3] if mode.block else [1, 1, 1])


def test_max_workers_is_readable(exe, mode):
    assert exe.max_workers == mode.workers


def test_max_workers_can_be_set_only_with_persistent_workers(exe, mode):
    if mode.block:
        exe.max_workers = 3
        assert exe.max_workers == 3
    else:
        with pytest.raises(NotImplementedError):
            exe.max_workers = 3


def test_growing_while_running(block, exe, mode, gate, make_gate):
    held = [gate.submit(exe, n) for n in range(mode.workers + 2)]
    pids = gate.arrivals(mode.workers)
    exe.max_workers = mode.workers + 2
    pids += gate.arrivals(2)
    assert len(set(pids)) == mode.workers + 2
    gate.open()
    assert [future.result(timeout=SOON) for future in held] == list(range(mode.workers + 2))
    assert len(set(concurrent_pids(exe, make_gate, mode.workers + 2))) == mode.workers + 2


def test_grown_workers_continue_the_ids(block, exe, mode, make_gate):
    def at_gate(folder, executorlib_worker_id):
        return functions.pass_gate(folder, executorlib_worker_id)

    exe.max_workers = mode.workers + 1
    gate = make_gate()
    futures = [exe.submit(at_gate, gate.folder) for _ in range(mode.workers + 1)]
    gate.arrivals(mode.workers + 1)
    gate.open()
    assert sorted(future.result(timeout=SOON) for future in futures) == list(range(mode.workers + 1))


def test_grown_workers_are_prepared_by_init(block, make, mode, make_gate):
    exe = make(init_function=lambda: {"preset": "ready"})
    exe.max_workers = mode.workers + 1
    gate = make_gate()
    futures = [
        exe.submit(lambda folder, preset: functions.pass_gate(folder, preset), gate.folder)
        for _ in range(mode.workers + 1)
    ]
    gate.arrivals(mode.workers + 1)
    gate.open()
    assert {future.result(timeout=SOON) for future in futures} == {"ready"}


def test_shrinking_while_running(block, make, gate):
    exe = make(max_workers=3)
    held = [gate.submit(exe, n) for n in range(3)]
    pids = gate.arrivals(3)
    waiting = [exe.submit(functions.worker_pid) for _ in range(5)]
    exe.max_workers = 1
    gate.open()
    assert [future.result(timeout=SOON) for future in held] == [0, 1, 2], "running calls end undisturbed"
    for future in waiting:
        future.result(timeout=SOON)
    assert len(alive_after(pids, AT_ONCE)) == 1
    assert len({exe.submit(functions.worker_pid).result(timeout=SOON) for _ in range(20)}) == 1


def test_shrinking_below_one(block, exe):
    for number in (0, -1):
        with pytest.raises(ValueError):
            exe.max_workers = number
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_shrink_and_grow_again(block, exe, make_gate):
    for number in (4, 1, 2, 1, 3):
        exe.max_workers = number
        assert len(set(concurrent_pids(exe, make_gate, number))) == number


def test_a_worker_killed_while_idle_is_replaced(block, make):
    exe = make(max_workers=1)
    first = exe.submit(functions.worker_pid).result(timeout=SOON)
    os.kill(first, signal.SIGKILL)
    assert not alive_after([first], SOON)
    assert exe.submit(functions.worker_pid).result(timeout=SOON) != first


def test_block_size_from_max_cores():
    with SingleNodeExecutor(max_cores=4, resource_dict={"threads_per_core": 2}, block_allocation=True) as exe:
        assert exe.max_workers == 4, "threads are not counted for persistent workers"


def crash_counting(log):
    functions.append_line(log, "run")
    functions.crash("SIGKILL")


@pytest.mark.parametrize("limit", [0, 2])
def test_restart_limit_counts_per_call(block, make, limit, tmp_path):
    exe = make(restart_limit=limit)
    log = tmp_path / "log"
    guilty = exe.submit(crash_counting, str(log))
    others = [exe.submit(functions.identity, n) for n in range(10)]
    error = guilty.exception(timeout=SOON)
    assert isinstance(error, ExecutorlibSocketError) and "SIGKILL" in str(error)
    assert log.read_text().split() == ["run"] * (1 + limit)
    assert [future.result(timeout=SOON) for future in others] == list(range(10))
    second = exe.submit(crash_counting, str(log))
    assert isinstance(second.exception(timeout=SOON), ExecutorlibSocketError)
    assert log.read_text().split() == ["run"] * 2 * (1 + limit), "the second call has restarts of its own"


def test_a_call_that_succeeds_after_a_restart(block, make, tmp_path):
    def crash_once(flag):
        if os.path.exists(flag):
            os.unlink(flag)
            functions.crash("SIGKILL")
        return "done"

    exe = make(restart_limit=1)
    flag = tmp_path / "flag"
    flag.touch()
    assert exe.submit(crash_once, str(flag)).result(timeout=SOON) == "done"
