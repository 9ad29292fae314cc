"""From the constructor to the first result, in a fresh interpreter that has imported the package."""

import time

from benchmarks import work
from benchmarks.measure import POOLS

TITLE = "Start"
PEERS = POOLS
METRICS = {
    "persistent_ms": "constructor to first result, persistent workers [ms]",
    "per_call_ms": "constructor to first result, one process per call [ms]",
}
ROUNDS = (3, 7)
TIMEOUT_S = 60
FRESH = True


def _first_result(factory):
    start = time.perf_counter()
    with factory() as executor:
        executor.submit(work.echo, 1).result()
        return (time.perf_counter() - start) * 1e3


def measure(peer, quick):
    sample = {"persistent_ms": _first_result(peer.persistent)}
    if peer.per_call:
        sample["per_call_ms"] = _first_result(peer.per_call)
    yield sample
