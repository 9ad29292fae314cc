"""One result in a cache: its file, as the driver and the worker see it.

Used by both; a worker loads it from its file, without the package.
"""

from __future__ import annotations

import os
import sys
from errno import EBADMSG
from time import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

OUTPUT_SUFFIX = "_o.h5"
INPUT_SUFFIX = "_i.h5"

# Seconds that a call has to take for its result to be worth waiting for the disk. A file that a power cut tears is
# found out when it is read, so all that waiting buys is not to compute again.
_WORTH_SYNC = 1.0


def output_path(directory: str, key: str) -> str:
    """The file of a result."""
    return os.path.join(directory, key + OUTPUT_SUFFIX)


def load(path: str) -> Any:
    """The result in a file; raises what the call raised.

    Raises:
        FileNotFoundError: if there is no such file.
        CacheFileError: if it is damaged, or has no result.
        Exception: of any class: the call's, or because unpickling failed.
    """
    import cloudpickle

    fields = _store().read(path, ("output", "error"))
    if "output" in fields:
        return cloudpickle.loads(fields["output"])
    if "error" in fields:
        raise cloudpickle.loads(fields["error"])
    from executorlib._errors import CacheFileError

    raise CacheFileError(EBADMSG, "the file has no result", path)


def look(path: str) -> tuple[Any] | None:
    """The result in a file, or None if there is none. Of a file that cannot be used it warns."""
    import cloudpickle

    try:
        fields = _store().read(path, ("output", "error"))
        if "output" in fields:
            return (cloudpickle.loads(fields["output"]),)
        if "error" not in fields:
            _warn(path, "it has no result")
        return None
    except FileNotFoundError:
        return None
    except OSError as error:
        _warn(path, error.strerror or str(error))
    except Exception as error:
        _warn(path, f"its result cannot be unpickled: {type(error).__name__}: {error}")
    return None


def keep(
    path: str,
    call: tuple[Callable, tuple, dict[str, Any]],
    output: Any,
    seconds: float,
    resources: dict[str, Any],
) -> None:
    """Write a call and its result.

    Parameters:
        path: the file, which is replaced; its folder is made if missing.
        call: function, arguments and keyword arguments.
        output: what the function returned.
        seconds: how long it ran.
        resources: what was asked for it.

    Raises:
        OSError: if the file cannot be written; its text says that the call itself went well.
        Exception: of any class, if something of it cannot be pickled.
    """
    fn, args, kwargs = call
    parts = {
        "function": fn,
        "input_args": args,
        "input_kwargs": kwargs,
        "output": output,
        "resource_dict": resources,
        "runtime": seconds,
    }
    pickled = {name: Pickle(value) for name, value in parts.items()}
    try:
        fields = {name: pickle.pieces for name, pickle in pickled.items()}
        _write(path, fields, seconds >= _WORTH_SYNC)
    except OSError as error:
        text = f"{error.strerror}; the call was computed, but its result could not be kept in the cache"
        raise type(error)(error.errno, text, path) from None


def _write(path: str, fields: dict[str, list[bytes | memoryview]], sync: bool) -> None:
    try:
        _store().write(path, fields, sync=sync)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        _store().write(path, fields, sync=sync)


class Pickle:
    """A value pickled for files: in pieces, of which large ones are the value's own memory.

    It must live until the pieces are written.
    """

    def __init__(self, value: Any) -> None:
        buffers: list[Any] = []
        sink = _Sink()

        def in_its_place(buffer: Any) -> bool:
            buffers.append(buffer)  # it must not go before it is written
            return True

        pickler = _module("_by_value").Pickler(sink, protocol=5, buffer_callback=in_its_place)
        pickler.dump(value)
        self.pieces = sink.pieces
        self._kept = pickler, buffers


class _Sink:
    def __init__(self) -> None:
        self.pieces: list[bytes | memoryview] = []
        self.write = self.pieces.append


class WorkerEntry:
    """What a worker does about a call of a cached executor, around the call."""

    def __init__(self, wanted: dict[str, Any], call: tuple[Callable, tuple, dict[str, Any]]) -> None:
        self._resources = wanted["resources"]
        self._call = call
        self._look = wanted["path"] is None
        self._path = wanted["path"]
        if self._path is None:
            self._path = self._own_path(wanted)
        self._started = time()

    def look(self) -> tuple[Any] | None:
        """The result, if somebody has computed it since; else the clock runs."""
        found = look(self._path) if self._look and self._path else None
        self._path = None if found else self._path
        self._started = time()
        return found

    def keep(self, output: Any) -> None:
        if self._path is not None:
            keep(self._path, self._call, output, time() - self._started, self._resources)

    def _own_path(self, wanted: dict[str, Any]) -> str | None:
        """Of a call whose arguments were not known before."""
        fn, args, kwargs = self._call
        try:
            if wanted["key_version"] == 1:
                keys = _module("_cache_key")
                args, kwargs = keys.received(fn, args, kwargs, wanted["names"])
                key = keys.key_of(fn, args, kwargs)
            else:
                key = _module("_stable_key").key_of(fn, args, kwargs, wanted["function"])
            return output_path(wanted["directory"], key)
        except Exception as error:
            import warnings

            text = f"a call of {fn!r} has no key and is not kept: {type(error).__name__}: {error}"
            warnings.warn(f"cache: {wanted['directory']}: {text}", stacklevel=2)
            return None


def _store() -> Any:
    return _module("_store")


def _module(name: str) -> Any:
    """One of the package, which a worker has not imported."""
    full = "executorlib." + name
    if full in sys.modules:
        return sys.modules[full]
    worker = sys.modules.get("_executorlib_worker")
    if worker is not None:
        return worker.load_own(name)
    from importlib import import_module

    return import_module(full)


def _warn(path: str, text: str) -> None:
    import warnings

    warnings.warn(f"cache: {path}: {text}; the call is computed again", stacklevel=3)
