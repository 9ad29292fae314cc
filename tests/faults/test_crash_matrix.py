"""The crash matrix: how a process or a call ends, times where, in every mode of the executor.

In each cell the guilty call fails with the true reason at once, and the next call on the same executor succeeds.
"""

import pickle
import signal
import socket
import time
import uuid

import functions
import pytest
from support import AT_ONCE, SOON

from executorlib.api import ExecutorlibSocketError

KINDS = ["SIGKILL", "SIGSEGV", "os._exit", "sys.exit", "MemoryError", "unpicklable result", "picky exception"]
PLACES = ["in the call", "unpickling arguments", "pickling the result", "in init_function", "in a child of the call"]
#: These end the worker process; the others are raised and leave the worker alive.
LETHAL = {"SIGKILL", "SIGSEGV", "os._exit"}


def skip_what_does_not_apply(kind, place, mode):
    if place == "in init_function" and not mode.block:
        pytest.skip("init_function needs persistent workers")
    if kind == "unpicklable result" and place == "unpickling arguments":
        pytest.skip("arguments that unpickle to such an object are fine")
    if kind == "unpicklable result" and place == "in init_function":
        pytest.skip("presets that cannot be pickled are allowed: they stay in the worker")


def check_reason(error, kind, text):
    """*error* names what *kind* did; what a process wrote before it died is in it."""
    if kind in LETHAL:
        assert isinstance(error, ExecutorlibSocketError)
        assert {"SIGKILL": "SIGKILL", "SIGSEGV": "SIGSEGV", "os._exit": "status 7"}[kind] in str(error)
        assert text in str(error) and "innocent" not in str(error)
    elif kind == "sys.exit":
        assert type(error) is SystemExit and error.code == 5
    elif kind == "MemoryError":
        assert type(error) is MemoryError and "no room for the matrix" in str(error)
    elif kind == "picky exception":
        assert type(error) is functions.Picky
        assert (error.code, error.reason, str(error)) == (3, "does not round-trip", "3: does not round-trip")
    elif kind == "unpicklable result":
        assert isinstance(error, (TypeError, pickle.PicklingError)) and "pickle" in str(error)
    else:
        raise AssertionError(kind)


def check_details(error, kind):
    expected = {"SIGKILL": (signal.SIGKILL, None), "SIGSEGV": (signal.SIGSEGV, None), "os._exit": (None, 7)}
    assert (error.signal, error.status) == expected[kind]
    assert error.host == socket.gethostname() and error.host in str(error) and str(error.pid) in str(error)


def submit_guilty(exe, kind, place, text):
    if place == "in the call":
        return exe.submit(functions.crash_with_text, kind, text)
    if place == "unpickling arguments":
        return exe.submit(functions.identity, functions.CrashAtUnpickle(kind, text))
    if place == "pickling the result":
        return exe.submit(functions.make_crash_at_pickle, kind, text)
    if place == "in a child of the call":
        return exe.submit(functions.crash_in_child, kind, text)
    raise AssertionError(place)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", [place for place in PLACES if place != "in init_function"])
def test_the_guilty_call_fails_and_the_next_one_runs(make, mode, kind, place):
    skip_what_does_not_apply(kind, place, mode)
    text = f"guilty {uuid.uuid4()}"
    exe = make()
    for number in range(2 * mode.workers):
        exe.submit(functions.speak, f"innocent {number}").result(timeout=SOON)

    started = time.monotonic()
    error = submit_guilty(exe, kind, place, text).exception(timeout=SOON)
    took = time.monotonic() - started

    if place == "in a child of the call":
        assert type(error) is functions.ChildEnded, error
        expected = {"SIGKILL": -signal.SIGKILL, "SIGSEGV": -signal.SIGSEGV, "os._exit": 7}
        assert kind not in expected or error.args == (expected[kind],)
    else:
        check_reason(error, kind, text)
        if kind in LETHAL:
            check_details(error, kind)
    assert took < AT_ONCE
    for number in range(2 * mode.workers):
        assert exe.submit(functions.add, number, 1).result(timeout=SOON) == number + 1


@pytest.mark.parametrize("kind", KINDS)
def test_in_init_function(make, mode, kind, tmp_path):
    skip_what_does_not_apply(kind, "in init_function", mode)
    text = f"guilty {uuid.uuid4()}"
    flag = tmp_path / "flag"
    flag.touch()

    def init():
        return functions.crash_until_removed(str(flag), kind, text, "b", 1)

    exe = make(init_function=init)
    make().submit(functions.add, 1, 2).result(timeout=SOON)
    started = time.monotonic()
    error = exe.submit(functions.add, 1).exception(timeout=SOON)
    took = time.monotonic() - started
    check_reason(error, kind, text)
    assert took < AT_ONCE

    if kind in LETHAL:
        flag.unlink()
        for _ in range(2 * mode.workers):
            assert exe.submit(functions.add, 1).result(timeout=SOON) == 2
    else:
        # An error of init_function is every call's error; each one hears of it.
        for _ in range(2 * mode.workers):
            check_reason(exe.submit(functions.add, 1).exception(timeout=SOON), kind, text)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_guilty_call_fails(make, mode, make_gate, kind):
    """Calls that run beside it, wait behind it or depend on another one are not touched."""
    gate = make_gate()
    exe = make()
    beside = [gate.submit(exe, n) for n in range(mode.workers - 1)]
    gate.arrivals(mode.workers - 1)
    guilty = exe.submit(functions.crash_with_text, kind, "guilty")
    behind = [exe.submit(functions.identity, n) for n in range(10)]
    dependent = exe.submit(functions.add, behind[0], 5)
    poisoned = exe.submit(functions.identity, guilty)
    check_reason(guilty.exception(timeout=SOON), kind, "guilty")
    assert [future.result(timeout=SOON) for future in behind] == list(range(10))
    assert dependent.result(timeout=SOON) == 5
    assert type(poisoned.exception(timeout=SOON)) is type(guilty.exception())
    gate.open()
    assert [future.result(timeout=SOON) for future in beside] == list(range(mode.workers - 1))


@pytest.mark.parametrize("kind", sorted(set(KINDS) - LETHAL))
def test_the_worker_survives_what_is_raised(make, mode, kind):
    if not mode.block:
        pytest.skip("one process per call ends with its call")
    exe = make(max_workers=1)
    pid = exe.submit(functions.worker_pid).result(timeout=SOON)
    for place in ("in the call", "unpickling arguments", "pickling the result"):
        if (kind, place) != ("unpicklable result", "unpickling arguments"):
            assert submit_guilty(exe, kind, place, "text").exception(timeout=SOON) is not None
    assert exe.submit(functions.worker_pid).result(timeout=SOON) == pid


@pytest.mark.parametrize("kind", KINDS)
def test_many_guilty_calls_in_a_row(make, mode, kind):
    exe = make()
    futures = []
    for number in range(10):
        futures.append(exe.submit(functions.crash_with_text, kind, f"guilty {number}"))
        futures.append(exe.submit(functions.identity, number))
    for number in range(10):
        check_reason(futures[2 * number].exception(timeout=SOON), kind, f"guilty {number}")
        assert futures[2 * number + 1].result(timeout=SOON) == number


@pytest.mark.parametrize("kind", KINDS)
def test_guilty_items_of_a_map(make, mode, kind):
    exe = make()

    def item(n):
        return functions.crash_with_text(kind, "guilty") if n == 3 else n

    results = exe.map(item, range(6), timeout=SOON)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(BaseException) as caught:
        next(results)
    check_reason(caught.value, kind, "guilty")
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3
