"""Whether something can be submitted."""

from __future__ import annotations

import sys
from functools import partial
from types import CodeType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# As deep as decorators are followed; objects that answer to every attribute have no end.
_DEPTH = 100


def check_callable(fn: Any) -> object:
    """Refuse what cannot be called, or could not be told from `submit` by its parameter resource_dict.

    Returns:
        An object that vouches for every function that has it as its `__code__`: checking is much slower than
        comparing that. Decorated functions share their wrapper's code, so nothing vouches for them.

    Raises:
        TypeError: if `fn` is not callable.
        ValueError: if it has a parameter named resource_dict.
    """
    if not callable(fn):
        raise TypeError(f"{fn!r} is not callable")
    function = _undecorated(fn)
    for code in _codes(function):
        if "resource_dict" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
            raise ValueError(
                f"{fn!r} has a parameter named resource_dict, which submit() takes for itself; rename the parameter"
            )
    code = getattr(fn, "__code__", None)
    return code if function is fn and isinstance(code, CodeType) else object()


def takes_worker_id(fn: Any) -> bool:
    """Whether `fn` has a parameter that the worker fills with its own number."""
    return any("executorlib_worker_id" in code.co_varnames for code in _codes(_undecorated(fn)))


def initializer_of(fn: Any) -> Any:
    """The callable `init_function` of the module that `fn` is from, or None."""
    module = getattr(fn, "__module__", None)
    if not isinstance(module, str):
        return None
    found = getattr(sys.modules.get(module), "init_function", None)
    return found if callable(found) else None


def _undecorated(fn: Any) -> Any:
    for _ in range(_DEPTH):
        if isinstance(fn, partial):
            fn = fn.func
        elif "__wrapped__" in getattr(fn, "__dict__", ()):
            fn = fn.__wrapped__
        else:
            break
    return fn


def _codes(function: Any) -> Iterator[Any]:
    entries: tuple[Any, ...]
    if isinstance(function, type):
        entries = (function.__init__, function.__new__)  # type: ignore[misc]
    elif hasattr(function, "__code__"):
        entries = (function,)
    else:
        entries = (type(function).__call__,)
    for entry in entries:
        code = getattr(entry, "__code__", None)
        if isinstance(code, CodeType):
            yield code
