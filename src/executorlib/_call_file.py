"""A call as it is written to its input file: pickled by value, with references in the place of futures.

    fn, args, kwargs  --futures of file executors become FutureItem-->  key  -->  <cache_directory>/<key>_i.h5

The key is that of executorlib 1.11.0, so that its files are found: of the arguments after that replacement.
"""

from __future__ import annotations

import io
import os
import sys
from concurrent.futures import Future
from functools import lru_cache

import cloudpickle

from executorlib import _by_value, _core
from executorlib._cache_key import key_of_dumped
from executorlib._file_future import FileFuture
from executorlib._select import FutureSelector
from executorlib._worker import THREAD_VARIABLES
from executorlib.task_scheduler.file.shared import FutureItem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Arguments:
    """The arguments of a call, with what they refer to.

    Attributes:
        args (list), kwargs (dict): with FutureItem for each top-level future of a file executor.
        producers (list[FileFuture]): the futures whose files are referred to.
        awaited (list[Future]): other futures that are not done: before they are, nothing can be pickled.
    """

    def __init__(self, args: tuple, kwargs: dict[str, Any]) -> None:
        self.producers: list[FileFuture] = []
        self.awaited: list[Future] = []
        self.args = [self._replaced(value) for value in args]
        self.kwargs = {name: self._replaced(value) for name, value in kwargs.items()}

    def _replaced(self, value: Any) -> Any:
        return self.reference(value) if isinstance(value, Future) else value

    def reference(self, future: Future) -> Any:
        """The reference to a future's file, else its result; None, and noted as awaited, if there is neither."""
        selector = None
        source: Any = future
        if isinstance(future, FutureSelector):
            source, selector = future._future, future._selector
        path = getattr(source, "_path", None) if isinstance(source, FileFuture) else None
        if path is not None and not (source.done() and not os.path.exists(path)):
            if source not in self.producers:
                self.producers.append(source)
            return FutureItem(file_name=path, selector=selector)
        if future.done():
            return future.result()
        self.awaited.append(future)
        return None

    def dumps(self, value: Any) -> bytes:
        """Pickled as cloudpickle does, with nested futures replaced too."""
        with io.BytesIO() as file:
            _Pickler(file, self).dump(value)
            return file.getvalue()


class _Pickler(_by_value.Pickler):
    def __init__(self, file: io.BytesIO, arguments: Arguments) -> None:
        super().__init__(file)
        self._arguments = arguments

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, Future):
            return super().reducer_override(obj)
        reference = self._arguments.reference(obj)
        if isinstance(reference, FutureItem):
            # In this form a job unpickles it as the result.
            return FutureItem, (reference._file_name, reference._selector)
        return _core._value, (reference,)  # type: ignore[attr-defined]


def key_of(fn: Callable, arguments: Arguments) -> str:
    """The key of a call. Futures that are still awaited are noted in `arguments`: then it means nothing."""
    return key_of_dumped(fn, arguments.dumps({"fn": fn, "args": arguments.args, "kwargs": arguments.kwargs}))


def input_fields(
    fn: Callable, arguments: Arguments, resources: dict[str, Any], error_log_file: str | None, own_threads: bool
) -> dict[str, bytes]:
    """What an input file holds. Futures that are still awaited are noted in `arguments`."""
    return {
        "function": _by_value.dumps(fn),
        "input_args": arguments.dumps(arguments.args),
        "input_kwargs": arguments.dumps(arguments.kwargs),
        "resource_dict": cloudpickle.dumps(resources),
        "error_log_file": cloudpickle.dumps(error_log_file),
        "setup": _setup(tuple(sys.path), os.getcwd(), resources["threads_per_core"] if own_threads else None),
    }


@lru_cache(maxsize=1)
def _setup(path: tuple, cwd: str, threads: int | None) -> bytes:
    """What a job must know of this process beside its environment, pickled; as a rule the same for many calls."""
    entries = [os.path.abspath(os.path.join(cwd, entry)) for entry in path if isinstance(entry, str)]
    environ = {} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads))
    return cloudpickle.dumps({"path": entries, "prefix": (sys.prefix, sys.exec_prefix), "environ": environ})
