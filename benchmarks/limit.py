"""What no executor can beat: a pickled ping-pong between two processes, a bare fork, a plain copy."""

import os
import pickle
import socket
import time

from benchmarks import timing, work

BATCH = 128
_DONE = None


def _answer(connection):
    """Unpickle calls, run them, pickle their results; a batch is answered in one write."""
    reader = connection.makefile("rb", buffering=1 << 16)
    while (batch := pickle.load(reader)) is not _DONE:
        replies = []
        for _ in range(batch):
            function, args = pickle.load(reader)
            replies.append(pickle.dumps(function(*args), protocol=5))
        connection.sendall(b"".join(replies))


def _start(core=None):
    """Fork the answering process, bound to `core` if given; returns (socket, process id)."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        try:
            if core is not None:
                os.sched_setaffinity(0, {core})
            _answer(theirs)
        finally:
            os._exit(0)
    theirs.close()
    return ours, pid


def _header(count):
    return pickle.dumps(count, protocol=5)


def _stop(connection, pid):
    connection.sendall(_header(_DONE))
    connection.close()
    os.waitpid(pid, 0)


def _ping_pong(connection, seconds):
    """Durations of single calls."""
    header = _header(1)

    def ping():
        connection.sendall(header + pickle.dumps((work.echo, (1,)), protocol=5))
        pickle.loads(connection.recv(4096))

    return timing.repeat(ping, seconds)


def round_trip(quick):
    """One call at a time; where the two processes run is left to the kernel, which often puts both on one core.
    With two cores at hand, the same once more with each process bound to its own."""
    cores = sorted(os.sched_getaffinity(0))
    together, apart = _start(), _start(cores[-1])
    seconds = 0.1 if quick else 0.3
    try:
        while True:
            durations = _ping_pong(together[0], seconds)
            sample = {
                "median_us": timing.median(durations) * 1e6,
                "p99_us": timing.quantile(durations, 0.99) * 1e6,
            }
            if len(cores) > 1:
                os.sched_setaffinity(0, {cores[0]})
                sample["apart_us"] = timing.median(_ping_pong(apart[0], seconds)) * 1e6
                os.sched_setaffinity(0, cores)
            yield sample
    finally:
        _stop(*together)
        _stop(*apart)


def throughput(quick):
    """Batches of separately pickled calls, the next always on its way while one is answered."""
    connection, pid = _start()
    reader = connection.makefile("rb", buffering=1 << 16)
    header = _header(BATCH)

    def pipeline(count):
        batches = max(2, count // BATCH)
        for index in range(batches + 1):
            if index < batches:
                calls = [pickle.dumps((work.echo, (number,)), protocol=5) for number in range(BATCH)]
                connection.sendall(header + b"".join(calls))
            if index > 0:
                for _ in range(BATCH):
                    pickle.load(reader)

    try:
        while True:
            yield {"submit_per_s": timing.rate(pipeline, 0.2 if quick else 0.5, start=64 * BATCH)}
    finally:
        _stop(connection, pid)


def _fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def per_call(quick):
    """A bare fork of a small interpreter, as a zygote does it: fork, _exit, waitpid."""
    while True:
        durations = timing.repeat(_fork, 0.1 if quick else 0.3)
        middle = timing.median(durations)
        yield {"round_trip_ms": middle * 1e3, "rate_per_s": 1 / middle}


def mpi(quick):
    """Bare mpiexec: two interpreters that start MPI and end."""
    import subprocess
    import sys

    from executorlib._mpi import launcher

    command = [*launcher().command(2, False), sys.executable, "-c", "from mpi4py import MPI"]
    while True:
        durations = timing.repeat(lambda: subprocess.run(command, check=True), 0.5 if quick else 1.5)
        yield {"per_call_ms": timing.median(durations) * 1e3}


def arrays(quick):
    """Two plain copies in one process: the argument there, the result back."""
    import numpy

    from benchmarks.measure.arrays import SIZES_MIB, sizes

    sources = {size: numpy.ones(size * 131072) for size in sizes(quick)}
    while True:
        sample = {}
        for size in SIZES_MIB:
            if size in sources:
                start = time.perf_counter()
                sources[size].copy().copy()
                sample[f"mib{size}_ms"] = (time.perf_counter() - start) * 1e3
        yield sample


def cache(quick):
    """A plain write of as many bytes, and their way to the disk."""
    import pathlib
    import tempfile

    from benchmarks.measure.cache import LARGE, write_large

    data = b"x" * LARGE
    with tempfile.TemporaryDirectory(prefix="executorlib-benchmark-") as folder:
        while True:
            yield {"large_s": write_large(pathlib.Path(folder), data)}
