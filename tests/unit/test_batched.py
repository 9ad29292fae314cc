"""Batches of futures."""

import concurrent.futures
import gc
import weakref

import pytest

from executorlib._batched import batched

Future = concurrent.futures.Future
SOON = 5


def finished(value):
    future = Future()
    future.set_result(value)
    return future


def failed(error):
    future = Future()
    future.set_exception(error)
    return future


def results(batches):
    return [batch.result(SOON) for batch in batches]


def test_full_batches():
    assert results(batched([finished(i) for i in range(4)], n=2)) == [[0, 1], [2, 3]]


def test_the_last_batch_may_be_short():
    assert results(batched([finished(i) for i in range(5)], n=3)) == [[0, 1, 2], [3, 4]]


def test_nothing():
    assert batched([], n=2) == []


def test_the_order_is_that_of_completion():
    futures = [Future() for _ in range(4)]
    batches = batched(iter(futures), n=2)
    for index in (3, 1):
        futures[index].set_result(index)
    assert batches[0].result(SOON) == [3, 1]
    assert not batches[1].done()
    for index in (2, 0):
        futures[index].set_result(index)
    assert batches[1].result(SOON) == [2, 0]


def test_failures_are_left_out():
    futures = [finished(0), failed(KeyError()), finished(2), finished(3)]
    assert results(batched(futures, n=2)) == [[0, 2], [3]]


def test_cancelled_calls_are_left_out():
    futures = [Future(), finished(1), finished(2)]
    futures[0].cancel()
    assert results(batched(futures, n=2)[:1]) == [[1, 2]]


@pytest.mark.parametrize("good", range(7))
@pytest.mark.parametrize("n", [1, 2, 3, 7, 9])
def test_every_batch_ends(good, n):
    futures = [finished(i) for i in range(good)] + [failed(KeyError(i)) for i in range(6 - good + 1)]
    batches = batched(futures, n)
    assert len(batches) == -(-len(futures) // n)
    full = -(-good // n)
    assert sorted(item for batch in results(batches[:full]) for item in batch) == list(range(good))
    assert all(isinstance(batch.exception(SOON), KeyError) for batch in batches[full:])


def test_all_fail():
    errors = [KeyError(0), ValueError(1), OSError(2)]
    batches = batched([failed(error) for error in errors], n=2)
    assert [batch.exception(SOON) for batch in batches] == [errors[0], errors[2]]


def test_a_cancelled_call_alone():
    future = Future()
    future.cancel()
    (batch,) = batched([future], n=2)
    with pytest.raises(concurrent.futures.CancelledError):
        batch.result(SOON)


def test_a_cancelled_batch_harms_no_other():
    futures = [Future() for _ in range(4)]
    first, second = batched(futures, n=2)
    assert first.cancel()
    for index, future in enumerate(futures):
        future.set_result(index)
    assert first.cancelled()
    assert second.result(SOON) == [2, 3]


@pytest.mark.parametrize("n", [0, -1])
def test_an_impossible_size(n):
    with pytest.raises(ValueError, match="at least one"):
        batched([finished(1)], n)


def test_results_are_freed_with_their_batch():
    class Result:
        pass

    future = Future()
    batches = batched([future], n=1)
    future.set_result(Result())
    reference = weakref.ref(future.result())
    del future, batches
    gc.collect()
    assert reference() is None
