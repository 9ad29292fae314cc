"""Which argument of a call cannot be pickled."""

from __future__ import annotations

from concurrent.futures import Future
from io import BytesIO

from executorlib._pickling import CloudPickler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


class _Trial(CloudPickler):
    """Pickles as a submission does, with something simple in the place of a future."""

    def reducer_override(self, obj: Any) -> Any:
        return (int, ()) if isinstance(obj, Future) else super().reducer_override(obj)


def name_culprit(error: BaseException, fn: Callable, args: tuple, kwargs: dict[str, Any]) -> None:
    """Add to the error of a submission what could not be pickled, if it was that (Python 3.11 on)."""
    add_note = getattr(error, "add_note", None)
    if add_note is None:
        return
    name = getattr(fn, "__name__", repr(fn))
    for what, value in _parts(fn, args, kwargs):
        try:
            _Trial(BytesIO(), 5).dump(value)
        except Exception as found:
            if type(found) is type(error) and str(found) == str(error):
                add_note(f"executorlib: {what} of {name}() cannot be sent to a worker: it cannot be pickled")
                return


def _parts(fn: Callable, args: tuple, kwargs: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for position, value in enumerate(args):
        yield f"argument {position} ({type(value).__name__})", value
    for key, value in kwargs.items():
        yield f"argument {key!r} ({type(value).__name__})", value
    yield "the code, or what it takes from around it,", fn
