"""map() and batched()."""

import concurrent.futures
import itertools

import functions
import pytest
from support import SOON


def test_results_come_in_order(exe):
    assert list(exe.map(functions.add, range(20), range(20), timeout=SOON)) == [2 * n for n in range(20)]


def test_shortest_iterable_decides(exe):
    assert list(exe.map(functions.add, range(3), range(10), timeout=SOON)) == [0, 2, 4]
    assert list(exe.map(functions.add, [], [1], timeout=SOON)) == []


@pytest.mark.parametrize("chunksize", [1, 3, 20, 100])
def test_chunksize_changes_nothing_in_the_results(exe, chunksize):
    assert list(exe.map(functions.add, range(20), range(20), chunksize=chunksize, timeout=SOON)) == [
        2 * n for n in range(20)
    ]


def test_chunksize_below_one(exe):
    with pytest.raises(ValueError):
        list(exe.map(functions.identity, [1], chunksize=0))


@pytest.mark.parametrize("chunksize", [1, 3])
@pytest.mark.parametrize("buffersize", [1, 2, 100])
def test_buffersize_changes_nothing_in_the_results(exe, buffersize, chunksize):
    found = exe.map(functions.add, range(20), range(20), buffersize=buffersize, chunksize=chunksize, timeout=SOON)
    assert list(found) == [2 * n for n in range(20)]


@pytest.mark.parametrize(("chunksize", "ahead"), [(1, 3), (2, 6)])
def test_items_are_taken_as_results_are_handed_out(exe, chunksize, ahead):
    taken = []

    def items():
        for number in itertools.count():
            taken.append(number)
            yield number

    found = exe.map(functions.identity, items(), buffersize=3, chunksize=chunksize, timeout=SOON)
    assert taken == list(range(ahead)), "calls are made before the first result is asked for, but no more"
    for number in range(10):
        assert next(found) == number
        assert len(taken) <= number + 1 + ahead + chunksize
    found.close()


def test_a_window_that_is_left_early_cancels_its_calls(make, make_gate, tmp_path):
    gate = make_gate()
    log, folder = str(tmp_path / "log"), gate.folder

    def call(number):
        functions.append_line(log, number)
        if number:
            functions.pass_gate(folder)

    with make(max_workers=1) as exe:
        found = exe.map(call, itertools.count(), buffersize=5, timeout=SOON)
        next(found)
        gate.arrivals(1)
        found.close()
        gate.open()
    assert (tmp_path / "log").read_text().split() == ["0", "1"]


def test_error_comes_at_its_place_in_a_window(exe):
    found = exe.map(functions.divide, [1, 2, 3, 4], [1, 0, 3, 4], buffersize=1, timeout=SOON)
    assert next(found) == 1
    with pytest.raises(ZeroDivisionError):
        next(found)


@pytest.mark.parametrize(
    ("buffersize", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError)]
)
def test_buffersize_that_makes_no_sense(exe, buffersize, error):
    with pytest.raises(error, match="buffersize"):
        exe.map(functions.identity, [1], buffersize=buffersize)


def test_a_chunk_runs_in_one_process(make, mode):
    if mode.block:
        pytest.skip("persistent workers run many calls anyway")
    pids = list(make().map(functions.worker_pid, range(8), chunksize=4, timeout=SOON))
    assert len(set(pids[:4])) == 1 and len(set(pids[4:])) == 1
    assert pids[0] != pids[4]


def test_error_comes_at_its_place(exe):
    results = exe.map(functions.divide, [1, 2, 3], [1, 0, 3], timeout=SOON)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_error_inside_a_chunk_spares_the_items_before_it(exe):
    results = exe.map(functions.divide, [1, 4, 1, 1], [1, 2, 0, 1], chunksize=2, timeout=SOON)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_calls_start_without_iteration(exe, tmp_path):
    log = tmp_path / "log"
    exe.map(functions.append_line, [str(log)] * 5, range(5))
    exe.shutdown(wait=True)
    assert sorted(log.read_text().split()) == list("01234")


def test_results_are_lazy(exe, mode, gate):
    results = exe.map(functions.pass_gate, [gate.folder] * 3, range(3))
    gate.arrivals(mode.workers)
    gate.open()
    assert next(results) == 0
    assert list(results) == [1, 2]


def test_timeout_counts_from_the_call_of_map(exe, gate):
    results = exe.map(functions.pass_gate, [gate.folder], timeout=0.05)
    with pytest.raises(concurrent.futures.TimeoutError):
        next(results)
    gate.open()


def test_leaving_the_iterator_cancels_what_has_not_started(exe, mode, gate, tmp_path):
    held = [gate.submit(exe) for _ in range(mode.workers)]
    gate.arrivals(mode.workers)
    log = tmp_path / "log"
    results = exe.map(functions.append_line, [str(log)] * 3, range(3), timeout=0)
    with pytest.raises(concurrent.futures.TimeoutError):
        next(results)
    gate.open()
    concurrent.futures.wait(held, timeout=SOON)
    exe.shutdown(wait=True)
    assert not log.exists()


def test_results_are_not_kept_by_the_iterator(exe):
    import gc
    import weakref

    for box in exe.map(functions.Box, range(5), timeout=SOON):
        reference = weakref.ref(box)
        del box
        gc.collect()
        assert reference() is None


def test_functions_by_value(exe):
    base = 100
    assert list(exe.map(lambda x: x + base, range(5), timeout=SOON)) == [100, 101, 102, 103, 104]


def test_unpicklable_item_fails_map_or_its_own_item(exe):
    import threading

    with pytest.raises(TypeError, match="pickle"):
        list(exe.map(functions.identity, [1, threading.Lock()], timeout=SOON))
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_items_may_be_futures(exe):
    futures = [exe.submit(functions.identity, n) for n in range(3)]
    assert list(exe.map(functions.add, futures, [10, 10, 10], timeout=SOON)) == [10, 11, 12]


def test_a_future_of_the_whole_iterable(exe):
    numbers = exe.submit(functions.identity, [1, 2, 3])
    assert list(exe.map(functions.add, numbers, [10, 20, 30], timeout=SOON)) == [11, 22, 33]


def test_endless_second_iterable(exe):
    assert list(exe.map(functions.add, [1, 2], itertools.count(), timeout=SOON)) == [1, 3]


def test_arrays_and_strings_are_iterables(exe):
    numpy = pytest.importorskip("numpy")
    rows = numpy.arange(6.0).reshape(3, 2)
    assert list(exe.map(numpy.sum, rows, timeout=SOON)) == [1.0, 5.0, 9.0]
    assert list(exe.map(str.upper, "abc", timeout=SOON)) == ["A", "B", "C"]


def test_map_after_shutdown(exe):
    exe.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        exe.map(functions.identity, [1])


def test_batched_makes_full_batches(exe):
    futures = [exe.submit(functions.identity, n) for n in range(6)]
    batches = exe.batched(futures, n=2)
    assert len(batches) == 3
    results = [batch.result(timeout=SOON) for batch in batches]
    assert all(len(batch) == 2 for batch in results)
    assert sorted(itertools.chain(*results)) == list(range(6))


def test_batched_ends_with_a_short_batch(exe):
    futures = [exe.submit(functions.identity, n) for n in range(5)]
    results = [batch.result(timeout=SOON) for batch in exe.batched(futures, n=2)]
    assert [len(batch) for batch in results] == [2, 2, 1]
    assert sorted(itertools.chain(*results)) == list(range(5))


def test_batched_takes_items_as_they_complete(make, make_gate):
    first_gate = make_gate()
    second_gate = make_gate()
    # One worker each, so that the order of completion is the order of the gates.
    slow, fast = make(max_workers=1), make(max_workers=1)
    late, early = first_gate.submit(slow, "late"), second_gate.submit(fast, "early")
    batches = make(max_workers=1).batched([late, early], n=1)
    second_gate.open()
    assert batches[0].result(timeout=SOON) == ["early"]
    first_gate.open()
    assert batches[1].result(timeout=SOON) == ["late"]


def test_batched_leaves_failed_items_out(exe):
    futures = [exe.submit(functions.divide, 6, n) for n in (1, 0, 2, 3)]
    results = [batch.result(timeout=SOON) for batch in exe.batched(futures, n=2)]
    assert sorted(itertools.chain(*results)) == [2.0, 3.0, 6.0]
    assert len(results) == 2


def test_batches_are_arguments(exe):
    futures = [exe.submit(functions.identity, n) for n in range(4)]
    sums = [exe.submit(functions.total, batch) for batch in exe.batched(futures, n=2)]
    assert sum(future.result(timeout=SOON) for future in sums) == 6


def test_batched_without_dependencies(make):
    exe = make(disable_dependencies=True)
    futures = [exe.submit(functions.identity, n) for n in range(3)]
    results = [batch.result(timeout=SOON) for batch in exe.batched(futures, n=2)]
    assert sorted(itertools.chain(*results)) == [0, 1, 2]
