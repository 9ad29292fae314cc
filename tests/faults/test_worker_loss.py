"""A worker that is lost: the error says which, where, how; its text is its own."""

import os
import pickle
import signal
import socket
import sys
import threading
import time
import uuid

import functions
import pytest
from support import AT_ONCE, SOON, kill_quietly, least

from executorlib.api import ExecutorlibSocketError


def test_the_error_names_the_process(exe, gate):
    future = gate.submit(exe)
    pid = gate.arrival()[0]
    os.kill(pid, signal.SIGTERM)
    error = future.exception(timeout=SOON)
    assert isinstance(error, ExecutorlibSocketError) and isinstance(error, RuntimeError)
    assert (error.pid, error.host, error.signal, error.status) == (pid, socket.gethostname(), signal.SIGTERM, None)
    assert str(pid) in str(error) and "SIGTERM" in str(error) and error.host in str(error)


@pytest.mark.timing
def test_a_loss_is_noticed_at_once(exe, mode, make_gate):
    def seconds():
        gate = make_gate()
        future = gate.submit(exe)
        pid = gate.arrival()[0]
        started = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        future.exception(timeout=SOON)
        return time.monotonic() - started

    assert least(seconds, 0.05, attempts=30) < 0.05


def test_a_living_child_of_the_lost_worker_does_not_delay_the_news(exe, gate):
    """The child holds copies of everything that the worker had open."""

    def fork_and_wait(folder):
        child = os.fork()
        if child == 0:
            import time

            while True:
                time.sleep(3600)
        functions.announce(folder, os.getpid(), child)
        signal.pause()

    future = exe.submit(fork_and_wait, gate.folder)
    worker, child = gate.arrival()
    try:
        started = time.monotonic()
        os.kill(worker, signal.SIGKILL)
        error = future.exception(timeout=SOON)
        assert time.monotonic() - started < AT_ONCE
        assert isinstance(error, ExecutorlibSocketError) and error.signal == signal.SIGKILL
        assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3
    finally:
        kill_quietly([child])


def test_the_tail_is_the_guilty_calls_own(exe, mode):
    for round_number in range(3):
        innocent = [exe.submit(functions.speak, f"innocent {round_number} {n}") for n in range(4)]
        text = f"guilty {uuid.uuid4()}"
        error = exe.submit(functions.crash_with_text, "SIGKILL", text).exception(timeout=SOON)
        assert text in error.stderr and "innocent" not in error.stderr
        assert [future.result(timeout=SOON) for future in innocent]


def test_the_tail_is_bounded_and_keeps_the_end(exe):
    def shout():
        for number in range(20_000):
            os.write(2, b"line %d\n" % number)
        os.kill(os.getpid(), signal.SIGKILL)

    error = exe.submit(shout).exception(timeout=SOON)
    assert "line 19999" in error.stderr
    assert len(error.stderr) <= 1 << 16 and "line 0\n" not in error.stderr


def test_the_tail_may_hold_any_bytes(exe):
    def shout():
        os.write(2, b"\xff\xfe no text \x00 end\n")
        os._exit(3)

    error = exe.submit(shout).exception(timeout=SOON)
    assert error.status == 3 and "no text" in error.stderr


def test_stderr_still_reaches_the_terminal(make, capfd):
    with make() as exe:
        exe.submit(functions.crash_with_text, "SIGKILL", "last words").exception(timeout=SOON)
    assert "last words" in capfd.readouterr().err


def test_a_python_fault_handler_trace_is_in_the_tail(exe):
    def crash():
        import faulthandler

        faulthandler.enable()
        functions.segfault()

    error = exe.submit(crash).exception(timeout=SOON)
    assert error.signal == signal.SIGSEGV and "in segfault" in error.stderr


def test_a_closed_channel_is_a_loss(exe):
    """The call closes every descriptor it can find, ours included."""

    def close_everything():
        os.closerange(3, 1024)
        return "closed"

    future = exe.submit(close_everything)
    assert isinstance(future.exception(timeout=SOON), (ExecutorlibSocketError, OSError))
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_garbage_on_the_channel_is_a_loss(exe):
    """The call writes into every socket it can find."""

    def write_garbage():
        for name in os.listdir("/proc/self/fd"):
            try:
                if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                    os.write(int(name), b"\xff" * 4096)
            except OSError:
                pass
        return "written"

    future = exe.submit(write_garbage)
    assert future.exception(timeout=SOON) is None or isinstance(future.exception(), ExecutorlibSocketError)
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_a_stopped_worker_is_not_lost(exe, gate):
    future = gate.submit(exe, "value")
    pid = gate.arrival()[0]
    os.kill(pid, signal.SIGSTOP)
    gate.open()
    os.kill(pid, signal.SIGCONT)
    assert future.result(timeout=SOON) == "value"


@pytest.mark.memory
def test_out_of_memory_in_the_call(exe):
    def exhaust():
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.RLIM_INFINITY))
        return bytearray(8 << 30)

    assert isinstance(exe.submit(exhaust).exception(timeout=SOON), MemoryError)


def test_deep_recursion_in_the_call_and_in_pickling(exe):
    def recurse(n):
        return recurse(n + 1)

    def make_deep():
        nested = []
        for _ in range(100_000):
            nested = [nested]
        return nested

    assert isinstance(exe.submit(recurse, 0).exception(timeout=SOON), RecursionError)
    error = exe.submit(make_deep).exception(timeout=SOON)
    assert isinstance(error, (RecursionError, pickle.PicklingError, MemoryError))
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_keyboard_interrupt_raised_by_the_call(exe):
    def interrupt():
        raise KeyboardInterrupt("from the call")

    error = exe.submit(interrupt).exception(timeout=SOON)
    assert type(error) is KeyboardInterrupt
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_generator_exit_and_base_exceptions(exe):
    class Base(BaseException):
        pass

    for error in (GeneratorExit("x"), Base("y")):
        caught = exe.submit(functions.raise_error, error).exception(timeout=SOON)
        assert type(caught).__name__ == type(error).__name__ and caught.args == error.args
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_exceptions_that_cannot_be_pickled(exe):
    def with_lock():
        error = LookupError("holds a lock")
        error.lock = threading.Lock()
        raise error

    error = exe.submit(with_lock).exception(timeout=SOON)
    assert "holds a lock" in str(error) or "holds a lock" in str(error.__cause__)
    assert "LookupError" in type(error).__name__ + str(error.__cause__)
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_exceptions_of_a_local_class(exe):
    class Local(Exception):
        pass

    error = exe.submit(functions.raise_error, Local("here", 1)).exception(timeout=SOON)
    assert type(error).__name__ == "Local" and error.args == ("here", 1)


def test_exception_groups(exe):
    if sys.version_info < (3, 11):
        pytest.skip("exception groups came with Python 3.11")

    def fail():
        raise ExceptionGroup("both", [ValueError(1), TypeError(2)])  # noqa: F821

    error = exe.submit(fail).exception(timeout=SOON)
    assert [type(part) for part in error.exceptions] == [ValueError, TypeError]


def test_a_result_that_crashes_its_own_repr(exe):
    class Hostile(Exception):
        def __str__(self):
            raise ValueError("no text")

        __repr__ = __str__

    def fail():
        raise Hostile

    assert type(exe.submit(fail).exception(timeout=SOON)).__name__ == "Hostile"
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_shutdown_with_a_lost_worker(make, mode, gate):
    exe = make()
    futures = [gate.submit(exe) for _ in range(mode.workers)]
    pids = gate.arrivals(mode.workers)
    exe.shutdown(wait=False)
    kill_quietly(pids)
    for future in futures:
        assert isinstance(future.exception(timeout=SOON), ExecutorlibSocketError)
    exe.shutdown(wait=True)


def test_cancelling_beside_a_loss(make, mode, gate):
    exe = make()
    held = [gate.submit(exe) for _ in range(mode.workers)]
    pids = gate.arrivals(mode.workers)
    waiting = [exe.submit(functions.identity, n) for n in range(10)]
    kill_quietly(pids)
    cancelled = [future.cancel() for future in waiting]
    for future, was_cancelled in zip(waiting, cancelled):
        assert was_cancelled or future.result(timeout=SOON) in range(10)
    assert all(isinstance(future.exception(timeout=SOON), ExecutorlibSocketError) for future in held)
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3
