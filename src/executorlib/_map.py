"""The two ends of `map`: items into chunks, futures into results."""

from __future__ import annotations

from _pickle import loads
from collections import deque
from concurrent.futures import Future
from itertools import islice
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any


def check_sizes(chunksize: int, buffersize: int | None) -> None:
    if chunksize < 1:
        raise ValueError(f"chunksize must be at least 1, not {chunksize}")
    if buffersize is None:
        return
    if not isinstance(buffersize, int):
        raise TypeError(f"buffersize must be an integer or None, not {buffersize!r}")
    if buffersize < 1:
        raise ValueError(f"buffersize must be at least 1, not {buffersize}")


def resolve(iterables: tuple) -> tuple:
    """`iterables` with each future of a whole iterable replaced by its result, which is waited for."""
    return tuple(item.result() if isinstance(item, Future) else item for item in iterables)


def chunks(iterables: tuple[Iterable, ...], size: int) -> Iterator[list[tuple]]:
    """Lists of up to `size` argument tuples."""
    calls = zip(*iterables, strict=False)
    while chunk := list(islice(calls, size)):
        yield chunk


def results(futures: list[Future], deadline: float | None) -> Iterator[Any]:
    """The results in order, as they are asked for; a consumer that leaves early cancels the rest.

    Parameters:
        futures: is emptied, so that each result is freed once it was handed out.
        deadline: on the monotonic clock, in seconds; None waits without limit.
    """
    futures.reverse()
    try:
        while futures:
            yield _take(futures.pop, deadline)
    finally:
        for future in futures:
            future.cancel()


def windowed(submit: Callable, calls: Iterable[tuple], size: int, deadline: float | None) -> Iterator[Any]:
    """The results in order, of calls that are submitted as results are handed out: `size` are on their way at a time.

    Parameters:
        submit: makes one call of a tuple of arguments.
        calls: may be endless.
        deadline: on the monotonic clock, in seconds; None waits without limit.
    """
    coming = iter(calls)
    return _refilled(deque(submit(*items) for items in islice(coming, size)), submit, coming, deadline)


def _refilled(futures: deque, submit: Callable, coming: Iterator[tuple], deadline: float | None) -> Iterator[Any]:
    try:
        while futures:
            result = _take(futures.popleft, deadline)
            futures.extend(submit(*items) for items in islice(coming, 1))
            yield result
            del result
    finally:
        for future in futures:
            future.cancel()


def chained(chunk_results: Iterator[list]) -> Iterator[Any]:
    """The items of each list; closing this closes `chunk_results`."""
    try:
        for chunk in chunk_results:
            chunk.reverse()
            while chunk:
                yield chunk.pop()
    finally:
        chunk_results.close()  # type: ignore[attr-defined]


class Pace:
    """How long calls of a function take, as seen by earlier maps; decides how many go in one message.

    A call of some ten microseconds costs less than its own message. Once a map has shown that calls of a function are
    that short, later maps send them in batches. A batch takes between a tenth of a millisecond, which is what waking
    one more worker costs, and a millisecond; within that, every worker has one.
    """

    SHORT = 1e-3  # seconds: longer calls always go one by one
    LEAST, MOST = 1e-4, 1e-3  # seconds that a batch may take

    __slots__ = ("_seconds",)

    def __init__(self) -> None:
        self._seconds: dict[Any, float] = {}

    def batch_size(self, key: Any, count: int, workers: int) -> int:
        seconds = self._seconds.get(key)
        if seconds is None or seconds > self.SHORT:
            return 1
        seconds = max(seconds, 1e-6)
        share = -(-count // workers)
        return max(1, int(min(max(share, self.LEAST / seconds), self.MOST / seconds)))

    def note(self, key: Any, seconds: float) -> None:
        if len(self._seconds) > 1000:
            self._seconds.clear()
        self._seconds[key] = seconds


def pace_key(function: Any) -> Any:
    """Functions made by the same code share their pace, and so do instances of one class."""
    return getattr(function, "__code__", None) or type(function)


def timed(results: Iterator[Any], pace: Pace, key: Any, count: int, workers: int, started: float) -> Iterator[Any]:
    """Passes the results on, and notes when all are there what the pace was at most."""
    yield from results
    if count:
        pace.note(key, (monotonic() - started) * min(workers, count) / count)


def batched_results(batches: Iterator[tuple], pace: Pace, key: Any) -> Iterator[Any]:
    """The items of each batch, whose pace is noted; raises what ended one. Closing this closes `batches`."""
    try:
        for values, failure, seconds in batches:
            if values:
                pace.note(key, seconds / len(values))
            yield from values
            if failure is not None:
                from executorlib._errors import set_remote_cause

                exception, traceback = loads(failure)
                set_remote_cause(exception, traceback)
                raise exception
    finally:
        batches.close()  # type: ignore[attr-defined]


def _take(pop: Callable[[], Future], deadline: float | None) -> Any:
    future = pop()
    try:
        return future.result(None if deadline is None else deadline - monotonic())
    finally:
        future.cancel()
        del future  # an exception on its way out must not keep it alive
