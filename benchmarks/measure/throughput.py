"""Many calls at once: submit all, then collect all; and the same by `map`."""

from benchmarks import timing, work
from benchmarks.measure import POOLS

TITLE = "Throughput, persistent workers"
PEERS = (*POOLS, "limit")
METRICS = {"submit_per_s": "submit and collect [calls/s]", "map_per_s": "map [calls/s]"}
ROUNDS = (3, 7)
TIMEOUT_S = 60
BURST = 500  # fewer would time the latency of the last


def measure(peer, quick):
    seconds = 0.3 if quick else 0.7
    with peer.persistent() as executor:

        def submit(count):
            peer.collect([executor.submit(work.echo, number) for number in range(count)])

        def mapped(count):
            for _ in executor.map(work.echo, range(count)):
                pass

        submit(50)
        while True:
            yield {
                "submit_per_s": timing.rate(submit, seconds, BURST),
                "map_per_s": timing.rate(mapped, seconds, BURST),
            }
