"""Queues of calls."""

from __future__ import annotations

from queue import Empty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from queue import Queue


def cancel_items_in_queue(que: Queue) -> None:
    """Empty a queue and cancel the futures in it.

    Parameters:
        que (Queue): holds dictionaries; the entry "future" of each, if it has one, is cancelled.

    Example:
        >>> from concurrent.futures import Future
        >>> from queue import Queue
        >>> que, future = Queue(), Future()
        >>> que.put({"future": future})
        >>> cancel_items_in_queue(que)
        >>> future.cancelled()
        True
    """
    while True:
        try:
            item = que.get_nowait()
        except Empty:
            return
        if isinstance(item, dict) and "future" in item:
            item["future"].cancel()
        que.task_done()
