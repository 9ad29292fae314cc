"""Results that last: calls that are computed and kept, and calls that are found, among few files and many.

A hit is looked for in folders in which all other files are empty: only the reference lists them."""

import os
import pathlib
import tempfile
import time

from benchmarks import timing, work

TITLE = "Cache"
PEERS = ("reference", "ours", "limit")
METRICS = {
    "first_ms": "computed and kept, per call [ms]",
    "hit_100_ms": "found among 100 files [ms]",
    "hit_1000_ms": "found among 1,000 files [ms]",
    "hit_4000_ms": "found among 4,000 files [ms]",
    "hit_100000_ms": "found among 100,000 files [ms]",
    "flat": "found among 100,000 / among 100",
    "large_s": "256 MiB, kept and on the disk [s]",
}
ROUNDS = (3, 7)
TIMEOUT_S = 240
LARGE = 256 << 20


def fill(folder, count):
    """So many files of other calls."""
    folder.mkdir()
    for number in range(count):
        (folder / f"other{number:032}_o.h5").touch()
    return folder


def measure(peer, quick):
    counts = (100, 1000, 4000) if peer.name == "reference" else (100, 1000, 4000, 100_000)
    import numpy

    with tempfile.TemporaryDirectory(prefix="executorlib-benchmark-") as name:
        root = pathlib.Path(name)
        folders = {count: fill(root / str(count), count - 1) for count in counts}
        executors = {count: _executor(folder) for count, folder in folders.items()}
        executors[0] = _executor(root / "new")
        try:
            for executor in executors.values():
                executor.submit(work.echo, 1).result()
            value = numpy.ones(LARGE // 8)
            if 100_000 in counts:
                _keep_large(root, value)
            number = 1
            while True:
                sample = {}
                calls = 100 if quick else 300
                start = time.perf_counter()
                for _ in range(calls):
                    number += 1
                    executors[0].submit(work.echo, number).result()
                sample["first_ms"] = (time.perf_counter() - start) / calls * 1e3
                for count in counts:
                    executor = executors[count]
                    durations = timing.repeat(lambda executor=executor: executor.submit(work.echo, 1).result(), 0.2)
                    sample[f"hit_{count}_ms"] = timing.median(durations) * 1e3
                if 100_000 in counts:
                    sample["flat"] = sample["hit_100000_ms"] / sample["hit_100_ms"]
                    sample["large_s"] = _keep_large(root, value)
                yield sample
        finally:
            for executor in executors.values():
                executor.shutdown()


def write_large(root, data):
    """Seconds of a plain write of `data` and of its way to the disk."""
    path = root / "plain"
    start = time.perf_counter()
    with open(path, "wb", buffering=0) as file:
        file.write(data)
        os.fsync(file.fileno())
    duration = time.perf_counter() - start
    path.unlink()
    return duration


def _executor(folder):
    from executorlib import SingleNodeExecutor

    return SingleNodeExecutor(max_workers=1, block_allocation=True, cache_directory=str(folder))


def _keep_large(root, value):
    from executorlib import _cache_entry

    path = root / "large_o.h5"
    start = time.perf_counter()
    _cache_entry.keep(str(path), (work.echo, (), {}), value, 10.0, {})
    duration = time.perf_counter() - start
    path.unlink()
    return duration
