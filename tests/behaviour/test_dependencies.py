"""Futures as arguments."""

import concurrent.futures
import pickle
import threading

import functions
import pytest
from support import SOON


@pytest.fixture
def one_two(exe):
    return exe.submit(functions.identity, 1), exe.submit(functions.identity, 2)


def test_positional_and_keyword(exe, one_two):
    one, two = one_two
    assert exe.submit(functions.add, one, b=two).result(timeout=SOON) == 3


@pytest.mark.parametrize(
    "wrap",
    [
        lambda one, two: [one, two],
        lambda one, two: (one, two),
        lambda one, two: {one, two},
        lambda one, two: frozenset([one, two]),
        lambda one, two: {"one": one, "two": two},
        lambda one, two: [{"deep": ([one], {"deeper": (two,)})}],
    ],
    ids=["list", "tuple", "set", "frozenset", "dict", "nested"],
)
def test_inside_containers(exe, one_two, wrap):
    assert exe.submit(functions.nested_total, wrap(*one_two)).result(timeout=SOON) == 3


def test_inside_a_dataclass(exe, one_two):
    assert exe.submit(functions.point_sum, functions.Point(*one_two)).result(timeout=SOON) == 3


def test_inside_an_attribute(exe, one_two):
    one, two = one_two
    box = functions.Box(functions.Box([one, two]))
    assert exe.submit(lambda outer: sum(outer.content.content), box).result(timeout=SOON) == 3
    assert box.content.content == [one, two], "the driver's object keeps its futures"


def test_inside_a_closure(exe, one_two):
    one, two = one_two
    assert exe.submit(lambda: one + two).result(timeout=SOON) == 3


def test_inside_a_partial(exe, one_two):
    import functools

    one, two = one_two
    assert exe.submit(functools.partial(functions.add, one), two).result(timeout=SOON) == 3


def test_one_future_many_times(exe):
    number = exe.submit(functions.identity, 5)
    assert exe.submit(functions.total, [number] * 10).result(timeout=SOON) == 50
    dependents = [exe.submit(functions.add, number, n) for n in range(10)]
    assert [future.result(timeout=SOON) for future in dependents] == list(range(5, 15))


def test_the_value_is_shared_within_a_call(exe):
    value = exe.submit(functions.identity, [1])
    assert exe.submit(lambda a, b: a is b, value, value).result(timeout=SOON)


def test_done_futures(exe, one_two):
    concurrent.futures.wait(one_two, timeout=SOON)
    assert exe.submit(functions.add, *one_two).result(timeout=SOON) == 3


def test_result_taken_before_and_after(exe):
    box = exe.submit(functions.Box, 7)
    taken = box.result(timeout=SOON)
    taken.content = "changed in the driver"
    assert exe.submit(functions.box_content, box).result(timeout=SOON) in (7, "changed in the driver")
    assert box.result() is taken


def test_dropped_futures(exe):
    total = exe.submit(functions.add, exe.submit(functions.identity, 1), exe.submit(functions.identity, 2))
    assert total.result(timeout=SOON) == 3


def test_a_long_chain(exe, mode):
    future = exe.submit(functions.identity, 0)
    length = 500 if mode.block else 50
    for _ in range(length):
        future = exe.submit(functions.add, future, 1)
    assert future.result(timeout=SOON) == length


def test_fan_in(exe, mode):
    width = 500 if mode.block else 50
    parts = [exe.submit(functions.identity, n) for n in range(width)]
    assert exe.submit(functions.total, parts).result(timeout=SOON) == sum(range(width))


def test_large_results_pass_from_worker_to_worker(exe):
    numpy = pytest.importorskip("numpy")
    array = exe.submit(numpy.ones, 1 << 20)
    doubled = exe.submit(numpy.add, array, array)
    assert exe.submit(numpy.sum, doubled).result(timeout=SOON) == 2 << 20


def test_an_array_changed_by_one_consumer_is_whole_for_the_next(exe):
    numpy = pytest.importorskip("numpy")
    for size in (1, 1 << 20):
        array = exe.submit(numpy.zeros, size)
        first = exe.submit(functions.add_one_in_place, array)
        second = exe.submit(functions.add_one_in_place, array)
        assert first.result(timeout=SOON)[0] == second.result(timeout=SOON)[0] == 1
        assert array.result(timeout=SOON)[0] == 0


def test_error_reaches_the_dependent(exe, tmp_path):
    log = tmp_path / "log"
    failing = exe.submit(functions.divide, 1, 0)
    dependent = exe.submit(functions.append_line, str(log), failing)
    last = exe.submit(functions.add, [dependent], 1)
    for future in (dependent, last):
        error = future.exception(timeout=SOON)
        assert type(error) is ZeroDivisionError
        assert "return a / b" in str(error.__cause__)
    assert not log.exists(), "a call whose argument failed must not run"
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_error_of_a_done_future_reaches_the_dependent(exe):
    failing = exe.submit(functions.divide, 1, 0)
    failing.exception(timeout=SOON)
    assert isinstance(exe.submit(functions.identity, failing).exception(timeout=SOON), ZeroDivisionError)


def test_cancelling_an_argument_cancels_its_dependents(exe, mode, gate):
    for _ in range(mode.workers):
        gate.submit(exe)
    gate.arrivals(mode.workers)
    source = exe.submit(functions.identity, 1)
    dependent = exe.submit(functions.add, source, 1)
    last = exe.submit(functions.add, [dependent], 1)
    other = exe.submit(functions.identity, "other")
    assert source.cancel()
    for future in (dependent, last):
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(timeout=SOON)
        assert future.cancelled()
    gate.open()
    assert other.result(timeout=SOON) == "other"
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_a_cancelled_future_as_argument(exe, mode, gate):
    for _ in range(mode.workers):
        gate.submit(exe)
    gate.arrivals(mode.workers)
    source = exe.submit(functions.identity, 1)
    assert source.cancel()
    dependent = exe.submit(functions.identity, source)
    with pytest.raises(concurrent.futures.CancelledError):
        dependent.result(timeout=SOON)


def test_cancelling_a_dependent_spares_its_argument(exe, mode, gate):
    held = [gate.submit(exe, index) for index in range(mode.workers)]
    gate.arrivals(mode.workers)
    dependent = exe.submit(functions.identity, held[0])
    assert dependent.cancel()
    gate.open()
    assert [future.result(timeout=SOON) for future in held] == list(range(mode.workers))


def test_futures_of_a_thread_pool(exe):
    release = threading.Event()

    def wait_and_return(value):
        release.wait(SOON)
        return value

    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        pending = threads.submit(wait_and_return, 1)
        nested = exe.submit(functions.nested_total, {"a": [pending], "b": 2})
        release.set()
        assert nested.result(timeout=SOON) == 3
        assert exe.submit(functions.add, pending, 1).result(timeout=SOON) == 2
        failing = threads.submit(functions.divide, 1, 0)
        assert isinstance(exe.submit(functions.identity, failing).exception(timeout=SOON), ZeroDivisionError)


def test_a_bare_future_as_argument(exe):
    promise = concurrent.futures.Future()
    dependent = exe.submit(functions.add, promise, 1)
    closure = exe.submit(lambda: promise + 2)
    promise.set_result(1)
    assert dependent.result(timeout=SOON) == 2
    assert closure.result(timeout=SOON) == 3


def test_a_bare_future_that_is_cancelled(exe):
    promise = concurrent.futures.Future()
    dependent = exe.submit(functions.identity, promise)
    promise.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        dependent.result(timeout=SOON)
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_a_foreign_result_that_cannot_be_pickled(exe):
    promise = concurrent.futures.Future()
    dependent = exe.submit(functions.identity, promise)
    promise.set_result(threading.Lock())
    assert isinstance(dependent.exception(timeout=SOON), (TypeError, pickle.PicklingError))
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_futures_of_another_executor_of_ours(exe, make):
    other = make()
    there = other.submit(functions.identity, 1)
    back = exe.submit(functions.add, there, 1)
    assert other.submit(functions.add, [back][0], 1).result(timeout=SOON) == 3


def test_futures_of_the_other_mode(exe, mode):
    from executorlib import SingleNodeExecutor

    with SingleNodeExecutor(max_workers=1, block_allocation=not mode.block) as other:
        source = other.submit(functions.identity, [1, 2])
        assert exe.submit(functions.total, source).result(timeout=SOON) == 3


def test_a_dependent_outlives_the_executor_of_its_argument(exe, make, gate):
    other = make(max_workers=1)
    source = gate.submit(other, 1)
    dependent = exe.submit(functions.add, source, 1)
    other.shutdown(wait=False)
    gate.open()
    assert dependent.result(timeout=SOON) == 2


def test_shutdown_completes_calls_that_wait_for_arguments(exe, gate):
    future = gate.submit(exe, 0)
    for _ in range(5):
        future = exe.submit(functions.add, future, 1)
    gate.open()
    exe.shutdown(wait=True)
    assert future.done() and future.result() == 5


def test_disabled_dependencies_refuse_futures(make):
    exe = make(disable_dependencies=True)
    future = exe.submit(functions.identity, 1)
    with pytest.raises(ValueError, match="disable_dependencies"):
        exe.submit(functions.identity, future)
    with pytest.raises(ValueError, match="disable_dependencies"):
        exe.submit(functions.identity, [{"deep": future}])
    with pytest.raises(ValueError, match="disable_dependencies"):
        exe.submit(functions.identity, concurrent.futures.Future())
    assert exe.submit(functions.identity, future.result(timeout=SOON)).result(timeout=SOON) == 1


def test_submitting_inside_a_done_callback(exe):
    chained = concurrent.futures.Future()

    def submit_next(done):
        exe.submit(functions.add, done, 1).add_done_callback(lambda last: chained.set_result(last.result()))

    exe.submit(functions.identity, 1).add_done_callback(submit_next)
    assert chained.result(timeout=SOON) == 2
