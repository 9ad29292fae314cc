"""A call of 10 s beside 1,000 no-ops on two workers: none of them may wait behind it."""

import time

from benchmarks import work
from benchmarks.gate import Gate

TITLE = "A 10 s call beside 1,000 no-ops, two persistent workers"
PEERS = ("process", "thread", "loky", "dask", "reference", "ours")
METRICS = {
    "first_s": "long call first, then the no-ops: all no-ops done after [s]",
    "middle_s": "long call in the midst of the no-ops: all no-ops done after [s]",
}
ROUNDS = (1, 3)
TIMEOUT_S = 90
LONG_S = 10.0
NOOPS = 1000


def _seconds(peer, executor, before):
    """Time until all no-ops are done, `before` of them submitted ahead of the long call. The long call
    ends early once they are; a no-op stuck behind it waits for its full length and shows."""
    with Gate(LONG_S) as gate:
        start = time.perf_counter()
        futures = [executor.submit(work.noop) for _ in range(before)]
        long_call, _ = gate.submit(executor)
        futures += [executor.submit(work.noop) for _ in range(NOOPS - before)]
        peer.collect(futures)
        seconds = time.perf_counter() - start
        gate.open()
        long_call.result()
    return seconds


def measure(peer, quick):
    with peer.persistent() as executor:
        peer.collect([executor.submit(work.noop) for _ in range(20)])
        while True:
            yield {"first_s": _seconds(peer, executor, 0), "middle_s": _seconds(peer, executor, NOOPS // 2)}
