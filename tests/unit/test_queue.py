"""Queues of futures, and futures among arguments."""

import queue
from concurrent.futures import Future

import pytest

from executorlib._queue import PendingCalls
from executorlib.api import cancel_items_in_queue
from executorlib.standalone.interactive.arguments import get_future_objects_from_input


def test_cancelling_empties_the_queue():
    que, future = queue.Queue(), Future()
    for item in ({"future": future}, {"shutdown": True}, 3):
        que.put(item)
    cancel_items_in_queue(que)
    assert future.cancelled()
    assert que.empty()
    que.join()


def test_pending_calls_can_be_counted_only():
    pending = PendingCalls([1, 2])
    assert isinstance(pending, queue.Queue)
    assert pending.qsize() == 2
    assert not pending.empty()
    for access in (pending.get, pending.get_nowait, lambda: pending.put(1), lambda: pending.put_nowait(1)):
        with pytest.raises(NotImplementedError):
            access()


def test_futures_among_arguments():
    a, b, c, d = (Future() for _ in range(4))
    assert get_future_objects_from_input((a, [1, [b]], (d,)), {"x": {"y": c}, "z": 1}) == [a, b, c]
