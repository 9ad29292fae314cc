"""submit(): what it accepts, what it returns, what the result is."""

import builtins
import concurrent.futures
import functools
import operator
import pickle
import threading
import time

import functions
import pytest
from support import SOON


def test_returns_a_standard_future(exe):
    future = exe.submit(functions.add, 1, b=2)
    assert isinstance(exe, concurrent.futures.Executor)
    assert isinstance(future, concurrent.futures.Future)
    assert future.result(timeout=SOON) == 3
    assert future.done() and not future.running() and not future.cancelled()
    assert future.exception() is None


def test_keywords_may_be_named_like_the_parameters_of_submit(exe):
    future = exe.submit(functions.echo, 1, self=2, fn=3, args=4, kwargs=5)
    assert future.result(timeout=SOON) == ((1,), {"self": 2, "fn": 3, "args": 4, "kwargs": 5})


def test_the_function_is_positional_only(exe):
    with pytest.raises(TypeError):
        exe.submit(fn=functions.identity, value=1)
    with pytest.raises(TypeError):
        exe.submit()


def test_functions_without_a_signature(exe):
    numpy = pytest.importorskip("numpy")
    assert exe.submit(time.sleep, 0).result(timeout=SOON) is None
    assert exe.submit(numpy.add, 1, 2).result(timeout=SOON) == 3
    assert exe.submit(max, 1, 2).result(timeout=SOON) == 2
    assert exe.submit(dict, a=1).result(timeout=SOON) == {"a": 1}


def test_every_kind_of_callable(exe):
    base = 10

    def local(x):
        return base + x

    assert exe.submit(local, 1).result(timeout=SOON) == 11
    assert exe.submit(lambda x: x * base, 2).result(timeout=SOON) == 20
    assert exe.submit(functools.partial(functions.add, b=5), 1).result(timeout=SOON) == 6
    assert exe.submit("a-b".split, "-").result(timeout=SOON) == ["a", "b"]
    assert exe.submit(operator.itemgetter(1), [1, 2]).result(timeout=SOON) == 2
    assert exe.submit(functions.Box, 3).result(timeout=SOON).content == 3


def test_recursive_closure(exe):
    def factorial(n):
        return 1 if n == 0 else n * factorial(n - 1)

    assert exe.submit(factorial, 5).result(timeout=SOON) == 120


def test_result_is_the_same_object_each_time(exe):
    future = exe.submit(functions.identity, [1, 2])
    assert future.result(timeout=SOON) is future.result()


def test_exception_is_the_same_object_each_time(exe):
    future = exe.submit(functions.raise_error, KeyError("missing"))
    error = future.exception(timeout=SOON)
    assert type(error) is KeyError and error.args == ("missing",)
    assert future.exception() is error
    with pytest.raises(KeyError) as caught:
        future.result()
    assert caught.value is error


def test_result_and_exception_tell_one_story_when_the_result_cannot_be_unpickled(exe):
    future = exe.submit(functions.identity, ResultThatStaysThere())
    error = future.exception(timeout=SOON)
    assert isinstance(error, ValueError) and "only in the driver" in str(error)
    with pytest.raises(ValueError) as caught:
        future.result()
    assert caught.value is error
    assert exe.submit(functions.add, 1, 1).result(timeout=SOON) == 2


class ResultThatStaysThere:
    """Can be unpickled once, in the worker, but not a second time in the driver."""

    def __init__(self, travelled=0):
        self.travelled = travelled

    def __reduce__(self):
        return arrive, (self.travelled + 1,)


def arrive(travelled):
    if travelled > 1:
        raise ValueError("fails only in the driver")
    return ResultThatStaysThere(travelled)


def test_exception_carries_the_remote_traceback(exe):
    error = exe.submit(functions.divide, 1, 0).exception(timeout=SOON)
    assert type(error) is ZeroDivisionError
    assert error.__cause__ is not None
    assert "in divide" in str(error.__cause__)
    assert "return a / b" in str(error.__cause__)


def test_exception_keeps_its_own_cause_in_the_traceback_text(exe):
    def wrap():
        try:
            functions.divide(1, 0)
        except ZeroDivisionError as inner:
            raise LookupError("outer") from inner

    error = exe.submit(wrap).exception(timeout=SOON)
    assert type(error) is LookupError
    assert "ZeroDivisionError" in str(error.__cause__)


def test_unpicklable_argument_fails_at_submit_and_harms_nothing(exe):
    with pytest.raises((TypeError, pickle.PicklingError), match="pickle"):
        exe.submit(functions.identity, threading.Lock())
    assert len(exe) == 0
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_error_raised_by_the_pickling_of_an_argument_comes_out_of_submit(exe):
    with pytest.raises(ZeroDivisionError):
        exe.submit(functions.identity, FailsToPickle())
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


class FailsToPickle:
    def __reduce__(self):
        return 1 // 0


def test_missing_module_in_the_worker_fails_that_call(exe, tmp_path, monkeypatch):
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "only_in_the_driver.py").write_text("def triple(x):\n    return 3 * x\n")
    monkeypatch.syspath_prepend(folder)
    import only_in_the_driver

    call = only_in_the_driver.triple
    exe.submit(functions.identity, 0).result(timeout=SOON)
    (folder / "only_in_the_driver.py").unlink()
    for cached in folder.rglob("*.pyc"):
        cached.unlink()
    error = exe.submit(call, 1).exception(timeout=SOON)
    assert isinstance(error, ModuleNotFoundError) and "only_in_the_driver" in str(error)
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_result_timeout(exe, gate):
    future = gate.submit(exe, "value")
    gate.arrival()
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(timeout=0)
    with pytest.raises(concurrent.futures.TimeoutError):
        future.exception(timeout=0.01)
    assert future.running()
    gate.open()
    assert future.result(timeout=SOON) == "value"


def test_a_waiting_call_can_be_cancelled_and_a_running_one_cannot(exe, mode, gate):
    running = [gate.submit(exe, index) for index in range(mode.workers)]
    gate.arrivals(mode.workers)
    waiting = exe.submit(functions.identity, "never")
    assert waiting.cancel()
    assert waiting.cancelled() and waiting.done()
    assert not any(future.cancel() for future in running)
    gate.open()
    assert [future.result(timeout=SOON) for future in running] == list(range(mode.workers))
    with pytest.raises(concurrent.futures.CancelledError):
        waiting.result(timeout=SOON)
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_submission_from_many_threads(exe):
    results = {}

    def submit(number):
        results[number] = [exe.submit(functions.add, number, offset).result(timeout=SOON) for offset in range(10)]

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: [number + offset for offset in range(10)] for number in range(8)}


def test_large_and_empty_messages(exe):
    for size in (0, 1, 4095, 4096, 65536, 1 << 20, 5 << 20):
        payload = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        assert exe.submit(functions.identity, payload).result(timeout=SOON) == payload


ExceptionGroup = getattr(builtins, "ExceptionGroup", None)


@pytest.mark.skipif(ExceptionGroup is None, reason="groups of exceptions came with Python 3.11")
def test_a_group_of_exceptions_that_do_not_round_trip(exe):
    def fail():
        raise ExceptionGroup("two", [ValueError(1), ExceptionGroup("one", [functions.Picky(3, reason="why")])])

    group = exe.submit(fail).exception(timeout=SOON)
    assert type(group) is ExceptionGroup and group.message == "two"
    value, inner = group.exceptions
    assert repr(value) == "ValueError(1)"
    assert (inner.exceptions[0].code, inner.exceptions[0].reason) == (3, "why")


def test_deeply_nested_argument(exe):
    nested = []
    for _ in range(200):
        nested = [nested]
    assert exe.submit(functions.identity, nested).result(timeout=SOON) == nested


def test_shared_objects_stay_shared_within_a_call(exe):
    shared = [1]
    first, second = exe.submit(functions.identity, (shared, shared)).result(timeout=SOON)
    assert first is second
