"""Which job of a scheduler has a call: a note beside its files, for drivers that come later or at the same time.

    <base>.job  ->  "slurm 123_4"

A symbolic link, as claims are (src/core/batch/job.h): made at once with its content, also on network file systems, and
by one driver only. Of two that have submitted the same call, the second cancels its job.
"""

from __future__ import annotations

import os
from contextlib import suppress

from executorlib._job import RECORD


def read(base: str) -> str | None:
    """The queue id of the job that has this call, if there is a record."""
    try:
        return os.readlink(base + RECORD).partition(" ")[2]
    except OSError:
        return None


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


def remove(base: str) -> None:
    """There is no such job any longer."""
    with suppress(OSError):
        os.unlink(base + RECORD)
