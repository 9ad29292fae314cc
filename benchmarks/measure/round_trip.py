"""Submit one call, wait for its result, and again."""

from benchmarks import timing, work
from benchmarks.measure import POOLS

TITLE = "Round trip, persistent workers"
PEERS = (*POOLS, "limit")
METRICS = {
    "median_us": "round trip, median [µs]",
    "p99_us": "round trip, 99th percentile [µs]",
    "apart_us": "round trip, median, the two processes bound to different cores [µs]",
}
ROUNDS = (5, 9)
TIMEOUT_S = 60


def measure(peer, quick):
    with peer.persistent() as executor:

        def call():
            executor.submit(work.echo, 1).result()

        timing.repeat(call, 0.2, minimum=10)
        while True:
            durations = timing.repeat(call, 0.1 if quick else 0.3, minimum=10)
            yield {
                "median_us": timing.median(durations) * 1e6,
                "p99_us": timing.quantile(durations, 0.99) * 1e6,
            }
