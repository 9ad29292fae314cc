"""Which job of a scheduler has a call: a note in the call's folder, for drivers that come later or at the same time.

    <base>/job  ->  "? <host> <pid> <start> <ticket> <index>"    a driver is submitting it, under this ticket
                ->  "slurm <queue id>"                           it has been submitted

Like a claim (src/core/batch/job.h) it is a symbolic link, made at once and with its content, also on network file
systems: of two drivers that submit one call, one makes it. Where the first stays, its driver was killed in the middle;
whether there is a job, the scheduler tells by the ticket.
"""

from __future__ import annotations

import os
from contextlib import suppress
from time import time

from executorlib._job import RECORD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    class Record(NamedTuple):
        """What a folder says.

        Attributes:
            queue_id: of the job; None if it may not have been submitted.
            ticket: under which it is submitted.
            place: of the call, from 0, among those of the same ticket; -1 if it is the only one.
            busy: whether the driver that submits it may still be at it.
        """

        queue_id: str | None
        ticket: str
        place: int
        busy: bool

else:
    from collections import namedtuple

    Record = namedtuple("Record", "queue_id ticket place busy")

_PATIENCE_S = 120.0  # a driver on another host that has not submitted by then is taken for dead


def read(base: str) -> Record | None:
    """The record in the folder of this call, if there is one."""
    path = os.path.join(base, RECORD)
    try:
        words = os.readlink(path).split(" ")
        made = os.lstat(path).st_mtime
    except OSError:
        return None
    if words[0] == "?" and len(words) == 6:
        return Record(None, words[4], int(words[5]), _is_busy(words[1:4], made))
    return Record(words[1], "", 0, False) if len(words) == 2 else None


def begin(base: str, ticket: str, index: int) -> bool:
    """Note that this process submits the call; False if there is a record already."""
    os.makedirs(base, exist_ok=True)
    mark = f"? {os.uname().nodename} {os.getpid()} {_start(os.getpid())} {ticket} {index}"
    try:
        os.symlink(mark, os.path.join(base, RECORD))
    except FileExistsError:
        return False
    return True


def complete(base: str, kind: str, queue_id: str) -> None:
    """Note that the call has been submitted. The job may have ended by now, and its folder may be gone."""
    path = os.path.join(base, RECORD)
    with suppress(OSError):
        os.symlink(f"{kind} {queue_id}", path + ".new")
        if os.path.islink(path):
            os.replace(path + ".new", path)
        else:
            os.unlink(path + ".new")
            os.rmdir(base)


def remove(base: str) -> None:
    """There is no such job any longer; the folder goes if nothing else is in it."""
    with suppress(OSError):
        os.unlink(os.path.join(base, RECORD))
    with suppress(OSError):
        os.rmdir(base)


def _is_busy(driver: list[str], made: float) -> bool:
    host, pid, start = driver
    if host == os.uname().nodename:
        return _start(int(pid)) == start
    return time() - made < _PATIENCE_S


def _start(pid: int) -> str:
    """When a process started, in clock ticks since the boot: tells a reused pid."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""
