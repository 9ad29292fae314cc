"""Processes that calls start: what they may do, and that none is left; the zygote killed."""

import os
import signal
import time

import functions
import pytest
from support import (
    AT_ONCE,
    SOON,
    alive_after,
    children,
    is_zombie,
    kill_quietly,
    run_script,
    status,
)

from executorlib.api import ExecutorlibSocketError


def test_a_forked_child_that_returns_does_not_answer(exe):
    for number in range(5):
        assert exe.submit(functions.fork_and_return, number, "from the child").result(timeout=SOON) == number
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_a_forked_child_that_returns_after_its_parent_has_answered(exe, gate):
    """The parent returns first; the child returns later, while the next calls run."""

    def fork_and_answer_first(folder):
        child = os.fork()
        if child == 0:
            functions.pass_gate(folder)
            return "from the child"
        functions.announce(folder, child)
        return "from the parent"

    future = exe.submit(fork_and_answer_first, gate.folder)
    assert future.result(timeout=SOON) == "from the parent"
    pids = {gate.arrival()[0], gate.arrival()[0]}
    gate.open()
    assert not alive_after(pids, SOON)
    for number in range(10):
        assert exe.submit(functions.identity, number).result(timeout=SOON) == number


def test_a_forked_child_that_raises(exe):
    def fork_and_raise():
        child = os.fork()
        if child == 0:
            raise LookupError("in the child")
        os.waitpid(child, 0)
        return "from the parent"

    assert exe.submit(fork_and_raise).result(timeout=SOON) == "from the parent"
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_a_forked_child_runs_no_exit_handlers_of_ours(exe, tmp_path):
    """What the worker flushes at its end must not be flushed a second time by the child."""

    def fork_with_buffer():
        print("buffered", end="")
        return functions.fork_and_return(1, 2)

    assert exe.submit(fork_with_buffer).result(timeout=SOON) == 1


def test_children_and_grandchildren_are_gone_after_shutdown(make, gate):
    exe = make()
    future = exe.submit(functions.start_family, gate.folder)
    family = gate.arrival()
    gate.open()
    assert list(future.result(timeout=SOON)) == family[1:]
    exe.shutdown()
    assert not alive_after(family, AT_ONCE)


def test_children_of_a_lost_worker_are_gone_after_shutdown(make, gate):
    exe = make()
    future = exe.submit(functions.start_family, gate.folder)
    worker, *family = gate.arrival()
    os.kill(worker, signal.SIGKILL)
    assert isinstance(future.exception(timeout=SOON), ExecutorlibSocketError)
    exe.shutdown()
    assert not alive_after(family, AT_ONCE)


def test_a_child_that_ignores_signals_is_gone_after_shutdown(make, gate):
    def start_stubborn(folder):
        child = os.fork()
        if child == 0:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            functions.announce(folder, os.getpid())
            while True:
                signal.pause()

    exe = make()
    exe.submit(start_stubborn, gate.folder).result(timeout=SOON)
    pid = gate.arrival()
    exe.shutdown()
    assert not alive_after(pid, AT_ONCE)


def test_the_end_of_a_call_does_not_wait_for_the_end_of_its_childrens_output(exe, gate):
    """A child that keeps stdout and stderr open must hold up neither the result nor the next call."""
    started = time.monotonic()
    future = exe.submit(functions.spawn_family)
    family = future.result(timeout=SOON)
    assert time.monotonic() - started < AT_ONCE
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3
    kill_quietly(family)


def test_interactive_shell_children(exe):
    """A Popen child with pipes, as interactive codes are driven."""

    def talk():
        import subprocess

        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            child.stdin.write("hello\n")
            child.stdin.flush()
            answer = child.stdout.readline()
        return answer, child.returncode

    assert exe.submit(talk).result(timeout=SOON) == ("hello\n", 0)


def test_a_call_may_wait_for_its_own_children(exe):
    """SIGCHLD and wait() of the user's code are left alone."""

    def wait_for_any():
        import subprocess

        first, second = subprocess.Popen(["true"]), subprocess.Popen(["false"])
        reaped = dict(os.wait() for _ in range(2))
        first.returncode = second.returncode = 0
        try:
            os.wait()
        except ChildProcessError:
            return sorted(os.waitstatus_to_exitcode(status) for status in reaped.values())

    assert exe.submit(wait_for_any).result(timeout=SOON) == [0, 1]


def test_the_driver_may_wait_for_its_own_children(tmp_path, mode):
    """os.waitpid(-1) and a SIGCHLD handler in the driver must not break the executor, nor the reverse."""
    result = run_script(
        tmp_path,
        f"""
        import os, signal, subprocess, warnings
        from executorlib import SingleNodeExecutor
        warnings.simplefilter("ignore", DeprecationWarning)  # since Python 3.12 of fork() in a process with threads
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with SingleNodeExecutor(max_workers={mode.workers}, block_allocation={mode.block}) as exe:
            assert exe.submit(abs, -1).result() == 1
            for _ in range(5):
                assert subprocess.run(["true"]).returncode == 0
                assert subprocess.run(["false"]).returncode == 1
            pid = os.fork()
            if pid == 0:
                os._exit(9)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), exe.submit(abs, -2).result())
        print(signal.getsignal(signal.SIGCHLD) is not signal.SIG_DFL)
        """,
    )
    assert (result.stdout, result.stderr, result.returncode) == ("9 2\nTrue\n", "", 0)


def test_nothing_is_left_of_the_first_executor_of_a_process(tmp_path, mode):
    """Descriptors, processes, memory files: as before the executor was made, in a process that had none before.

    But for one pipe to itself, which libuv makes once per process for signals and keeps.
    """
    result = run_script(
        tmp_path,
        f"""
        import gc, os
        import numpy
        from executorlib import SingleNodeExecutor
        import support
        before = support.open_descriptors(), support.mapped_memory_files()
        exe = SingleNodeExecutor(max_workers={mode.workers}, block_allocation={mode.block})
        futures = [exe.submit(numpy.ones, size) for size in (1, 1 << 20)]
        assert [future.result().sum() for future in futures] == [1, 1 << 20]
        assert support.children(os.getpid())
        exe.shutdown()
        del futures, exe
        gc.collect()
        after = support.open_descriptors(), support.mapped_memory_files()
        gained = [target for fd, target in after[0].items() if fd not in before[0]]
        assert len(gained) == 2 and gained[0] == gained[1] and gained[0].startswith("pipe:"), gained
        print(after[1] == before[1] or (before, after), support.descendants(os.getpid()))
        """,
    )
    assert (result.stdout, result.stderr) == ("True []\n", "")


def zygotes():
    return [pid for pid in children(os.getpid()) if not is_zombie(pid)]


def await_burial(pids, timeout=SOON):
    """Return once this process has waited for its children *pids*; the engine tells nobody, so this looks again."""
    deadline = time.monotonic() + timeout
    while any(status(pid) for pid in pids):
        assert time.monotonic() < deadline, f"{pids} are not waited for within {timeout} s"
        os.sched_yield()


@pytest.mark.orphans
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_zygote_is_killed_while_idle(make, number):
    others = set(zygotes())
    exe = make()
    exe.submit(functions.identity, 0).result(timeout=SOON)
    victims = set(zygotes()) - others
    assert victims
    kill_quietly(victims, number)
    await_burial(victims)
    for value in range(5):
        assert exe.submit(functions.identity, value).result(timeout=SOON) == value


@pytest.mark.orphans
def test_the_zygote_is_killed_while_calls_run(make, mode, make_gate):
    gate = make_gate()
    others = set(zygotes())
    exe = make()
    running = [exe.submit(functions.start_family, gate.folder) for _ in range(mode.workers)]
    family = [pid for _ in running for pid in gate.arrival()]
    waiting = exe.submit(functions.identity, "waiting")
    victims = set(zygotes()) - others
    started = time.monotonic()
    kill_quietly(victims)
    for future in running:
        assert isinstance(future.exception(timeout=SOON), ExecutorlibSocketError)
    assert time.monotonic() - started < AT_ONCE
    assert not alive_after(family[0::3], AT_ONCE), "the workers"
    assert not alive_after(family, AT_ONCE), "their children and grandchildren"
    gate.open()
    error = waiting.exception(timeout=SOON)
    assert error is None or isinstance(error, ExecutorlibSocketError)
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


@pytest.mark.orphans
def test_shutdown_with_a_killed_zygote(make, gate):
    others = set(zygotes())
    exe = make()
    future = gate.submit(exe)
    gate.arrival()
    kill_quietly(set(zygotes()) - others)
    assert isinstance(future.exception(timeout=SOON), ExecutorlibSocketError)
    exe.shutdown()
    assert set(zygotes()) <= others


def test_a_stopped_zygote_does_not_block_the_driver(make, gate):
    """Submitting and waiting with a time limit go on while no worker can be started."""
    others = set(zygotes())
    exe = make()
    exe.submit(functions.identity, 0).result(timeout=SOON)
    victims = set(zygotes()) - others
    kill_quietly(victims, signal.SIGSTOP)
    try:
        started = time.monotonic()
        futures = [exe.submit(functions.identity, n) for n in range(10)]
        assert time.monotonic() - started < AT_ONCE
    finally:
        kill_quietly(victims, signal.SIGCONT)
    assert [future.result(timeout=SOON) for future in futures] == list(range(10))


def test_workers_are_not_children_of_the_driver(exe):
    """The zygote reaps them, so the user's own wait() in the driver never meets them."""
    worker = exe.submit(os.getpid).result(timeout=SOON)
    assert worker not in children(os.getpid())
