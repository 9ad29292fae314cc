"""A NumPy array as argument and as result. Both sides read one value per page: memory that is only
mapped would look free otherwise."""

import time

from benchmarks import timing, work
from benchmarks.measure import POOLS

SIZES_MIB = (1, 64, 512)
TITLE = "NumPy array there and back"
PEERS = (*POOLS, "limit")
METRICS = {f"mib{size}_ms": f"{size} MiB argument and result [ms]" for size in SIZES_MIB} | {
    "writable": "`a += 1` works in the worker and on the result, every size [1 = yes]"
}
ROUNDS = (2, 5)
TIMEOUT_S = 180
ALONE = True
REPEATS = {1: 15, 64: 3, 512: 1}


def sizes(quick):
    return SIZES_MIB[:2] if quick else SIZES_MIB


def _round_trip(executor, array):
    start = time.perf_counter()
    work.touch(executor.submit(work.touch, array).result())
    return (time.perf_counter() - start) * 1e3


def _writable(executor, array):
    try:
        result = executor.submit(work.add_one, array).result()
        result += 1
    except ValueError:
        return 0
    return int(bool((result == 3).all()))


def measure(peer, quick):
    import numpy

    sources = {size: numpy.ones(size * 131072) for size in sizes(quick)}
    with peer.persistent() as executor:
        if peer.name == "thread":  # shares its arrays with the driver, so the check would change the source
            writable = 1
        else:
            writable = min(_writable(executor, array) for array in sources.values())
        while True:
            sample = {"writable": writable}
            for size, array in sources.items():
                sample[f"mib{size}_ms"] = timing.median(_round_trip(executor, array) for _ in range(REPEATS[size]))
            yield sample
