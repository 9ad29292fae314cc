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
    pickling = sys.modules["_executorlib_worker"].load_own("_by_value")
    return key_of_dumped(fn, pickling.dumps({"fn": fn, "args": args, "kwargs": kwargs}))


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


def names_in(args: tuple, kwargs: dict[str, Any]) -> set[str]:
    """In the driver: the texts among the arguments that are names of its program; for `received`."""
    found: set[str] = set()
    _collect((args, *kwargs.values()), found)
    return found


def received(fn: Callable, args: tuple, kwargs: dict[str, Any], names: set[str]) -> tuple[tuple, dict[str, Any]]:
    """In a worker: the arguments as they were in the driver, as far as a pickle can tell.

    A name in a program's text is one object wherever it occurs, and a pickle tells where an object occurs again.
    Sending a call preserves that only in part. Where it is not restored the key is another one: the call is computed.
    """
    if isinstance(fn, FunctionType) and fn.__module__ == "__main__":
        _name_parts(fn)
    args, kwargs = resolved(args, kwargs)
    return _named(args, names), {sys.intern(name): _named(value, names) for name, value in kwargs.items()}


def _collect(value: Any, found: set[str]) -> None:
    if type(value) is tuple or type(value) is list:
        for item in value:
            _collect(item, found)
    elif type(value) is dict:
        _collect([*value, *value.values()], found)
    elif type(value) is str and value not in found and sys.intern(value[:1] + value[1:]) is value:
        found.add(value)


def _named(value: Any, names: set[str]) -> Any:
    if type(value) is tuple or type(value) is list:
        return type(value)(_named(item, names) for item in value)
    if type(value) is dict:
        return {_named(key, names): _named(item, names) for key, item in value.items()}
    return sys.intern(value) if type(value) is str and value in names else value


def _name_parts(fn: FunctionType) -> None:
    """The function stays as it is, apart from the identity of texts."""
    fn.__annotations__ = {_text(name): _text(value) for name, value in fn.__annotations__.items()}
    if fn.__defaults__:
        fn.__defaults__ = tuple(map(_text, fn.__defaults__))
    if fn.__kwdefaults__:
        fn.__kwdefaults__ = {_text(name): _text(value) for name, value in fn.__kwdefaults__.items()}
    for name in fn.__code__.co_names:
        if type(fn.__globals__.get(name)) is str:
            fn.__globals__[name] = _text(fn.__globals__[name])


def _text(value: Any) -> Any:
    return sys.intern(value) if type(value) is str and value.isidentifier() else value
