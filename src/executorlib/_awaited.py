"""Futures of calls whose results other programs will write."""

from __future__ import annotations

import os
from threading import Lock, Thread
from time import sleep

from executorlib import _cache_entry, _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures import Future

# Seconds between two looks: at first, and at most. Nothing tells of a file that another host writes.
_SOONEST, _LATEST = 0.02, 2.0

_lock = Lock()
_awaited: list[tuple[str, Future]] = []
_watching = False


def awaited(path: str) -> Future:
    """A future that ends when the file is there."""
    global _watching
    future: Future = _core.Future()
    with _lock:
        _awaited.append((path, future))
        start, _watching = not _watching, True
    if start:
        Thread(target=_watch, name="executorlib-awaited", daemon=True).start()
    return future


def _watch() -> None:
    global _awaited, _watching
    pause = _SOONEST
    while True:
        with _lock:
            there = [item for item in _awaited if os.path.exists(item[0]) or item[1].done()]
            _awaited = [item for item in _awaited if item not in there]
            if not _awaited and not there:
                _watching = False
                return
        for path, future in there:
            _finish(path, future)
        pause = _SOONEST if there else min(pause * 1.5, _LATEST)
        sleep(pause)


def _finish(path: str, future: Future) -> None:
    if future.done() or not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(_cache_entry.load(path))
    except BaseException as error:
        future.set_exception(error)
