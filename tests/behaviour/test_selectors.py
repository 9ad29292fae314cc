"""split_future() and get_item_from_future()."""

import asyncio
import concurrent.futures

import functions
import pytest
from support import SOON

from executorlib import get_item_from_future, split_future


def test_parts_of_a_tuple(exe):
    first, second = split_future(exe.submit(functions.identity, ("a", "b")), 2)
    assert isinstance(first, concurrent.futures.Future)
    assert (first.result(timeout=SOON), second.result(timeout=SOON)) == ("a", "b")
    assert first.done() and first.exception() is None


def test_item_of_a_dictionary(exe):
    future = exe.submit(functions.identity, {"x": 1, "y": 2})
    assert get_item_from_future(future, "y").result(timeout=SOON) == 2


def test_a_missing_item_fails_only_at_result(exe):
    pair = exe.submit(functions.identity, (1, 2))
    parts = split_future(pair, 3)
    missing = get_item_from_future(exe.submit(functions.identity, {}), key="x")
    assert parts[1].result(timeout=SOON) == 2
    with pytest.raises(IndexError):
        parts[2].result(timeout=SOON)
    with pytest.raises(KeyError):
        missing.result(timeout=SOON)


def test_none_stays_none(exe):
    nothing = exe.submit(functions.identity, None)
    assert [part.result(timeout=SOON) for part in split_future(nothing, 2)] == [None, None]
    assert get_item_from_future(nothing, "x").result(timeout=SOON) is None


def test_nesting(exe):
    future = exe.submit(functions.identity, ({"x": [1, 2]}, 3))
    inner = get_item_from_future(split_future(future, 2)[0], "x")
    assert split_future(inner, 2)[1].result(timeout=SOON) == 2


def test_as_arguments(exe):
    first, second = split_future(exe.submit(functions.identity, (1, 2)), 2)
    item = get_item_from_future(exe.submit(functions.identity, {"x": 10}), "x")
    assert exe.submit(functions.add, first, b=second).result(timeout=SOON) == 3
    assert exe.submit(functions.nested_total, [first, {"deep": (item,)}]).result(timeout=SOON) == 11
    nested = split_future(split_future(exe.submit(functions.identity, ((1, 2), 3)), 2)[0], 2)[1]
    assert exe.submit(functions.add, nested, 1).result(timeout=SOON) == 3


def test_a_missing_item_as_argument_fails_the_dependent(exe):
    part = split_future(exe.submit(functions.identity, (1, 2)), 3)[2]
    dependent = exe.submit(functions.identity, part)
    assert isinstance(dependent.exception(timeout=SOON), IndexError)
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_error_of_the_source(exe):
    source = exe.submit(functions.divide, 1, 0)
    part = split_future(source, 1)[0]
    with pytest.raises(ZeroDivisionError):
        part.result(timeout=SOON)
    assert isinstance(part.exception(timeout=SOON), ZeroDivisionError)
    assert isinstance(exe.submit(functions.identity, part).exception(timeout=SOON), ZeroDivisionError)


def test_cancel_reaches_the_source(exe, mode, gate):
    for _ in range(mode.workers):
        gate.submit(exe)
    gate.arrivals(mode.workers)
    source = exe.submit(functions.identity, (1, 2))
    part = split_future(source, 2)[0]
    assert not part.done() and not part.running()
    assert part.cancel()
    assert source.cancelled() and part.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        part.result(timeout=SOON)


def test_callbacks_run_once_when_the_source_is_done(exe, gate):
    source = gate.submit(exe, (1, 2))
    calls = []
    called = concurrent.futures.Future()
    part = split_future(source, 2)[1]
    part.add_done_callback(lambda done: (calls.append(done), called.set_result(done.done())))
    assert not calls
    gate.open()
    assert called.result(timeout=SOON) is True
    part.result(timeout=SOON)
    assert len(calls) == 1


def test_result_timeout(exe, gate):
    part = split_future(gate.submit(exe, (1,)), 1)[0]
    with pytest.raises(concurrent.futures.TimeoutError):
        part.result(timeout=0.01)
    gate.open()
    assert part.result(timeout=SOON) == 1


def test_wait(exe, gate):
    parts = split_future(gate.submit(exe, (1, 2)), 2)
    done, pending = concurrent.futures.wait(parts, timeout=0)
    assert not done and pending == set(parts)
    gate.open()
    done, pending = concurrent.futures.wait(parts, timeout=SOON)
    assert done == set(parts) and not pending


def test_as_completed(exe):
    parts = split_future(exe.submit(functions.identity, (1, 2)), 2)
    completed = list(concurrent.futures.as_completed(parts, timeout=SOON))
    assert len(completed) == 2
    assert sorted(part.result() for part in completed) == [1, 2]


def test_wait_with_source_and_selectors_mixed(exe, gate):
    source = gate.submit(exe, (1, 2))
    everything = [source, *split_future(source, 2), exe.submit(functions.identity, 3)]
    gate.open()
    done, pending = concurrent.futures.wait(everything, timeout=SOON)
    assert done == set(everything) and not pending


def test_asyncio(exe):
    async def gather():
        parts = split_future(exe.submit(functions.identity, ("a", "b")), 2)
        return await asyncio.gather(*map(asyncio.wrap_future, parts))

    assert asyncio.run(asyncio.wait_for(gather(), SOON)) == ["a", "b"]


def test_futures_of_other_executors(exe):
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        part = split_future(threads.submit(functions.identity, (1, 2)), 2)[1]
        assert part.result(timeout=SOON) == 2
        assert exe.submit(functions.add, part, 1).result(timeout=SOON) == 3


def test_one_payload_for_all_parts(exe):
    box = exe.submit(functions.identity, ([1], 2))
    part = split_future(box, 2)[0]
    assert part.result(timeout=SOON) is box.result(timeout=SOON)[0]
