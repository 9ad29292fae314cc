"""Our futures among the tools that expect standard ones."""

import asyncio
import concurrent.futures
import copy
import gc
import logging
import pickle
import threading
import weakref

import functions
import pytest
from support import SOON


def test_wait_returns_when(exe, mode, make_gate):
    first, second = make_gate(), make_gate()
    done = exe.submit(functions.identity, 1)
    done.result(timeout=SOON)
    held = first.submit(exe)
    finished, pending = concurrent.futures.wait([done, held], return_when=concurrent.futures.FIRST_COMPLETED)
    assert finished == {done} and pending == {held}
    first.open()
    assert concurrent.futures.wait([done, held], timeout=SOON).done == {done, held}
    failing = exe.submit(functions.divide, 1, 0)
    late = second.submit(exe)
    finished, _ = concurrent.futures.wait([failing, late], timeout=SOON, return_when=concurrent.futures.FIRST_EXCEPTION)
    assert finished == {failing}
    second.open()
    late.result(timeout=SOON)


def test_as_completed(exe):
    futures = {exe.submit(functions.identity, n): n for n in range(20)}
    seen = {futures[future]: future.result() for future in concurrent.futures.as_completed(futures, timeout=SOON)}
    assert seen == {n: n for n in range(20)}


def test_as_completed_with_futures_of_other_executors(exe):
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        futures = [pool.submit(functions.identity, n) for n in range(5) for pool in (exe, threads)]
        results = sorted(future.result() for future in concurrent.futures.as_completed(futures, timeout=SOON))
    assert results == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_callbacks_before_and_after_the_end(exe, gate):
    future = gate.submit(exe, "value")
    calls = []
    called = threading.Event()
    future.add_done_callback(lambda done: (calls.append(("before", done.result())), called.set()))
    gate.open()
    assert future.result(timeout=SOON) == "value"
    assert called.wait(SOON)
    future.add_done_callback(lambda done: calls.append(("after", done.result())))
    assert calls == [("before", "value"), ("after", "value")]


def test_callbacks_run_in_the_order_they_were_added(exe, gate):
    future = gate.submit(exe)
    order = []
    last = threading.Event()
    for number in range(10):
        future.add_done_callback(lambda _, number=number: order.append(number))
    future.add_done_callback(lambda _: last.set())
    gate.open()
    assert last.wait(SOON)
    assert order == list(range(10))


def test_callback_gets_the_future_itself(exe):
    got = concurrent.futures.Future()
    future = exe.submit(functions.identity, 1)
    future.add_done_callback(got.set_result)
    assert got.result(timeout=SOON) is future


def test_callbacks_of_failed_and_cancelled_calls(exe, mode, gate):
    for _ in range(mode.workers):
        gate.submit(exe)
    gate.arrivals(mode.workers)
    cancelled = exe.submit(functions.identity, 1)
    failing = exe.submit(functions.divide, 1, 0)
    seen = []
    ended = threading.Event()
    cancelled.add_done_callback(lambda future: seen.append(future.cancelled()))
    failing.add_done_callback(lambda future: (seen.append(type(future.exception())), ended.set()))
    cancelled.cancel()
    gate.open()
    assert ended.wait(SOON)
    assert seen == [True, ZeroDivisionError]


def test_error_in_a_callback_is_logged_and_harms_nothing(exe, gate, caplog):
    future = gate.submit(exe, "value")
    last = threading.Event()
    future.add_done_callback(lambda _: 1 // 0)
    future.add_done_callback(lambda _: last.set())
    with caplog.at_level(logging.ERROR, logger="concurrent.futures"):
        gate.open()
        assert last.wait(SOON)
    records = [record for record in caplog.records if record.name == "concurrent.futures"]
    assert len(records) == 1 and records[0].exc_info[0] is ZeroDivisionError
    assert future.result(timeout=SOON) == "value"
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_a_dropped_future_still_calls_back(exe, gate):
    called = threading.Event()
    gate.submit(exe).add_done_callback(lambda _: called.set())
    gc.collect()
    gate.open()
    assert called.wait(SOON)


def test_running_in_an_event_loop(exe):
    async def main():
        loop = asyncio.get_running_loop()
        numbers = await asyncio.gather(*(loop.run_in_executor(exe, functions.add, n, 1) for n in range(10)))
        wrapped = await asyncio.wrap_future(exe.submit(functions.add, 1, 2))
        try:
            await asyncio.wrap_future(exe.submit(functions.divide, 1, 0))
        except ZeroDivisionError as error:
            return numbers, wrapped, error

    numbers, wrapped, error = asyncio.run(asyncio.wait_for(main(), SOON))
    assert (numbers, wrapped) == (list(range(1, 11)), 3) and type(error) is ZeroDivisionError


def test_cancelling_in_an_event_loop(exe, mode, gate):
    for _ in range(mode.workers):
        gate.submit(exe)
    gate.arrivals(mode.workers)
    waiting = exe.submit(functions.identity, 1)

    async def main():
        wrapped = asyncio.wrap_future(waiting)
        wrapped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wrapped

    asyncio.run(asyncio.wait_for(main(), SOON))
    gate.open()
    assert concurrent.futures.wait([waiting], timeout=SOON).done and waiting.cancelled()


def test_waiting_from_many_threads(exe, gate):
    future = gate.submit(exe, ["value"])
    results = []
    threads = [threading.Thread(target=lambda: results.append(future.result(timeout=SOON))) for _ in range(8)]
    for thread in threads:
        thread.start()
    gate.open()
    for thread in threads:
        thread.join()
    assert len(results) == 8 and all(result is results[0] for result in results)


def test_becoming_observed_races_with_completing(exe, mode):
    """Each future is watched at another moment of its life; none may be lost or called back twice."""
    rounds = 300 if mode.block else 60
    for number in range(rounds):
        future = exe.submit(functions.identity, number)
        for _ in range(number % 17):
            future.done()
        called = []
        future.add_done_callback(called.append)
        assert future.result(timeout=SOON) == number
        assert concurrent.futures.wait([future], timeout=SOON).not_done == set()
        done = threading.Event()
        future.add_done_callback(lambda _, done=done: done.set())
        assert done.wait(SOON)
        assert called == [future]


def test_weak_references(exe):
    future = exe.submit(functions.identity, 1)
    reference = weakref.ref(future)
    table = weakref.WeakKeyDictionary({future: "entry"})
    assert reference() is future and table[future] == "entry"
    assert future.result(timeout=SOON) == 1
    del future
    gc.collect()
    assert reference() is None and len(table) == 0


def test_a_dropped_future_releases_its_result(exe):
    future = exe.submit(functions.Box, "result")
    result = weakref.ref(future.result(timeout=SOON))
    assert result() is not None
    del future
    gc.collect()
    assert result() is None


def test_reference_cycles_through_a_future_are_collected(exe):
    future = exe.submit(functions.identity, 1)
    future.result(timeout=SOON)
    box = functions.Box(future)
    future.owner = box
    reference = weakref.ref(box)
    del box, future
    gc.collect()
    assert reference() is None


def test_equality_and_hash_are_identity(exe):
    one, other = exe.submit(functions.identity, 1), exe.submit(functions.identity, 1)
    assert one == one and one != other and len({one, other, one}) == 2


def test_repr_shows_the_state(exe, gate):
    future = gate.submit(exe, "value")
    gate.arrival()
    assert "running" in repr(future)
    gate.open()
    future.result(timeout=SOON)
    assert "finished" in repr(future)


@pytest.mark.parametrize("refuse", [pickle.dumps, copy.deepcopy], ids=["pickle", "deepcopy"])
def test_a_future_is_pickled_only_inside_a_submission(exe, refuse):
    future = exe.submit(functions.identity, 1)
    with pytest.raises((TypeError, pickle.PicklingError), match="pickle|future|Future"):
        refuse(future)
    with pytest.raises((TypeError, pickle.PicklingError)):
        refuse([future])
    assert exe.submit(functions.identity, future).result(timeout=SOON) == 1


def test_a_pickler_of_a_call_may_submit(exe):
    """Pickling an argument runs user code, which may use the executor itself."""

    class SubmitsWhilePickled:
        def __reduce__(self):
            return functions.identity, (exe.submit(functions.add, 1, 2).result(timeout=SOON),)

    assert exe.submit(functions.identity, SubmitsWhilePickled()).result(timeout=SOON) == 3


def test_a_worker_does_not_return_a_future(exe):
    def make_future():
        return concurrent.futures.Future()

    assert isinstance(exe.submit(make_future).exception(timeout=SOON), (TypeError, pickle.PicklingError))
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_states_of_a_cancelled_future(exe, mode, gate):
    for _ in range(mode.workers):
        gate.submit(exe)
    gate.arrivals(mode.workers)
    future = exe.submit(functions.identity, 1)
    assert not future.done() and not future.running() and not future.cancelled()
    assert future.cancel() and future.cancel()
    for method in (future.result, future.exception):
        with pytest.raises(concurrent.futures.CancelledError):
            method(timeout=SOON)
    gate.open()


def test_result_cannot_be_set_by_the_user_after_the_end(exe):
    future = exe.submit(functions.identity, 1)
    future.result(timeout=SOON)
    with pytest.raises(concurrent.futures.InvalidStateError):
        future.set_result(2)
    assert future.result() == 1
