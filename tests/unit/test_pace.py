"""How many calls of a map go in one message, and what that is learned from."""

import functools
import time

import pytest

from executorlib._errors import RemoteTraceback
from executorlib._map import Pace, batched_results, pace_key, timed
from executorlib._worker import Batch


def size(seconds, count, workers):
    pace = Pace()
    pace.note("function", seconds)
    return pace.batch_size("function", count, workers)


def test_what_nobody_has_timed_goes_one_by_one():
    assert Pace().batch_size("function", 1000, 2) == 1


@pytest.mark.parametrize("seconds", [0.7e-3, 1e-3, 1.1e-3, 5.0])
def test_long_calls_go_one_by_one(seconds):
    assert size(seconds, 1000, 2) == 1


@pytest.mark.parametrize(
    ("seconds", "count", "workers", "expected"),
    [
        (10e-6, 60, 2, 30),  # each worker has one
        (10e-6, 61, 2, 31),
        (10e-6, 1000, 2, 100),  # none takes more than a millisecond
        (10e-6, 100_000, 2, 100),
        (10e-6, 8, 4, 10),  # nor less than a tenth of one: a second worker is not worth waking
        (100e-6, 8, 4, 2),
        (100e-6, 3, 8, 1),
        (600e-6, 100, 2, 1),
    ],
)
def test_short_calls_go_in_batches(seconds, count, workers, expected):
    assert size(seconds, count, workers) == expected


@pytest.mark.parametrize("seconds", [0.0, 1e-12, 1e-9])
def test_a_batch_of_no_ops_is_not_endless(seconds):
    assert size(seconds, 10**6, 2) == 1000


def test_a_size_is_at_least_one():
    for seconds in (0.0, 1e-6, 1e-4, 1e-3, 1.0):
        for count in (0, 1, 2):
            for workers in (1, 7):
                assert size(seconds, count, workers) >= 1


def test_the_latest_note_counts():
    pace = Pace()
    pace.note("function", 10e-6)
    pace.note("function", 1.0)
    assert pace.batch_size("function", 1000, 2) == 1


def test_it_remembers_only_so_many_functions():
    pace = Pace()
    for number in range(5000):
        pace.note(number, 10e-6)
    assert len(pace._seconds) <= 1001
    assert pace.batch_size(4999, 1000, 2) == 100


def test_what_shares_a_pace():
    def make():
        return lambda x: x

    class Model:
        def __call__(self, x):
            return x

    assert pace_key(make()) == pace_key(make())
    assert pace_key(Model()) == pace_key(Model()) == Model
    assert pace_key(len) == pace_key(abs), "built-in functions have one class"
    assert pace_key(make()) != pace_key(Model())
    assert pace_key(functools.partial(make)) == functools.partial


def test_calls_one_by_one_are_noted_when_all_are_there():
    pace = Pace()
    results = timed(iter("abcd"), pace, "function", 4, 2, time.monotonic() - 4e-5)
    assert next(results) == "a"
    assert not pace._seconds
    assert list(results) == ["b", "c", "d"]
    assert pace._seconds["function"] >= 2e-5, "two workers had 40 µs for four calls"


def test_a_map_of_nothing_is_not_noted():
    pace = Pace()
    assert list(timed(iter(()), pace, "function", 0, 2, 0.0)) == []
    assert not pace._seconds


def run(function, *batches):
    """What workers answer to these batches, as an iterator that can be closed."""
    yield from [Batch(function)(batch) for batch in batches]


def test_batches_are_noted_one_by_one():
    pace = Pace()
    results = batched_results(run(abs, [(-1,), (-2,)], [(-3,)]), pace, "function")
    assert next(results) == 1
    first = pace._seconds["function"]
    assert first > 0
    pace._seconds.clear()
    assert list(results) == [2, 3]
    assert pace._seconds["function"] > 0


def test_a_batch_is_timed_where_it_runs():
    started = time.perf_counter()
    values, failure, seconds = Batch(lambda pause: time.sleep(pause))([(0.001,), (0.001,)])
    assert (values, failure) == ([None, None], None)
    assert 0.002 <= seconds <= time.perf_counter() - started


def test_the_failure_of_a_batch_comes_in_its_place():
    pace = Pace()
    results = batched_results(run(abs, [(-1,), ("two",), (-3,)], [(-4,)]), pace, "function")
    assert next(results) == 1
    with pytest.raises(TypeError, match="str") as failure:
        next(results)
    assert isinstance(failure.value.__cause__, RemoteTraceback)
    assert list(results) == []


def test_a_batch_whose_first_call_fails_says_nothing_about_the_pace():
    pace = Pace()
    with pytest.raises(TypeError):
        list(batched_results(run(abs, [("one",)]), pace, "function"))
    assert not pace._seconds


def test_closing_the_results_closes_the_batches():
    batches = run(abs, [(-1,), (-2,)], [(-3,)])
    results = batched_results(batches, Pace(), "function")
    assert next(results) == 1
    results.close()
    assert list(batches) == []
