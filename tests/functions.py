"""What the tests submit: light functions that workers import by name.

This module imports nothing beyond the standard library, so that a worker of one call does not pay for pytest.
"""

import contextlib
import dataclasses
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path


def identity(value):
    return value


def add(a, b):
    return a + b


def echo(*args, **kwargs):
    return args, kwargs


def raise_error(error):
    raise error


def divide(a, b):
    return a / b


def quotient_and_remainder(a, b):
    return {"quotient": a // b, "remainder": a % b}


def square(number):
    return number * number


def total_of_items(values):
    return sum(values.values())


def worker_pid(*_):
    return os.getpid()


def append_line(path, text):
    """One write with O_APPEND, so lines of several processes do not mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"{text}\n".encode())
    finally:
        os.close(descriptor)
    return text


def record_span(path, name):
    append_line(path, f"start {name}")
    append_line(path, f"end {name}")


def pass_gate(folder, value=None):
    """Announce this process at the gate in *folder* and wait there until the driver opens it."""
    announce(folder, os.getpid())
    try:
        with open(os.path.join(folder, "door"), "rb") as door:
            door.read()
    except FileNotFoundError:
        pass
    return value


def announce(folder, *pids):
    path = os.path.join(folder, "arrivals")
    with contextlib.suppress(FileNotFoundError, BrokenPipeError), open(path, "wb", buffering=0) as arrivals:
        arrivals.write(" ".join(map(str, pids)).encode() + b"\n")


class Picky(Exception):
    """An exception that its own arguments cannot construct again."""

    def __init__(self, code, *, reason):
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class ChildEnded(Exception):
    """What a call raises once the process that it forked has ended."""


def crash(kind):
    """End the call, or the process, in the way that *kind* names."""
    if kind == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "SIGSEGV":
        segfault()
    elif kind == "os._exit":
        os._exit(7)
    elif kind == "sys.exit":
        sys.exit(5)
    elif kind == "MemoryError":
        raise MemoryError("no room for the matrix")
    elif kind == "picky exception":
        raise Picky(3, reason="does not round-trip")
    elif kind == "unpicklable result":
        return threading.Lock()
    else:
        raise AssertionError(kind)


def segfault():
    import ctypes
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)


def crash_with_text(kind, text):
    os.write(2, f"{text}\n".encode())
    return crash(kind)


def speak(text):
    sys.stderr.write(f"{text}\n")  # in one piece: others may write into the same file
    sys.stderr.flush()
    return text


class CrashAtUnpickle:
    """An argument whose unpickling in the worker crashes."""

    def __init__(self, kind, text):
        self.kind = kind
        self.text = text

    def __reduce__(self):
        return crash_with_text, (self.kind, self.text)


class CrashAtPickle:
    """A result whose pickling in the worker crashes."""

    def __init__(self, kind, text):
        self.kind = kind
        self.text = text

    def __reduce__(self):
        if crash_with_text(self.kind, self.text) is not None:
            raise TypeError("cannot pickle this result")


def make_crash_at_pickle(kind, text):
    return CrashAtPickle(kind, text)


def crash_in_child(kind, text):
    """Fork, let the child crash or return out of this function, and report how it ended."""
    pid = os.fork()
    if pid == 0:
        return crash_with_text(kind, text)
    _, status = os.waitpid(pid, 0)
    raise ChildEnded(os.waitstatus_to_exitcode(status))


def fork_and_return(parent_value, child_value):
    """The forked child returns out of the call as well."""
    pid = os.fork()
    if pid == 0:
        return child_value
    os.waitpid(pid, 0)
    return parent_value


def crash_until_removed(flag, kind, text, name=None, value=None):
    """An init_function body: crash as long as the file *flag* exists."""
    if os.path.exists(flag):
        crash_with_text(kind, text)
    return {name: value} if name else {}


def start_family(folder):
    """Start a child, and a grandchild in a session of its own; announce both and this process; wait at the gate."""
    child, grandchild = spawn_family()
    announce(folder, os.getpid(), child, grandchild)
    try:
        with open(os.path.join(folder, "door"), "rb") as door:
            door.read()
    except FileNotFoundError:
        pass
    return child, grandchild


def spawn_family():
    """Pids of a plain child and of a double-forked grandchild in a session of its own; neither ends by itself."""
    child = subprocess.Popen(["sleep", "3600"], stdin=subprocess.DEVNULL)
    # Popen warns about a child that outlives its object; this one is meant to.
    child.returncode = 0
    reader, writer = os.pipe()
    middle = os.fork()
    if middle == 0:
        os.setsid()
        grandchild = os.fork()
        if grandchild == 0:
            os.close(reader)
            os.write(writer, b"%d\n" % os.getpid())
            os.close(writer)
            os.execvp("sleep", ["sleep", "3600"])
        os._exit(0)
    os.close(writer)
    os.waitpid(middle, 0)
    with os.fdopen(reader, "rb") as pipe:
        return child.pid, int(pipe.readline())


def add_one_in_place(array):
    array += 1
    return array


def random_numbers():
    numbers = [random.random()]
    if "numpy" in sys.modules:
        numbers.append(sys.modules["numpy"].random.random())
    return numbers


def numpy_random_numbers():
    import numpy

    return [random.random(), float(numpy.random.random()), float(numpy.random.default_rng().random())]


def environment(*names):
    return {name: os.environ.get(name) for name in names}


def working_directory():
    return os.getcwd()


@dataclasses.dataclass
class Point:
    x: object
    y: object


class Box:
    """A plain object with one attribute."""

    def __init__(self, content):
        self.content = content


def point_sum(point):
    return point.x + point.y


def box_content(box):
    return box.content


def total(values):
    return sum(values)


def nested_total(structure):
    if isinstance(structure, dict):
        return sum(nested_total(value) for value in structure.values())
    if isinstance(structure, (list, tuple, set, frozenset)):
        return sum(nested_total(value) for value in structure)
    return structure


def write_at_exit(path, text):
    import atexit

    atexit.register(Path(path).write_text, text)


_left_behind = []


def write_without_closing(path, text):
    """Leave *text* in the buffer of a file that only the end of the interpreter closes."""
    file = open(path, "w")
    file.write(text)
    _left_behind.append(file)


class LazyModule:
    """As one whose import waits for the first look at an attribute."""

    def __init__(self, log):
        object.__setattr__(self, "log", log)

    def __getattribute__(self, name):
        append_line(object.__getattribute__(self, "log"), name)
        raise RuntimeError("imported when it is too late")


def leave_lazy_module(log):
    _left_behind.append(LazyModule(log))


def visible_gpus(variable="CUDA_VISIBLE_DEVICES"):
    value = os.environ.get(variable)
    return None if value is None else value.split(",")


def span_on_gpus(seconds=0.0):
    """The GPUs that this call sees, and when it began and ended; the clock is the same in all processes."""
    began = time.monotonic()
    time.sleep(seconds)
    return visible_gpus(), began, time.monotonic()


def own_processors():
    return sorted(os.sched_getaffinity(0))


def span_on_processors(seconds=0.0):
    began = time.monotonic()
    time.sleep(seconds)
    return own_processors(), began, time.monotonic()


def resist(folder, children=2):
    """Announce this process and *children* of it, none of which ends at SIGTERM, and block in C."""
    import ctypes

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    started = []
    for _ in range(children):
        pid = os.fork()
        if pid == 0:
            os.setsid()
            while True:
                signal.pause()
        started.append(pid)
    announce(folder, os.getpid(), *started)
    ctypes.CDLL(None).pause()


def answer_when_terminated(value):
    """Return *value*, but not before SIGTERM has come."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.sigwait({signal.SIGTERM})
    return value


def leave_child_that_tidies_up(folder, log):
    """End at SIGTERM, but with a child that then passes the gate in *folder* and writes to *log* before it ends."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    child = os.fork()
    if child == 0:
        signal.sigwait({signal.SIGTERM})
        pass_gate(folder)
        append_line(log, "tidy")
        os._exit(0)
    announce(folder, os.getpid(), child)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    signal.pause()


def say_and_pause(folder, text):
    """Write *text* to stderr, announce this process, and wait for a signal."""
    os.write(2, f"{text}\n".encode())
    announce(folder, os.getpid())
    signal.pause()


def write_everywhere(text):
    """Write *text* in all the ways that a call may write to stdout and stderr."""
    import ctypes

    libc = ctypes.CDLL(None)
    print(f"print {text}")
    print(f"error {text}", file=sys.stderr)
    sys.stdout.flush()
    libc.puts(f"puts {text}".encode())
    libc.fflush(None)
    os.write(1, f"write {text}\n".encode())
    subprocess.run(["sh", "-c", f"echo child {text}; echo grandchild {text} >&2"], check=True)
    print(f"last {text}", end="\n")
