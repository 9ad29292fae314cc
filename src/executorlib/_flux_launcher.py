"""Starts agents and stands for them as long as they wait or run: what the engine takes for their launcher.

    python _flux_launcher.py [--ranks=<nodes>] <plan, in JSON> [<command of each task>]

    plan: "parent": its process id             "jobs": ids of jobs with agents, which have been submitted
          "submit": what follows `flux`        "specifications": of jobs to submit, which get this environment
          "commands": which start agents without a job    "door": a socket of the parent's (abstract), to which there is
                                                          a connection until all has been submitted
          "beside": what a job has on each of these nodes beside the jobs there, see _flux_steps.py

`flux run` would leave its job behind when it dies, or when its parent does. This one ends with the last of the agents,
passes on what they write, and ends them when it is asked to, or when its parent is gone, also before they run.
"""

import json
import os
import select
import signal
import subprocess
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PATIENCE_S = 10.0  # for agents that have been told to end


class Launcher:
    """What a plan has been carried out to.

    Parameters:
        plan, command, ranks: see above.
    """

    def __init__(self, plan: "dict[str, Any]", command: "list[str]", ranks: "list[str]") -> None:
        self._plan = plan
        self._command = command
        self._ranks = ranks
        self._jobs: list[str] = plan.get("jobs", [])
        self._followers: dict[int, subprocess.Popen] = {}  # by a descriptor that tells of their ends
        self._status = 0
        self._ending = False
        self._poll = select.poll()
        self._watch_for_end()

    def _watch_for_end(self) -> None:
        """From here on, neither a signal nor the end of the parent is missed."""
        told, tell = os.pipe()
        os.set_blocking(tell, False)
        signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            parent = os.pidfd_open(self._plan.get("parent") or os.getppid())
        except ProcessLookupError:
            sys.exit(1)
        for descriptor in (told, parent):
            self._poll.register(descriptor, select.POLLIN)

    def run(self) -> int:
        """Returns the exit status: the worst of all."""
        if "door" in self._plan:
            import socket

            with socket.socket(socket.AF_UNIX) as parent:
                parent.connect("\0" + self._plan["door"])
                self._submit()
        else:
            self._submit()
        for job in self._jobs:
            self._follow(["flux", "job", "attach", "--read-only", job], preexec_fn=_ignore_end)
        for command in self._plan.get("commands", []):
            self._follow(command)
        while self._followers and not self._ending:
            self._wait()
        if self._ending:
            self._end()
            while self._followers and self._wait(_PATIENCE_S * 1000):
                pass
        for follower in self._followers.values():
            follower.kill()
        return self._status

    def _submit(self) -> None:
        for specification in self._plan["specifications"]:
            self._wait(0)
            if self._ending:
                return
            self._complete(specification)
            done = subprocess.run(
                ["flux", *self._plan["submit"]],
                input=json.dumps(specification),
                stdout=subprocess.PIPE,
                text=True,
                preexec_fn=_ignore_end,
            )
            if done.returncode != 0:
                self._end()
                sys.exit(done.returncode)
            self._jobs.append(done.stdout.strip())

    def _complete(self, specification: "dict[str, Any]") -> None:
        """What is known here only."""
        system = specification["attributes"]["system"]
        system["environment"] = dict(os.environ)
        if self._command:
            specification["tasks"][0]["command"] = self._command
        if self._ranks and "beside" in self._plan:
            system["alloc-bypass"] = {"R": _part(self._ranks, **self._plan["beside"])}

    def _follow(self, command: "list[str]", **options: "Any") -> None:
        follower = subprocess.Popen(command, start_new_session=True, **options)
        descriptor = os.pidfd_open(follower.pid)
        self._followers[descriptor] = follower
        self._poll.register(descriptor, select.POLLIN)

    def _wait(self, patience_ms: "float | None" = None) -> bool:
        """See what happens; returns whether anything has."""
        ready = [descriptor for descriptor, _ in self._poll.poll(patience_ms)]
        for descriptor in ready:
            self._poll.unregister(descriptor)
            follower = self._followers.pop(descriptor, None)
            if follower is None:
                self._ending = True
            else:
                self._status = max(self._status, abs(follower.wait()))
        return bool(ready)

    def _end(self) -> None:
        if self._jobs:
            told = f"--message=the {'call' if self._command else 'executor'} has ended"
            silent = subprocess.DEVNULL
            subprocess.run(["flux", "job", "raise", told, *self._jobs], stdout=silent, stderr=silent)
        else:
            for follower in self._followers.values():
                follower.terminate()


def _ignore_end() -> None:
    """SIGTERM is for the launcher, which then sees to the end of the job; in a child, before its program starts."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _part(ranks: "list[str]", cores: int, gpus: int) -> "dict[str, Any]":
    """So much of each of these nodes."""
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    from _flux_sets import part_of  # type: ignore[import-not-found]

    told = subprocess.run(["flux", "kvs", "get", "resource.R"], stdout=subprocess.PIPE, text=True, check=True)
    return part_of(told.stdout, [int(rank) for rank in ranks], cores, gpus)


def main(arguments: "list[str]") -> int:
    """Returns the exit status."""
    ranks: list[str] = []
    if arguments[0].startswith("--ranks="):
        ranks = arguments.pop(0).partition("=")[2].split(",")
    return Launcher(json.loads(arguments[0]), arguments[1:], ranks).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
