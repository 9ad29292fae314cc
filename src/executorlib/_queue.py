"""The queue of pending calls, as others may look at it."""

from __future__ import annotations

from queue import Queue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sized
    from typing import Any, NoReturn


class PendingCalls(Queue):
    """Tells how many calls are pending. They enter through `submit` only, and nobody else can take them out."""

    def __init__(self, pool: Sized) -> None:
        super().__init__()
        self._pool = pool

    def _qsize(self) -> int:
        return len(self._pool)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> NoReturn:
        raise NotImplementedError("calls are added with submit()")

    def get(self, block: bool = True, timeout: float | None = None) -> NoReturn:
        raise NotImplementedError("pending calls belong to the executor")
