"""A folder and processes in it, all of which go when their owner does, however it goes.

The processes are children of a *keeper*, this file run as a script in a session of its own. It is the subreaper of all
that they start in turn, daemons included. When its owner closes the nursery or dies (also by SIGKILL), the keeper kills
them until none is left, removes the folder and ends.
"""

import contextlib
import ctypes
import glob
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


class Nursery:
    """The owner's side: start processes in *folder*, which is removed with them.

    So are the empty ones of the folders that *leftovers*, a pattern of `glob`, matches.
    """

    def __init__(self, folder, leftovers=""):
        self.folder = Path(folder)
        self._keeper = subprocess.Popen(
            [sys.executable, "-SE", __file__, str(self.folder), str(os.getpid()), leftovers],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    @property
    def pid(self):
        """The keeper's pid; every process of the nursery descends from it."""
        return self._keeper.pid

    def spawn(self, command, log, env=None):
        """Start *command* with its output appended to the file *log*, and return its pid.

        Raises `OSError` where it cannot be started. The pid stays the process's until it has ended.
        """
        request = {"command": list(map(str, command)), "log": str(log), "env": dict(os.environ if env is None else env)}
        self._keeper.stdin.write(json.dumps(request) + "\n")
        self._keeper.stdin.flush()
        reply = json.loads(self._keeper.stdout.readline())
        if reply < 0:
            raise OSError(-reply, os.strerror(-reply), command[0])
        return reply

    def close(self, timeout=60):
        """End all processes and remove the folder; returns when that is done."""
        with contextlib.suppress(BrokenPipeError):
            self._keeper.stdin.close()
        self._keeper.stdout.close()
        self._keeper.wait(timeout)


def spawn(request):
    """The new process's pid, or minus an errno."""
    output = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, request["log"], output, 0o600),
    ]
    files.append((os.POSIX_SPAWN_DUP2, 1, 2))
    try:
        return os.posix_spawnp(
            request["command"][0], request["command"], request["env"], file_actions=files, setsid=True
        )
    except OSError as error:
        return -error.errno


def reap(*_):
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def end_children():
    """Kill the children, and those who become children when their parents die, until none is left."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with contextlib.suppress(ChildProcessError):
        while True:
            for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            os.waitpid(-1, 0)


def serve(owner):
    """Start what is asked for until the owner closes its end or is gone."""
    text = b""
    while True:
        ready, _, _ = select.select([0, owner], [], [])
        chunk = os.read(0, 1 << 16) if 0 in ready else b""
        if not chunk:
            return
        *lines, text = (text + chunk).split(b"\n")
        for line in lines:
            os.write(1, b"%d\n" % spawn(json.loads(line)))


def remove_empty(pattern):
    for top in glob.glob(pattern):
        for folder, _, _ in os.walk(top, topdown=False):
            # One that is in use is somebody else's.
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def main(folder, owner, leftovers):
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGCHLD, reap)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with contextlib.suppress(ProcessLookupError, BrokenPipeError):
            serve(os.pidfd_open(owner))
    finally:
        end_children()
        remove_empty(leftovers)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
