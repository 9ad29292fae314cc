"""What of a call, or of its result, cannot be pickled: found once pickling has failed, and said in that error.

Loaded by workers without the package.
"""

from __future__ import annotations

import sys
from concurrent.futures import Future
from contextlib import suppress
from functools import partial, wraps
from pickle import PicklingError
from reprlib import repr as short
from types import CoroutineType, FunctionType, GeneratorType, MethodType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from executorlib._by_value import Pickler

    Part = tuple[str, Any]
else:
    Pickler = sys.modules["_executorlib_worker"].load_own("_by_value").Pickler

#: What picklers raise.
ERRORS = (TypeError, AttributeError, ValueError, PicklingError)
_DEPTH = 12


def _harmless(explain: Callable) -> Callable:
    """Objects may do anything while they are looked at: then the error stays as it is."""

    @wraps(explain)
    def explain_or_not(*args: Any) -> None:
        with suppress(Exception):
            explain(*args)

    return explain_or_not


@_harmless
def explain_call(error: BaseException, fn: Callable, args: tuple, kwargs: dict[str, Any]) -> None:
    """Add to the error of a submission which argument could not be pickled, if it was that."""
    parts = [(f"args[{i}]", value, f"argument {i}") for i, value in enumerate(args)]
    parts += [(key, value, f"argument {key!r}") for key, value in kwargs.items()]
    for root, value, what in parts:
        if _raises(value, error):
            path, item = _innermost(root, value)
            where = f"{what} of {_name(fn)}()" if path == root else f"{path}, in {what} of {_name(fn)}()"
            return _add(error, where, _advice(item, "make it inside the function, or pass what it is made from"))
    if _raises(fn, error):
        _add(error, _of_function(fn), "make it inside the function, or pass it as an argument that can be pickled")


@_harmless
def explain_map(error: BaseException, fn: Callable, iterables: tuple[Iterable, ...]) -> None:
    """Add to the error of a map which item could not be pickled, as far as they can be looked through again."""
    for number, iterable in enumerate(iterables):
        if iter(iterable) is iterable:
            continue
        found = _first([(f"items[{i}]", value) for i, value in enumerate(iterable)])
        if found is not None and _raises(found[1], error):
            path, item = _innermost(*found)
            given = "what" if len(iterables) == 1 else f"iterable {number} that"
            where = f"{path} of {given} map({_name(fn)}, ...) was given"
            return _add(error, where, _advice(item, "make it inside the function, or pass what it is made from"))
    if _raises(fn, error):
        _add(error, _of_function(fn), "make it inside the function, or pass it as an argument that can be pickled")


@_harmless
def explain_result(error: BaseException, fn: Callable, result: Any) -> None:
    """Add to the error what of a function's result could not be pickled, if it was that."""
    if not _raises(result, error):
        return
    path, item = _innermost("result", result)
    kind = type(result).__name__
    where = f"the {kind} that {_name(fn)}() returned"
    if path != "result":
        where = f"{path}, in {where}"
    _add(error, where, _advice(item, "return what can be pickled, such as the numbers you need of it"))


def _add(error: BaseException, where: str, advice: str) -> None:
    text = f"{error}: it is {where}. What goes to or from a worker is pickled; {advice}"
    if type(error) in ERRORS:
        error.args = (text,)
    elif hasattr(error, "add_note"):  # who knows what its arguments mean
        error.add_note(f"executorlib: {text}")


def _advice(item: Any, else_: str) -> str:
    if isinstance(item, CoroutineType):
        return "give it to asyncio.run() in the function, and return what that returns"
    return "make a list of its items" if isinstance(item, GeneratorType) else else_


def _name(fn: Any) -> str:
    inner = getattr(fn, "func", None) or getattr(fn, "function", None)  # of a partial; of what a map submits
    return getattr(fn, "__name__", None) or (_name(inner) if callable(inner) else type(fn).__name__)


def _of_function(fn: Any) -> str:
    if isinstance(fn, MethodType):
        path, _ = _innermost("self", fn.__self__)
        return f"{path}, in the {type(fn.__self__).__name__} whose method {_name(fn)}() is"
    path = _innermost("", fn)[0].lstrip(".")
    if not path:
        return f"in {_name(fn)}, or in what that takes from around it"
    if isinstance(fn, FunctionType):
        return f"{path}, which {_name(fn)}() takes from around it"
    return f"{path}, in the {type(fn).__name__} that is to be called"


# ---- looking for it ----


class _Trial(Pickler):
    """Pickles for nobody, with something simple in the place of a future."""

    def __init__(self) -> None:
        super().__init__(_Nowhere(), protocol=5, buffer_callback=lambda buffer: None)

    def reducer_override(self, obj: Any) -> Any:
        return (int, ()) if isinstance(obj, Future) else super().reducer_override(obj)


class _Nowhere:
    def write(self, data: Any) -> int:
        return len(data)


def _fails(value: Any) -> BaseException | None:
    try:
        _Trial().dump(value)
    except Exception as error:
        return error
    return None


def _raises(value: Any, error: BaseException) -> bool:
    found = _fails(value)
    return type(found) is type(error) and str(found) == str(error)


def _innermost(path: str, value: Any) -> Part:
    """The path to the first item inside that cannot be pickled, and that item; to all of it if that is too deep."""
    innermost: Part = (path, value)
    seen = {id(value)}
    for _ in range(_DEPTH):
        found = _first([part for part in _parts(*innermost) if id(part[1]) not in seen])
        if found is None:
            return innermost
        innermost = found
        seen.add(id(found[1]))
    return path, value


def _first(parts: Sequence[Part]) -> Part | None:
    """The first part that cannot be pickled; halving takes as long as pickling all of them twice."""
    if not parts or _fails([value for _, value in parts]) is None:
        return None
    while len(parts) > 1:
        half = parts[: len(parts) // 2]
        parts = half if _fails([value for _, value in half]) is not None else parts[len(half) :]
    return parts[0]


def _parts(path: str, value: Any) -> list[Part]:
    """What is in `value`, each with the expression that leads to it."""
    if isinstance(value, dict):
        return [(f"{path}[{short(key)}]", item) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return [(f"{path}[{i}]", item) for i, item in enumerate(value)]
    if isinstance(value, FunctionType):
        return [(f"{path}.{name}", item) for name, item in _surroundings(value)]
    if isinstance(value, MethodType):
        return [(f"{path}.__self__", value.__self__)]
    if isinstance(value, partial):
        return [(f"{path}.{name}", getattr(value, name)) for name in ("func", "args", "keywords")]
    return [(f"{path}.{name}", item) for name, item in _state(value).items()]


def _surroundings(function: FunctionType) -> list[Part]:
    """The variables around a function that it uses."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
    found = [(name, cell.cell_contents) for name, cell in cells if _is_filled(cell)]
    names = [name for name in function.__code__.co_names if name in function.__globals__]
    return found + [(name, function.__globals__[name]) for name in names]


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _state(value: Any) -> dict[str, Any]:
    """The attributes that are pickled with an object; empty for one that has a way of its own."""
    try:
        reduced = value.__reduce_ex__(4)
        state = reduced[2]
    except Exception:
        return {}
    return {
        name: item
        for some in (state if isinstance(state, tuple) else (state,))
        if isinstance(some, dict)
        for name, item in some.items()
    }
