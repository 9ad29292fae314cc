"""The files of a cache as a person manages them: what there is, how large and how old, and what may go.

Nothing here runs code of a cache: of what is pickled only numbers are looked at.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
from fnmatch import fnmatchcase
from io import BytesIO
from time import time

from executorlib import _store
from executorlib._cache import files
from executorlib._cache_entry import OUTPUT_SUFFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

# What a writer that was killed leaves behind; one that lives is done sooner.
_TEMPORARY = re.compile(r"\.executorlib-[0-9a-f]{16}\.tmp")
_ABANDONED = 3600.0  # seconds

_KEY = re.compile(r"(.+?)-?[0-9a-f]{32}")


class Entry:
    """One call of a cache.

    Attributes:
        key (str): its name in the cache.
        paths (list[str]): its files.
        size (int): of all of them, in bytes.
        changed (float): when the latest was written, in seconds since the epoch.
        state (str): "result", "error", "call" (without a result so far) or "damaged".
        seconds (float | None): how long it ran.
        queue_id (int | None): its number in the queue.
        problem (str): what is wrong with a damaged file.
    """

    def __init__(self, key: str, paths: Sequence[str]) -> None:
        self.key = key
        self.paths = list(paths)
        self.size = 0
        self.changed = 0.0
        for path in paths:
            status = os.stat(path)
            self.size += status.st_size
            self.changed = max(self.changed, status.st_mtime)
        self.state = "call"
        self.seconds: float | None = None
        self.queue_id: int | None = None
        self.problem = ""
        for path in paths:
            self._read(path)

    @property
    def function(self) -> str:
        """The name of the function, as far as the key tells it."""
        match = _KEY.fullmatch(os.path.basename(self.key))
        return match[1] if match else ""

    @property
    def age(self) -> float:
        return max(0.0, time() - self.changed)

    def remove(self) -> None:
        """Remove its files, and the folder of its job's logs."""
        for path in self.paths:
            _unlink(path)
        folder = re.sub(r"_[oi]\.h5$", "", self.paths[0])
        if os.path.isdir(folder) and not os.path.islink(folder) and not any(files(folder)):
            shutil.rmtree(folder, ignore_errors=True)

    def _read(self, path: str) -> None:
        try:
            names = _store.names(path)
            numbers = _store.read(path, ("runtime", "queue_id"))
        except OSError as error:
            self.state, self.problem = "damaged", error.strerror or str(error)
            return
        if "output" in names or "error" in names:
            self.state = "result" if "output" in names else "error"
        elif path.endswith(OUTPUT_SUFFIX):
            self.state, self.problem = "damaged", "the file has no result"
        self.seconds = _number(numbers.get("runtime"), self.seconds)
        self.queue_id = _number(numbers.get("queue_id"), self.queue_id)


def entries(directory: str) -> Iterator[Entry]:
    """The calls of a cache and its sub-folders, in the order of their keys.

    Raises:
        FileNotFoundError, NotADirectoryError: if it is no directory.
    """
    directory = os.path.abspath(directory)
    os.listdir(directory)
    calls: dict[str, list[str]] = {}
    for path in files(directory):
        calls.setdefault(path[: -len(OUTPUT_SUFFIX)], []).append(path)
    for stem, paths in sorted(calls.items()):
        try:
            yield Entry(os.path.relpath(stem, directory), paths)
        except FileNotFoundError:  # removed since
            continue


def find(directory: str, keys: Iterable[str]) -> list[Entry]:
    """The calls of these names, which may have wildcards.

    Raises:
        FileNotFoundError: for one that matches nothing.
    """
    there = list(entries(directory))
    found = []
    for key in keys:
        matches = [entry for entry in there if entry.key == key or fnmatchcase(entry.key, key)]
        if not matches:
            raise FileNotFoundError(2, "no call of this key in the cache", os.path.join(directory, key))
        found += [entry for entry in matches if entry not in found]
    return found


def garbage(
    directory: str,
    *,
    older_than: float | None = None,
    larger_than: int | None = None,
    faster_than: float | None = None,
    total: int | None = None,
    damaged: bool = False,
    keep: Sequence[str] = (),
) -> list[Entry]:
    """The calls that may go: those that meet all criteria given, then the oldest until the rest fits into `total`.

    Calls without a result are never among them: somebody may be computing it.

    Parameters:
        directory: the cache.
        older_than: seconds since the result was written.
        larger_than: bytes.
        faster_than: seconds that the call ran: those that are soon computed again.
        total: bytes that may remain.
        damaged: whether damaged files go too, whatever their age and size.
        keep: keys that stay, with wildcards.
    """
    criteria: list[Callable[[Entry], bool]] = []
    if older_than is not None:
        criteria.append(lambda entry: entry.age > older_than)
    if larger_than is not None:
        criteria.append(lambda entry: entry.size > larger_than)
    if faster_than is not None:
        criteria.append(lambda entry: entry.seconds is not None and entry.seconds < faster_than)
    goes: list[tuple[Entry, bool]] = []
    stays: list[tuple[Entry, bool]] = []
    for entry in entries(directory):
        kept = any(fnmatchcase(entry.key, pattern) for pattern in keep)
        finished = entry.state in ("result", "error")
        meets = finished and bool(criteria) and all(criterion(entry) for criterion in criteria)
        wanted = meets or (damaged and entry.state == "damaged")
        (goes if wanted and not kept else stays).append((entry, finished and not kept))
    if total is not None:
        size = sum(entry.size for entry, _ in stays)
        for entry, may_go in sorted(stays, key=lambda item: item[0].changed):
            if may_go and size > total:
                goes.append((entry, True))
                size -= entry.size
    return [entry for entry, _ in goes]


def leftovers(directory: str) -> list[str]:
    """Files that writers have left behind which did not live to finish them."""
    found = []
    for folder, _, names in os.walk(os.path.abspath(directory)):
        for name in names:
            path = os.path.join(folder, name)
            if _TEMPORARY.fullmatch(name) and time() - os.lstat(path).st_mtime > _ABANDONED:
                found.append(path)
    return found


def remove_leftovers(paths: Iterable[str]) -> None:
    for path in paths:
        _unlink(path)


class _NumbersOnly(pickle.Unpickler):
    """Unpickles what needs no code."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} is not a number")


def _number(pickled: bytes | None, otherwise: Any) -> Any:
    if pickled is None or len(pickled) > 100:
        return otherwise
    try:
        value = _NumbersOnly(BytesIO(pickled)).load()
    except Exception:
        return otherwise
    return value if type(value) in (int, float) else otherwise


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
