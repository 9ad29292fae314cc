"""A thread for what may take long, such as a scheduler's commands while it does not answer."""

from __future__ import annotations

import threading
from queue import SimpleQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Errands:
    """Does one thing after the other, in a thread that starts with the first.

    Parameters:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def add(self, errand: Callable[[], None]) -> None:
        """Do something, which must not raise, after all that was added before."""
        self._queue.put(errand)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def finish(self) -> None:
        """Wait until all is done."""
        done = threading.Event()
        if self._thread is not None:
            self.add(done.set)
            done.wait()

    def close(self) -> None:
        """End the thread once all is done, without waiting for it."""
        self._queue.put(None)
        self._thread = None

    def _run(self) -> None:
        while (errand := self._queue.get()) is not None:
            errand()
