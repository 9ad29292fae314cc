"""What is still to be done when this process has gone, however it went.

A shell waits at a pipe for that. It has been told meanwhile what there is to tidy up: a file, and jobs.
"""

from __future__ import annotations

import os
import subprocess
import weakref
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# The scheduler may not answer just then: it is asked for ten minutes.
_SCRIPT = """\
jobs=
while read -r word number; do
    case $word in
    job) jobs="$jobs $number" ;;
    done) exit 0 ;;
    esac
done
rm -f -- "$1"
tries=0
[ -z "$jobs" ] || until eval "$2" || [ $tries -ge 60 ]; do
    tries=$((tries + 1))
    sleep 10
done
"""


class Cleanup:
    """Tidies up if this process goes without having called `done`.

    Parameters:
        file: to be removed.
        cancelling: command of a shell that cancels the jobs in its variable `jobs`.
    """

    def __init__(self, file: str, cancelling: str) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT, "sh", file, cancelling],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        _pending.add(self)

    def add_jobs(self, numbers: Iterable[str]) -> None:
        """These jobs are to be cancelled."""
        self._say("".join(f"job {number}\n" for number in numbers))

    def done(self) -> None:
        """There is nothing left to do."""
        self._say("done\n")
        self.leave()
        self._shell.wait()

    def leave(self) -> None:
        """Have it done now, by the shell alone; or nothing, after `done`."""
        _pending.discard(self)
        with suppress(OSError):
            self._shell.stdin.close()  # type: ignore[union-attr]

    def _say(self, text: str) -> None:
        with suppress(OSError, ValueError):
            os.write(self._shell.stdin.fileno(), text.encode())  # type: ignore[union-attr]


_pending: weakref.WeakSet[Cleanup] = weakref.WeakSet()


def _close_all() -> None:
    """In a child of this process, which must not keep the pipes open."""
    for cleanup in list(_pending):
        cleanup.leave()


os.register_at_fork(after_in_child=_close_all)
