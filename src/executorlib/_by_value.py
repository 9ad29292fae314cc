"""Pickling by value: cloudpickle, and the members of functools that it leaves to pickle, which has only their names.

Loaded by workers without the package.
"""

from __future__ import annotations

import functools
import io
import sys

import cloudpickle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_Cached = type(functools.cache(len))


class Pickler(cloudpickle.Pickler):
    """A cloudpickler that takes by value what `functools.cache` makes of a function that goes by value.

    Each worker has a cache of its own, which begins empty. Before Python 3.12 a `cached_property` has a lock, which
    stays behind.
    """

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is _Cached and _goes_by_value(obj):
            maxsize, typed = obj.cache_parameters().values()
            return _anew(), (obj.__wrapped__, maxsize, typed)
        if kind is functools.cached_property:
            return kind, (obj.func,), {"attrname": obj.attrname}
        return super().reducer_override(obj)


def dumps(value: Any) -> bytes:
    with io.BytesIO() as file:
        Pickler(file, protocol=5).dump(value)
        return file.getvalue()


def _anew() -> Any:
    return sys.modules["_executorlib_worker"].cached_anew  # a name that workers have without the package


def _goes_by_value(cached: Any) -> bool:
    module, name = cached.__module__, cached.__qualname__
    return module == "__main__" or "<" in name or module in cloudpickle.list_registry_pickle_by_value()
