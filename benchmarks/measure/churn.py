"""Submit, take the result, drop the future, and again: memory must stay where it is."""

import time

from benchmarks import memory, work
from benchmarks.measure import POOLS

TITLE = "Submit, result, drop"
PEERS = POOLS
METRICS = {
    "growth_kib": "memory growth from the first tenth to the end [KiB]",
    "growth_bytes_per_call": "memory growth per call [B]",
    "calls": "calls [count]",
}
ROUNDS = (1, 1)
TIMEOUT_S = 120
ALONE = True
COUNT, COUNT_QUICK = 100_000, 20_000
SLOW_S, SLOW_QUICK_S = 24.0, 2.0


def _run(executor, count, seconds):
    """Do `count` calls, or as many as `seconds` allow; returns how many."""
    deadline = time.perf_counter() + seconds
    for done in range(count):
        if time.perf_counter() > deadline:
            return done
        executor.submit(work.echo, done).result()
    return count


def measure(peer, quick):
    count = COUNT_QUICK if quick else COUNT
    seconds = SLOW_QUICK_S if quick else SLOW_S
    with peer.persistent() as executor:
        _run(executor, count // 10, seconds / 10)
        before = memory.tree_bytes()
        calls = _run(executor, count - count // 10, seconds)
        growth = memory.tree_bytes() - before
        yield {
            "growth_kib": growth / 1024,
            "growth_bytes_per_call": growth / max(calls, 1),
            "calls": calls + count // 10,
        }
