"""Calls that are ended from outside, and everything that they have started."""

import math
import os
import signal
import time

import functions
import pytest
from support import AT_ONCE, SOON, TIME_FACTOR, Driver, alive_after, children, kill_quietly, least

from executorlib.api import CallTerminatedError, ExecutorlibSocketError, RunTimeExceededError


@pytest.mark.timing
def test_a_family_that_ignores_the_signal_ends_in_time(exe, gate):
    """A limit of one second, 0.3 s of grace: all of it is over within 1.5 s."""

    def seconds():
        started = time.monotonic()
        future = exe.submit(functions.resist, gate.folder, 5, resource_dict={"run_time_max": 1})
        error = future.exception(timeout=SOON)
        took = time.monotonic() - started
        try:
            family = gate.arrival(timeout=0)
        except TimeoutError:
            return math.inf  # it had no time for it
        assert isinstance(error, RunTimeExceededError)
        assert len(family) == 6 and not alive_after(family, 0)
        return took

    assert 1.3 <= least(seconds, 1.5) < 1.5


@pytest.mark.parametrize("grace", [0, 0.05])
def test_the_grace_time_is_the_users(exe, gate, grace):
    future = exe.submit(functions.resist, gate.folder, resource_dict={"terminate_grace": grace})
    family = gate.arrival()
    started = time.monotonic()
    assert future.terminate()
    assert isinstance(future.exception(timeout=SOON), CallTerminatedError)
    assert grace <= time.monotonic() - started
    assert not alive_after(family, 0)


@pytest.mark.parametrize("end", ["limit", "terminate"])
def test_children_and_daemons_end_with_the_call(exe, gate, end):
    limits = {"terminate_grace": 60, **({"run_time_max": 2.0 * TIME_FACTOR} if end == "limit" else {})}
    future = exe.submit(functions.start_family, gate.folder, resource_dict=limits)
    family = gate.arrival()
    assert end == "limit" or future.terminate()
    assert isinstance(future.exception(timeout=SOON), (RunTimeExceededError, CallTerminatedError))
    assert not alive_after(family, 0)


def test_a_child_has_its_grace_though_the_worker_is_gone(exe, make_gate, tmp_path):
    gate, log = make_gate(), tmp_path / "log"
    limits = {"terminate_grace": 60}
    future = exe.submit(functions.leave_child_that_tidies_up, gate.folder, str(log), resource_dict=limits)
    worker, child = gate.arrival()
    assert future.terminate()
    assert gate.arrival() == [child]  # it has had its signal
    assert not alive_after([worker], SOON)
    assert not future.done()
    gate.open()
    assert isinstance(future.exception(timeout=SOON), CallTerminatedError)
    assert log.read_text() == "tidy\n" and not alive_after([child], 0)


def test_each_ended_call_takes_only_its_own(make, make_gate, tmp_path):
    """Two end at once, one with a child that still tidies up, the other with children that do not end."""
    tidy, stubborn, exe = make_gate(), make_gate(), make(max_workers=3)
    log = tmp_path / "log"
    bystander = make_gate()
    beside = exe.submit(functions.start_family, bystander.folder)
    family = bystander.arrival()
    first = exe.submit(
        functions.leave_child_that_tidies_up, tidy.folder, str(log), resource_dict={"terminate_grace": 60}
    )
    second = exe.submit(functions.resist, stubborn.folder, 3, resource_dict={"terminate_grace": 0})
    (_, child), others = tidy.arrival(), stubborn.arrival()
    assert first.terminate() and second.terminate()
    assert isinstance(second.exception(timeout=SOON), CallTerminatedError)
    assert not alive_after(others, AT_ONCE)
    assert tidy.arrival() == [child]
    tidy.open()
    assert isinstance(first.exception(timeout=SOON), CallTerminatedError)
    assert log.read_text() == "tidy\n"
    assert alive_after(family, 0) == sorted(family)
    bystander.open()
    assert beside.result(timeout=SOON) == tuple(family[1:])


def test_an_ordinary_loss_beside_a_grace_time(make, make_gate, tmp_path):
    """What a lost worker leaves behind is killed at once, whoever else has time."""
    tidy, lost, exe = make_gate(), make_gate(), make(max_workers=2)
    ending = exe.submit(
        functions.leave_child_that_tidies_up, tidy.folder, str(tmp_path / "log"), resource_dict={"terminate_grace": 60}
    )
    _, child = tidy.arrival()
    assert ending.terminate()
    assert tidy.arrival() == [child]
    future = exe.submit(functions.start_family, lost.folder)
    family = lost.arrival()
    os.kill(family[0], signal.SIGKILL)
    assert isinstance(future.exception(timeout=SOON), ExecutorlibSocketError)
    assert not alive_after(family, AT_ONCE)
    assert alive_after([child], 0) == [child]
    tidy.open()
    assert isinstance(ending.exception(timeout=SOON), CallTerminatedError)


def test_a_stopped_worker_is_ended(exe, gate):
    future = gate.submit(exe, resource_dict={"terminate_grace": 0.1})
    pid = gate.arrival()[0]
    os.kill(pid, signal.SIGSTOP)
    assert future.terminate()
    assert isinstance(future.exception(timeout=SOON), CallTerminatedError)
    assert not alive_after([pid], 0)


def test_a_worker_that_dies_within_its_grace_time(exe, gate):
    future = exe.submit(functions.resist, gate.folder, 0, resource_dict={"terminate_grace": 60})
    pid = gate.arrival()[0]
    assert future.terminate()
    os.kill(pid, signal.SIGKILL)
    assert isinstance(future.exception(timeout=SOON), CallTerminatedError)


@pytest.mark.orphans
def test_the_zygote_dies_within_a_grace_time(exe, gate):
    future = exe.submit(functions.resist, gate.folder, resource_dict={"terminate_grace": 60})
    family = gate.arrival()
    assert future.terminate()
    zygotes = [pid for pid in children(os.getpid()) if family[0] in children(pid)]
    kill_quietly(zygotes)
    assert len(zygotes) == 1
    assert isinstance(future.exception(timeout=SOON), CallTerminatedError)
    assert not alive_after(family, AT_ONCE)
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


@pytest.mark.orphans
@pytest.mark.parametrize("block", [False, True], ids=["per_call", "block"])
def test_the_driver_dies_within_a_grace_time(block, tmp_path, gate):
    source = """
        import sys

        import functions

        from executorlib import SingleNodeExecutor

        exe = SingleNodeExecutor(max_workers=1, block_allocation=sys.argv[2] == "True")
        future = exe.submit(functions.resist, sys.argv[1], resource_dict={"terminate_grace": 600})
        sys.stdin.readline()
        print("terminated", future.terminate(), flush=True)
        sys.stdin.readline()
    """
    with Driver(tmp_path, source, gate.folder, block) as driver:
        family = gate.arrival()
        driver.say()
        assert driver.expect("terminated") == "True"
        driver.kill()
        assert not alive_after(family, AT_ONCE)


def test_shutting_down_waits_for_the_grace_time(make, make_gate, tmp_path):
    gate, log, exe = make_gate(), tmp_path / "log", make()
    future = exe.submit(
        functions.leave_child_that_tidies_up, gate.folder, str(log), resource_dict={"terminate_grace": 60}
    )
    gate.arrival()
    assert future.terminate()
    gate.arrival()
    gate.open()
    exe.shutdown(wait=True)
    assert log.read_text() == "tidy\n"
    assert isinstance(future.exception(timeout=0), CallTerminatedError)


def test_calls_ended_again_and_again(exe, gate):
    """Each time nothing is left, and the next call has a worker."""
    for _ in range(10):
        future = exe.submit(functions.start_family, gate.folder)
        family = gate.arrival()
        assert future.terminate()
        assert isinstance(future.exception(timeout=SOON), CallTerminatedError)
        assert not alive_after(family, 0)
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3
