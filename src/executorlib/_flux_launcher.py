"""Stands for agents as long as they wait or run: what the engine takes for their launcher.

    python _flux_launcher.py '{"jobs": [<id of a job>, ...], "commands": [[<word>, ...], ...]}'

`flux run` would leave its job behind when it dies, and nobody would end it. This one follows jobs that have been
submitted, or runs commands that start agents without a job. It passes on what they write, ends with the last of them,
and ends them when it is asked to, or when its parent is gone.
"""

import json
import os
import select
import signal
import subprocess
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_PATIENCE_S = 10.0  # for jobs that have been cancelled


def main(jobs: "list[str]", commands: "list[list[str]]") -> int:
    """Returns the exit status: the worst of all."""
    asked, ask = os.pipe()
    os.set_blocking(ask, False)
    signal.set_wakeup_fd(ask, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    parent = _opened(os.getppid())
    commands = [["flux", "job", "attach", "--read-only", job] for job in jobs] + commands
    followers = [subprocess.Popen(command, start_new_session=True) for command in commands]
    ends = {_opened(follower.pid): follower for follower in followers}
    poll = select.poll()
    for descriptor in (asked, parent, *ends):
        poll.register(descriptor, select.POLLIN)
    patience = None
    while ends:
        ready = [descriptor for descriptor, _ in poll.poll(patience)]
        if not ready:
            break
        for descriptor in ready:
            poll.unregister(descriptor)
            ends.pop(descriptor, None)
        if patience is None and (asked in ready or parent in ready):
            patience = _PATIENCE_S * 1000
            _end(jobs, ends.values())
    for follower in ends.values():
        follower.kill()
    return max(abs(follower.wait()) for follower in followers)


def _opened(pid: int) -> int:
    return os.pidfd_open(pid)


def _end(jobs: "list[str]", followers: "Iterable[subprocess.Popen]") -> None:
    if jobs:
        told = "--message=the executor has ended"
        subprocess.run(["flux", "job", "raise", told, *jobs], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    else:
        for follower in followers:
            follower.terminate()


if __name__ == "__main__":
    sys.exit(main(**json.loads(sys.argv[1])))
