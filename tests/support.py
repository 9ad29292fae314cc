"""Helpers that run in the test process: gates, scripts in a process of their own, and what the system has open."""

import contextlib
import dataclasses
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import functions
import pytest

#: A sanitizer or an emulator makes everything slower by some factor.
TIME_FACTOR = float(os.environ.get("EXECUTORLIB_TEST_TIME_FACTOR", "1"))
#: Seconds after which a wait that should end at once counts as hanging.
SOON = 60 * TIME_FACTOR
#: Seconds within which a failure must be reported and processes must be gone: less than the 5 s after which the engine
#: kills what does not end, and much more than it takes, for on a busy machine a process may wait for its turn.
AT_ONCE = 4 * TIME_FACTOR

TESTS = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Mode:
    """How an executor runs its calls: in persistent workers or each in a process of its own; and how many at once."""

    block: bool
    workers: int

    def __str__(self):
        return f"{'block' if self.block else 'per_call'}-{self.workers}"

    def arguments(self):
        arguments = {"max_workers": self.workers}
        if self.block:
            arguments["block_allocation"] = True
        return arguments


class Gate:
    """Calls stop at a gate until the driver opens it; the driver sees who has arrived.

    Built of two named pipes, so nobody polls: the door ends with end of file when the last writer closes it, which
    the death of the driver does as well.
    """

    def __init__(self, folder):
        self.folder = str(folder)
        os.makedirs(self.folder)
        os.mkfifo(self._path("door"))
        os.mkfifo(self._path("arrivals"))
        # Read and write, so that neither open waits for the other side.
        self._door = os.open(self._path("door"), os.O_RDWR)
        self._arrivals = os.open(self._path("arrivals"), os.O_RDWR)
        self._text = b""

    def _path(self, name):
        return os.path.join(self.folder, name)

    def submit(self, executor, value=None, **kwargs):
        return executor.submit(functions.pass_gate, self.folder, value, **kwargs)

    def arrival(self, timeout=SOON):
        """The pids that the next arriving call announces."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._text:
            ready, _, _ = select.select([self._arrivals], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"nobody arrived at the gate within {timeout} s")
            self._text += os.read(self._arrivals, 4096)
        line, self._text = self._text.split(b"\n", 1)
        return [int(pid) for pid in line.split()]

    def arrivals(self, count, timeout=SOON):
        return [self.arrival(timeout)[0] for _ in range(count)]

    def open(self):
        """Let everybody through, also those who come later."""
        if self._door >= 0:
            os.unlink(self._path("door"))
            os.close(self._door)
            self._door = -1

    def close(self):
        self.open()
        if self._arrivals >= 0:
            # In this order nobody waits to write to a pipe that has lost its reader.
            os.unlink(self._path("arrivals"))
            os.close(self._arrivals)
            self._arrivals = -1


@contextlib.contextmanager
def ended_executors(executor_class, **defaults):
    """A function that makes executors, of this class or another, with these arguments and more; all end with it."""
    made = []

    def make(executor_class=executor_class, **arguments):
        made.append(executor_class(**{**defaults, **arguments}))
        return made[-1]

    try:
        yield make
    finally:
        for executor in made:
            executor.shutdown(wait=True, cancel_futures=True)


def least(measure, enough, attempts=10):
    """The least of what *measure()* returns, in as many attempts as it takes to find one below *enough*.

    For what is quick unless the machine is busy with something else, which it is not all the time.
    """
    found = []
    while len(found) < attempts and not (found and found[-1] < enough):
        found.append(measure())
    return min(found)


def script_environment(**variables):
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **variables}


def write_script(folder, source):
    path = Path(folder) / "script.py"
    path.write_text(textwrap.dedent(source))
    return path


def run_script(folder, source, *arguments, timeout=2 * SOON, env=None, python=sys.executable):
    """Run *source* as a script of its own and return its CompletedProcess; its time limit fails the test."""
    command = [python, str(write_script(folder, source)), *map(str, arguments)]
    # Files instead of pipes: a process that the script leaves behind must not keep this call waiting for its output.
    with open(Path(folder) / "out.txt", "w+") as out, open(Path(folder) / "err.txt", "w+") as err:
        code = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=folder, timeout=timeout,
            env=env or script_environment(),
        ).returncode  # fmt: skip
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, code, out.read(), err.read())


class Driver:
    """A script running in a process of its own, spoken to in lines."""

    def __init__(self, folder, source, *arguments, env=None):
        self.process = subprocess.Popen(
            [sys.executable, str(write_script(folder, source)), *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, cwd=folder, env=env or script_environment(),
        )  # fmt: skip
        self._text = b""

    @property
    def pid(self):
        return self.process.pid

    def line(self, timeout=SOON):
        deadline = time.monotonic() + timeout
        while b"\n" not in self._text:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"no line from the driver within {timeout} s; so far {self._text!r}")
            chunk = os.read(self.process.stdout.fileno(), 4096)
            if not chunk:
                raise EOFError(f"the driver ended; its last words {self._text!r}")
            self._text += chunk
        line, self._text = self._text.split(b"\n", 1)
        return line.decode()

    def expect(self, text, timeout=SOON):
        """Read lines until one starts with *text*, and return the rest of it."""
        deadline = time.monotonic() + timeout
        while True:
            line = self.line(max(0, deadline - time.monotonic()))
            if line.startswith(text):
                return line[len(text) :].strip()

    def say(self, text=""):
        self.process.stdin.write(text.encode() + b"\n")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.process.stdin.close()
        self.process.stdout.close()


def children(pid):
    """Pids of the direct children of *pid*, of all its threads."""
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def descendants(pid):
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def status(pid):
    """Fields of /proc/<pid>/status, empty when there is no such process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def is_zombie(pid):
    return status(pid).get("State", "").startswith("Z")


def describe(pid):
    with contextlib.suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return f"{pid} ({status(pid).get('State')}; {command[:120]})"
    return f"{pid} (gone)"


def alive_after(pids, timeout):
    """Those of *pids* still running after *timeout* seconds; returns as soon as all have ended."""
    waiting = {}
    for pid in set(pids):
        with contextlib.suppress(ProcessLookupError):
            waiting[os.pidfd_open(pid)] = pid
    poller = select.poll()
    for descriptor in waiting:
        poller.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + timeout
    try:
        while waiting:
            ready = poller.poll(max(0, deadline - time.monotonic()) * 1000)
            if not ready:
                break
            for descriptor, _ in ready:
                poller.unregister(descriptor)
                os.close(descriptor)
                del waiting[descriptor]
        return sorted(waiting.values())
    finally:
        for descriptor in waiting:
            os.close(descriptor)


def wait_asleep(pid, timeout=SOON):
    """Return once the main thread of *pid* sleeps in the kernel.

    The kernel announces no such event, so this looks again until it has happened.
    """
    deadline = time.monotonic() + timeout
    while not status(pid).get("State", "").startswith("S"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} never slept within {timeout} s")
        os.sched_yield()


def kill_quietly(pids, number=signal.SIGKILL):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def open_descriptors():
    """Open descriptors of this process, {number: what it refers to}."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def mapped_memory_files():
    """Memory files (memfd) that this process has mapped, as (inode, name)."""
    with open("/proc/self/maps") as maps:
        return {tuple(line.split(None, 5)[4:]) for line in maps if "memfd:" in line}


def resident_kib(pid="self"):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS in /proc/<pid>/status")


def most_at_once(spans):
    """Of `(things, began, ended)` the largest number of spans that were under way at one time, for each thing."""
    events = {}
    for things, began, ended in spans:
        for thing in things:
            # What ends when another begins comes first.
            events.setdefault(thing, []).extend([(began, 1), (ended, -1)])
    most = {}
    for thing, changes in events.items():
        running = most[thing] = 0
        for _, change in sorted(changes):
            running += change
            most[thing] = max(most[thing], running)
    return most


def _can_start_ranks():
    from executorlib import _mpi

    try:
        _mpi.launcher()
    except Exception:
        return False
    return True


needs_mpi = pytest.mark.skipif(not _can_start_ranks(), reason="needs mpi4py and its launcher")
