"""The name under which the result of a call is kept.

The key is that of executorlib 1.11, byte for byte: the name of the function, and the MD5 of the cloudpickled call. So
it changes with whatever changes a pickle: the code of a function of the main program, the version of Python or
cloudpickle. A key of version 2 (`_stable_key.py`) does not.

Used by the driver and, loaded from its file without the package, by workers.
"""

from __future__ import annotations

import re
import sys
from concurrent.futures import Future
from hashlib import md5
from types import FunctionType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# The path of a notebook's cell has the number of the kernel's process, which is another one each time.
_KERNEL = re.compile(rb"(/ipykernel_).*(/)")


class PendingArgument(Exception):
    """An argument is a future that has no result, or not yet."""


def key_of(fn: Callable, args: tuple, kwargs: dict[str, Any]) -> str:
    """The key of a call whose arguments are known.

    Parameters:
        fn: what is called.
        args: its arguments, as `resolved` gives them.
        kwargs: its keyword arguments, likewise.

    Raises:
        Exception: of any class, if the call cannot be pickled.
    """
    import cloudpickle

    return key_of_dumped(fn, cloudpickle.dumps({"fn": fn, "args": args, "kwargs": kwargs}))


def key_of_dumped(fn: Callable, dumped: bytes) -> str:
    """The key of a call that is pickled already, as the dictionary of "fn", "args" and "kwargs"."""
    return name_of(fn) + md5(_KERNEL.sub(rb"\1\2", dumped), usedforsecurity=False).hexdigest()


def name_of(fn: Callable) -> str:
    """The name that a key begins with."""
    return getattr(fn, "__name__", None) or type(fn).__name__


def resolved(args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """The arguments with the results of futures in their place, also inside lists and dictionaries.

    Lists and dictionaries are new ones. That matters to the key: a pickle tells whether an object occurs twice.

    Raises:
        PendingArgument: if a future has not ended well.
    """
    return tuple(_value(arg) for arg in args), {name: _value(value) for name, value in kwargs.items()}


def _value(argument: Any) -> Any:
    if isinstance(argument, Future):
        if not argument.done() or argument.cancelled() or argument.exception() is not None:
            raise PendingArgument
        return argument.result()
    if isinstance(argument, list):
        return [_value(item) for item in argument]
    if isinstance(argument, dict):
        return {key: _value(item) for key, item in argument.items()}
    return argument


def received(fn: Callable, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """In a worker: the arguments as they were in the driver, as far as a pickle can tell.

    Names in a program's text are one object wherever they occur, which pickling a call preserves only in part.
    """
    if isinstance(fn, FunctionType) and fn.__module__ == "__main__":
        fn.__annotations__ = {sys.intern(name): value for name, value in fn.__annotations__.items()}
    args, kwargs = resolved(args, kwargs)
    return args, {sys.intern(name): value for name, value in kwargs.items()}
