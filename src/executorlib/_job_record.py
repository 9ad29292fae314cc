"""Which job of a scheduler has a call: a note beside its files, for drivers that come later or at the same time.

    <base>.job  ->  "slurm 123"         a symbolic link, for a job of one call
    <base>.job  ==  <other base>.job    one file with many names, for an array: a line for each of its calls

Made at once with its content, as claims are (src/core/batch/job.h), also on network file systems, and by one driver
only. Of two that have submitted the same call, the second cancels its job. An array's calls have one file together
because a name costs a file system far less than a file: some of them search long for a free inode.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from itertools import groupby

from executorlib._job import RECORD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def read(base: str) -> str | None:
    """The queue id of the job that has this call, if there is a record."""
    path = base + RECORD
    try:
        return os.readlink(path).partition(" ")[2]
    except FileNotFoundError:
        return None
    except OSError:  # it is no symbolic link
        return _read_list(path, os.path.basename(base))


def _read_list(path: str, key: str) -> str | None:
    try:
        with open(path) as file:
            found = re.search(rf"^\S+ (\S+) {re.escape(key)}$", file.read(), re.MULTILINE)
    except OSError:
        return None
    return found and found[1]


def kind(base: str) -> str | None:
    """The kind of the queue that has this call, if there is a record."""
    try:
        return os.readlink(base + RECORD).partition(" ")[0]
    except OSError:
        return None


def make(base: str, kind: str, queue_id: str) -> bool:
    """Note that the call has been submitted; False if another driver was first."""
    try:
        os.symlink(f"{kind} {queue_id}", base + RECORD)
    except FileExistsError:
        return False
    return True


def make_all(bases: Sequence[str], kind: str, queue_ids: Sequence[str]) -> list[bool]:
    """Note that calls have been submitted together; for each of them, False if another driver was first."""
    if len(bases) == 1:
        return [make(bases[0], kind, queue_ids[0])]
    made: dict[str, bool] = {}
    calls = sorted(zip(map(os.path.dirname, bases), bases, queue_ids, strict=True))
    for folder, some in groupby(calls, key=lambda call: call[0]):
        made |= _make_list(folder, kind, {base: queue_id for _, base, queue_id in some})
    return [made[base] for base in bases]


def _make_list(folder: str, kind: str, queue_ids: dict[str, str]) -> dict[str, bool]:
    """Of calls whose files are in one folder."""
    path = os.path.join(folder, f".executorlib-{os.urandom(8).hex()}.tmp")
    with open(path, "x") as file:
        file.writelines(f"{kind} {queue_id} {os.path.basename(base)}\n" for base, queue_id in queue_ids.items())
    try:
        return {base: _link(path, base) or make(base, kind, queue_id) for base, queue_id in queue_ids.items()}
    finally:
        os.unlink(path)


def _link(path: str, base: str) -> bool:
    """Give the file a name more; False where that is taken, or the file system has no such names, or no more."""
    try:
        os.link(path, base + RECORD)
    except OSError:
        return False
    return True


def remove(base: str) -> None:
    """There is no such job any longer."""
    with suppress(OSError):
        os.unlink(base + RECORD)
