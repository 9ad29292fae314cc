"""One process per call: one after the other, and many at once on two cores."""

from benchmarks import timing, work

TITLE = "One process per call"
PEERS = ("reference", "ours", "limit")
METRICS = {
    "round_trip_ms": "round trip, median [ms]",
    "round_trip_p99_ms": "round trip, 99th percentile [ms]",
    "rate_per_s": "rate [calls/s]",
}
ROUNDS = (3, 7)
TIMEOUT_S = 90


def measure(peer, quick):
    seconds = 0.2 if quick else 0.5
    with peer.per_call() as executor:

        def call():
            executor.submit(work.echo, 1).result()

        def many(count):
            for future in [executor.submit(work.echo, number) for number in range(count)]:
                future.result()

        call()
        while True:
            durations = timing.repeat(call, seconds)
            yield {
                "round_trip_ms": timing.median(durations) * 1e3,
                "round_trip_p99_ms": timing.quantile(durations, 0.99) * 1e3,
                "rate_per_s": timing.rate(many, seconds, start=4, most=5000),
            }
