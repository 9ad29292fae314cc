"""Many calls whose futures, in one list, are the argument of a last call.

Executors that take no futures collect the results in the driver and submit them."""

import time

from benchmarks import work
from benchmarks.measure import POOLS

TITLE = "Fan-in"
PEERS = POOLS
METRICS = {"call_us": "per call of the fan [µs]", "total_s": "whole fan [s]", "width": "width [calls]"}
ROUNDS = (1, 3)
TIMEOUT_S = 120


def measure(peer, quick):
    width = 1_000 if quick and not peer.quiet else 10_000
    with peer.persistent() as executor:
        executor.submit(work.noop).result()
        while True:
            start = time.perf_counter()
            values = [executor.submit(work.echo, number) for number in range(width)]
            if not peer.resolves_futures:
                values = [future.result() for future in values]
            reached = executor.submit(work.total, values).result()
            seconds = time.perf_counter() - start
            if reached != width * (width - 1) // 2:
                raise AssertionError(f"the fan added up to {reached}")
            yield {"call_us": seconds / width * 1e6, "total_s": seconds, "width": width}
