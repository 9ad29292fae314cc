"""Futures of single items."""

import asyncio
import concurrent.futures
import pickle
import threading

import pytest

from executorlib import _core, get_item_from_future, split_future
from executorlib.standalone.select import FutureSelector

Future = concurrent.futures.Future
SOON = 5


def test_items_of_a_tuple():
    source = Future()
    first, second = split_future(source, 2)
    assert not first.done()
    source.set_result((1, None))
    assert (first.result(SOON), second.result(SOON)) == (1, None)
    assert first.exception(SOON) is None
    assert first.done()


def test_item_of_a_dictionary():
    source = Future()
    source.set_result({"a": 3})
    assert get_item_from_future(source, key="a").result(SOON) == 3


def test_it_is_a_future_with_known_parts():
    source = Future()
    item = FutureSelector(source, 2)
    assert isinstance(item, Future)
    assert (item._future, item._selector) == (source, 2)
    assert "2" in repr(item)


def test_none_stays_none():
    source = Future()
    source.set_result(None)
    assert FutureSelector(source, 0).result(SOON) is None


def test_a_missing_item_shows_in_the_result_only():
    source = Future()
    item = FutureSelector(source, 5)
    source.set_result([1])
    with pytest.raises(IndexError):
        item.result(SOON)
    assert isinstance(item.exception(SOON), IndexError)


def test_the_source_fails():
    source = Future()
    item = FutureSelector(source, 0)
    source.set_exception(KeyError("x"))
    with pytest.raises(KeyError):
        item.result(SOON)
    assert isinstance(item.exception(SOON), KeyError)


def test_it_can_be_waited_for_with_a_limit():
    with pytest.raises(concurrent.futures.TimeoutError):
        FutureSelector(Future(), 0).result(0)


def test_selectors_nest():
    source = Future()
    inner = FutureSelector(FutureSelector(source, "a"), 1)
    called = []
    inner.add_done_callback(called.append)
    source.set_result({"a": [1, 2]})
    assert inner.result(SOON) == 2
    assert called == [inner]


def test_cancelling_reaches_the_source():
    source = Future()
    first, second = split_future(source, 2)
    assert first.cancel()
    assert source.cancelled()
    assert second.cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        second.result(SOON)


def test_cancelling_comes_too_late():
    source = Future()
    source.set_running_or_notify_cancel()
    item = FutureSelector(source, 0)
    assert item.running()
    assert not item.cancel()


def test_callbacks_get_the_selector_once():
    source = Future()
    item = FutureSelector(source, 0)
    called = []
    item.add_done_callback(called.append)
    source.set_result([1])
    item.add_done_callback(called.append)
    assert called == [item, item]


def test_as_completed_tells_selectors_of_one_source_apart():
    source = Future()
    items = split_future(source, 3)
    timer = threading.Timer(0, source.set_result, ["abc"])
    timer.start()
    assert {item.result() for item in concurrent.futures.as_completed(items, SOON)} == set("abc")
    timer.join()


@pytest.mark.parametrize("watched_first", [True, False])
def test_wait(watched_first):
    source = Future()
    items = split_future(source, 2)
    if not watched_first:
        source.set_result("ab")
        assert concurrent.futures.wait(items, SOON).done == set(items)
        return
    answer = []
    waiting = threading.Event()

    def wait():
        waiting.set()
        answer.append(concurrent.futures.wait(items, SOON))

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait(SOON)
    source.set_result("ab")
    thread.join(SOON)
    assert answer[0].done == set(items)


def test_wait_ends_when_the_source_is_cancelled():
    source = Future()
    items = split_future(source, 2)
    for item in items:
        item.add_done_callback(lambda _: None)
    source.cancel()
    source.set_running_or_notify_cancel()
    assert concurrent.futures.wait(items, SOON).not_done == set()


def test_wait_for_the_first_exception():
    source, other = Future(), Future()
    source.set_result([1])
    missing = FutureSelector(source, 3)
    done = concurrent.futures.wait([missing, other], SOON, return_when=concurrent.futures.FIRST_EXCEPTION).done
    assert done == {missing}


@pytest.mark.parametrize(("result", "outcome"), [([7], 7), ([], IndexError)])
def test_asyncio(result, outcome):
    async def item():
        source = Future()
        future = asyncio.wrap_future(FutureSelector(source, 0))
        source.set_result(result)
        return await asyncio.wait_for(future, SOON)

    if outcome is IndexError:
        with pytest.raises(IndexError):
            asyncio.run(item())
    else:
        assert asyncio.run(item()) == outcome


def test_threads_may_watch_it_first_together():
    source = Future()
    item = FutureSelector(source, 0)
    start = threading.Barrier(8)
    called = []

    def watch():
        start.wait(SOON)
        item.add_done_callback(called.append)

    threads = [threading.Thread(target=watch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    source.set_result([1])
    assert called == [item] * 8


def test_being_watched_again_loses_nothing():
    """As when a second thread finds it unwatched while the first one changes that."""
    source = Future()
    item = FutureSelector(source, 0)
    called = []
    item.add_done_callback(called.append)
    item._watch()
    source.set_result([1])
    assert called == [item]


def test_it_is_pickled_only_as_an_argument(monkeypatch):
    source = Future()
    item = FutureSelector(source, 1)
    with pytest.raises(TypeError, match="argument of a submitted call"):
        pickle.dumps(item)
    monkeypatch.setattr(_core, "submitting", lambda: True)
    function, arguments = item.__reduce__()
    assert function is _core.select_item
    assert arguments == (source, 1)


def test_the_worker_selects_as_the_future_does():
    assert _core.select_item([1, 2], 1) == 2
    assert _core.select_item({"a": 1}, "a") == 1
    assert _core.select_item(None, 1) is None
    with pytest.raises(IndexError):
        _core.select_item([], 0)
