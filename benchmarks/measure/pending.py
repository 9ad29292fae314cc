"""No-op calls waiting behind held workers: memory of each, and whether submitting stays as fast."""

import time

from benchmarks import memory, timing, work
from benchmarks.gate import Gate
from benchmarks.measure import POOLS
from benchmarks.peers import WORKERS

TITLE = "Pending calls"
PEERS = POOLS
METRICS = {
    "bytes_per_call": "memory per pending call [B]",
    "first_per_s": "submit rate, first 10 % [calls/s]",
    "last_per_s": "submit rate, last 10 % [calls/s]",
    "rate_ratio": "submit rate, last / first 10 %",
    "calls": "pending calls reached [count]",
}
ROUNDS = (1, 1)
TIMEOUT_S = 120
ALONE = ABANDON = True
COUNT, COUNT_QUICK = 1_000_000, 100_000
SLOW_S, SLOW_QUICK_S = 20.0, 3.0  # a peer that needs longer stops here, with as many calls as it has then


def _submit_all(executor, futures, chunk, seconds_allowed):
    """Fill `futures` in chunks; returns the seconds of each chunk."""
    seconds = []
    deadline = time.perf_counter() + seconds_allowed
    for first in range(0, len(futures), chunk):
        start = time.perf_counter()
        if start > deadline:
            break
        for index in range(first, first + chunk):
            futures[index] = executor.submit(work.noop)
        seconds.append(time.perf_counter() - start)
    return seconds


def measure(peer, quick):
    count = COUNT_QUICK if quick else COUNT
    chunk = count // 1000
    futures = [None] * count
    with peer.persistent() as executor, Gate() as gate:
        gate.hold(executor, WORKERS)
        before = memory.tree_bytes()
        seconds = _submit_all(executor, futures, chunk, SLOW_QUICK_S if quick else SLOW_S)
        growth = memory.tree_bytes() - before
        tenth = max(1, len(seconds) // 10)
        # Medians of the chunks: a moment of other work on the machine is no change of the rate.
        first, last = (chunk / timing.median(part) for part in (seconds[:tenth], seconds[-tenth:]))
        yield {
            "bytes_per_call": growth / (len(seconds) * chunk),
            "first_per_s": first,
            "last_per_s": last,
            "rate_ratio": last / first,
            "calls": len(seconds) * chunk,
        }
