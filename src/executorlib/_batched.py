"""Futures grouped in the order in which they finish."""

from __future__ import annotations

from collections import deque
from concurrent.futures import CancelledError, Future
from threading import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def batched(futures: Iterable[Future], n: int) -> list[Future]:
    """One future per batch of `n` results; `BaseExecutor.batched` documents it."""
    if n < 1:
        raise ValueError(f"a batch needs at least one item, not {n}")
    futures = list(futures)
    batches = _Batches(len(futures), n)
    outputs = list(batches.outputs)
    for future in futures:
        future.add_done_callback(batches.add)
    return outputs


class _Batches:
    """Collects finished futures and completes one output per `size` of those that succeeded."""

    def __init__(self, count: int, size: int) -> None:
        self.outputs: deque[Future] = deque(Future() for _ in range(-(-count // size)))
        self._size = size
        self._missing = count
        self._batch: list[Future] = []
        self._errors: list[BaseException] = []
        self._lock = Lock()  # guards all of the above; results are read and outputs completed outside of it

    def add(self, future: Future) -> None:
        error = CancelledError() if future.cancelled() else future.exception()
        with self._lock:
            self._missing -= 1
            if error is None:
                self._batch.append(future)
            else:
                self._errors.append(error)
            full = self._take_batch()
            unfilled = list(self.outputs) if self._missing == 0 else []
        if full is not None:
            _complete(*full)
        # As many outputs as results that will never come: each tells a different reason.
        for output, failure in zip(unfilled, self._errors[:: self._size], strict=False):
            if output.set_running_or_notify_cancel():
                output.set_exception(failure)

    def _take_batch(self) -> tuple[Future, list[Future]] | None:
        if len(self._batch) == self._size or (self._batch and self._missing == 0):
            batch, self._batch = self._batch, []
            return self.outputs.popleft(), batch
        return None


def _complete(output: Future, batch: list[Future]) -> None:
    if output.set_running_or_notify_cancel():
        output.set_result([future.result() for future in batch])
