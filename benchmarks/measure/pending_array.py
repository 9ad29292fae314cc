"""Many pending calls on one large array: it must not be copied for each."""

import time

from benchmarks import memory
from benchmarks.gate import Gate
from benchmarks.peers import WORKERS

TITLE = "10,000 pending calls on one 64 MiB array"
# Not dask: its client serialises the array at every submit, 640 GB in all.
PEERS = ("process", "loky", "reference", "ours")
METRICS = {
    "growth_mib": "memory growth, all pending [MiB]",
    "running_mib": "memory growth while the first 20 run, largest seen [MiB]",
    "calls": "pending calls reached [count]",
}
ROUNDS = (1, 1)
TIMEOUT_S = 120
ALONE = ABANDON = True
SIZE_MIB = 64
COUNT = 10_000
RUNNING = 20
STOP_MIB = 4096  # enough to have shown that it copies
_MIB = 1 << 20


def measure(peer, quick):
    import numpy

    array = numpy.ones(SIZE_MIB * 131072)
    with peer.persistent() as executor, Gate() as gate:
        executor.submit(len, array).result()
        gate.hold(executor, WORKERS)
        before = memory.tree_bytes()
        futures = []
        growth = 0
        deadline = time.monotonic() + 30
        while len(futures) < COUNT and growth < STOP_MIB and time.monotonic() < deadline:
            # Doubling, so that a peer that copies stays below twice the stop.
            step = min(COUNT, max(10, 2 * len(futures))) - len(futures)
            futures += [executor.submit(len, array) for _ in range(step)]
            growth = (memory.tree_bytes() - before) / _MIB
        sample = {"growth_mib": growth, "calls": len(futures)}
        gate.open()
        largest = growth
        for future in futures[:RUNNING]:
            future.result()
            largest = max(largest, (memory.tree_bytes() - before) / _MIB)
        yield sample | {"running_mib": largest}
