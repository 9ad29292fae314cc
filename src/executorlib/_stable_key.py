"""Keys of version 2: the same in every version of Python and cloudpickle.

A key is made from what a call means rather than from its pickle:

    function of the main program, a notebook   its text, and the values of the globals that it names
    function of a module of one's own          its name and its text
    function of an installed library           its name, so that a new version of the library finds old results
    all functions                              the values of their defaults and of what they enclose
    arguments                                  their values: arrays by their bytes, objects by what they pickle

A function whose text nobody keeps counts with its bytecode, which other versions of Python change; so do two lambdas in
one line, which their text does not tell apart.
"""

from __future__ import annotations

import ast
import copyreg
import inspect
import os
import struct
import sys
from concurrent.futures import Future
from hashlib import blake2b
from textwrap import dedent
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_LIBRARY = os.path.dirname(os.__file__)


def key_of(fn: Callable, args: tuple, kwargs: dict[str, Any], function: bytes | None = None) -> str:
    """The key of a call whose arguments are known.

    Parameters:
        fn: what is called.
        args: its arguments.
        kwargs: its keyword arguments, in any order.
        function: what `encoded(fn)` was where the function's text is; None to do it here.

    Raises:
        TypeError: if something has no value that could be told: an open file, a generator, a future.
    """
    encoder = _Encoder()
    parts = encoded(fn) if function is None else function, encoder.encode(args), encoder.encode(kwargs)
    name = getattr(fn, "__name__", None) or type(fn).__name__
    return f"{name}-{_digest('call', parts).hex()}"


def encoded(fn: Callable) -> bytes:
    """What a function adds to the keys of its calls."""
    return _Encoder().encode(fn)


class _Encoder:
    """Encodes values so that different ones never look alike: atoms with their length, all else by a digest."""

    def __init__(self) -> None:
        self._known: dict[int, bytes] = {}
        self._kept: list[Any] = []  # what has an id in _known, so that no id is used twice
        self._under_way: list[int] = []

    def encode(self, value: Any) -> bytes:
        write = _ATOMS.get(type(value))
        if write is not None:
            return _atom(type(value).__name__, write(value))
        known = self._known.get(id(value))
        if known is not None:
            return known
        if id(value) in self._under_way:
            return _atom("inside", str(self._under_way[::-1].index(id(value))).encode())
        self._under_way.append(id(value))
        found = self._compound(value)
        self._under_way.pop()
        self._known[id(value)] = found
        self._kept.append(value)
        return found

    def _compound(self, value: Any) -> bytes:
        kind = type(value)
        if kind is list or kind is tuple:
            return _digest(kind.__name__, map(self.encode, value))
        if kind is dict:
            return _digest("dict", sorted(self.encode(key) + self.encode(item) for key, item in value.items()))
        if kind is set or kind is frozenset:
            return _digest(kind.__name__, sorted(map(self.encode, value)))
        if kind is FunctionType:
            return self._function(value)
        if kind is MethodType:
            return _digest("method", map(self.encode, (value.__func__, value.__self__)))
        if kind is BuiltinFunctionType and (value.__self__ is None or isinstance(value.__self__, ModuleType)):
            return _atom("builtin", f"{value.__module__}.{value.__qualname__}".encode())
        if kind is CodeType:
            return _digest("code", (value.co_code, *map(self.encode, (value.co_names, value.co_consts))))
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, ModuleType):
            return _atom("module", value.__name__.encode())
        if isinstance(value, Future):
            raise TypeError("a future has no value yet")
        return _array(value) or self._object(value)

    def _object(self, value: Any) -> bytes:
        try:
            reduce = copyreg.dispatch_table.get(type(value))
            reduced = value.__reduce_ex__(4) if reduce is None else reduce(value)
        except Exception as error:
            raise TypeError(f"{type(value).__name__} has no value to make a key from: {error}") from None
        if isinstance(reduced, str) and isinstance(getattr(value, "__wrapped__", None), FunctionType):
            return _digest("wrapped", [self.encode(value.__wrapped__)])  # by functools.cache
        if isinstance(reduced, str):
            return _atom("global", f"{getattr(value, '__module__', None)}.{reduced}".encode())
        function, args, state, items, pairs = (*reduced, None, None, None)[:5]
        parts = function, args, state, list(items or ()), list(pairs or ())
        return _digest("object", map(self.encode, parts))

    def _function(self, function: FunctionType) -> bytes:
        own = function.__module__ == "__main__"
        parts = [_atom("name", f"{'' if own else function.__module__}.{function.__qualname__}".encode())]
        if not _is_library(function.__code__.co_filename):
            text = _function_text(function)
            parts.append(self.encode(function.__code__ if text is None else text))
        parts.append(self.encode(function.__defaults__))
        parts.append(self.encode(function.__kwdefaults__))
        parts.extend(map(self.encode, map(_contents, function.__closure__ or ())))
        if own:
            there = (name for name in sorted(_names(function.__code__)) if name in function.__globals__)
            parts.extend(self.encode((name, function.__globals__[name])) for name in there)
        return _digest("function", parts)

    def _class(self, cls: type) -> bytes:
        if cls.__module__ != "__main__":
            return _atom("class", f"{cls.__module__}.{cls.__qualname__}".encode())
        text = _text(cls)
        members = [value for name, value in sorted(vars(cls).items()) if isinstance(value, FunctionType)]
        parts = [cls.__qualname__, list(cls.__bases__), members if text is None else text]
        return _digest("class", map(self.encode, parts))


def _atom(tag: str, data: bytes) -> bytes:
    return b"%s %d:%s" % (tag.encode(), len(data), data)


def _digest(tag: str, parts: Iterable[bytes]) -> bytes:
    digest = blake2b(tag.encode(), digest_size=16)
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()


def _array(value: Any) -> bytes | None:
    numpy = sys.modules.get("numpy")
    if numpy is None or type(value) is not numpy.ndarray or value.dtype.hasobject:
        return None
    data = memoryview(numpy.ascontiguousarray(value)).cast("B") if value.size else b""
    return _digest("array", (repr(value.dtype.descr).encode(), repr(value.shape).encode(), blake2b(data).digest()))


def _is_library(path: str) -> bool:
    return path.startswith((_LIBRARY, "<frozen")) or "/site-packages/" in path or "/dist-packages/" in path


def _function_text(function: FunctionType) -> str | None:
    text = _text(function.__code__)  # not of what it wraps, which it encloses
    if text is None or function.__name__ != "<lambda>":
        return text
    try:
        lambdas = sum(isinstance(node, ast.Lambda) for node in ast.walk(ast.parse(text)))
    except SyntaxError:  # a part of a longer expression
        return None
    return text if lambdas == 1 else None


def _text(thing: Any) -> str | None:
    """Its lines without common indentation, empty ones, and spaces at their ends."""
    try:
        lines = dedent(inspect.getsource(thing)).splitlines()
    except (OSError, TypeError):
        return None
    return "\n".join(line for text in lines if (line := text.rstrip()))


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def _names(code: CodeType) -> set[str]:
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*inner)


_ATOMS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda value: b"",
    type(...): lambda value: b"",
    bool: lambda value: b"%d" % value,
    int: lambda value: b"%x" % value,
    float: lambda value: struct.pack("<d", value),
    complex: lambda value: struct.pack("<dd", value.real, value.imag),
    str: lambda value: value.encode("utf-8", "surrogatepass"),
    bytes: bytes,
    bytearray: bytes,
}
