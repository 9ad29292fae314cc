"""Logging of how large calls and results are."""

from __future__ import annotations

import logging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from executorlib import _core

_logger = logging.getLogger("executorlib")


class SizeLoggingPool:
    """A pool that logs, as warnings, the bytes each call sends and receives."""

    def __init__(self, pool: _core.Pool) -> None:
        self._pool = pool

    def submit(self, *args: Any) -> _core.Future:
        return _logged(self._pool.submit(*args))

    def map(self, *args: Any) -> list[_core.Future]:
        return [_logged(future) for future in self._pool.map(*args)]

    def __len__(self) -> int:
        return len(self._pool)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)


def _logged(future: _core.Future) -> _core.Future:
    _logger.warning("Send dictionary of size: %d", future._nbytes_sent)
    future.add_done_callback(_log_received)
    return future


def _log_received(future: Any) -> None:
    if not future.cancelled():
        _logger.warning("Received dictionary of size: %d", future._nbytes_received)
