"""The queue of jobs that a machine without a scheduler has: detached processes.

A queue has two attributes: `holds`, whether it takes jobs in any number and before those they depend on have ended
(`Jobs` runs calls on one that does not, `QueuedJobs` on one that does); and `kind`, its name in records and in
`backend=`.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from executorlib import _core
from executorlib._job import INPUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class LocalQueue:
    """Starts each job as a process in a session of its own, which outlives this one."""

    kind = "local"
    holds = False

    def submit(self, input_file: str, command: list[str], resources: dict[str, Any]) -> int:
        """Start the job; returns its process id, which is also that of its session.

        Parameters:
            input_file: of the call; claims and logs are in the folder beside it that has the name of its key.
            command: what runs it.
            resources: of the call; `stdout_file` and `stderr_file` replace its logs.

        Raises:
            OSError: if its folder cannot be made, or no process started.
        """
        folder = input_file[: -len(INPUT)]
        directory = resources.get("cwd") or os.path.dirname(folder)
        out, err = (_opened(directory, resources.get(key)) for key in ("stdout_file", "stderr_file"))
        argv = [os.fsencode(argument) for argument in command]
        environ = [name + b"=" + value for name, value in os.environb.items()]
        return _core.start_job(argv, environ, os.fsencode(folder), out, err)

    def cancel(self, queue_id: int, force: bool = False) -> None:
        """End the job's process and all of its session and group: by SIGTERM, or SIGKILL if forced."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(queue_id, signal.SIGKILL if force else signal.SIGTERM)


def _opened(directory: str, path: str | None) -> str | None:
    """The absolute path of an output file whose folder is made if missing."""
    if path is None:
        return None
    path = os.path.abspath(os.path.join(directory, path))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path
