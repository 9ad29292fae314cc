"""The two ends of `map`: items into chunks, futures into results."""

from __future__ import annotations

from concurrent.futures import Future
from itertools import islice
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any


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
            yield _take(futures, deadline)
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


def _take(futures: list[Future], deadline: float | None) -> Any:
    future = futures.pop()
    try:
        return future.result(None if deadline is None else deadline - monotonic())
    finally:
        future.cancel()
        del future  # an exception on its way out must not keep it alive
