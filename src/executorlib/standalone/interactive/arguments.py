"""Futures among the arguments of a call."""

from __future__ import annotations

from concurrent.futures import Future

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any


def get_future_objects_from_input(args: tuple, kwargs: dict[str, Any]) -> list[Future]:
    """The futures among arguments, also those inside lists and dictionaries, in order.

    Parameters:
        args (tuple): positional arguments.
        kwargs (dict): keyword arguments.

    Returns:
        list[Future]: the futures.
    """
    return [*_futures(args), *_futures(kwargs.values())]


def _futures(values: Iterable[Any]) -> Iterator[Future]:
    for value in values:
        if isinstance(value, Future):
            yield value
        elif isinstance(value, list):
            yield from _futures(value)
        elif isinstance(value, dict):
            yield from _futures(value.values())
