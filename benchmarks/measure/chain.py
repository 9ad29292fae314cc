"""A chain of calls, each with the future of the one before as its argument.

Executors that take no futures wait for each result in the driver, as their users have to."""

import time

from benchmarks import timing, work
from benchmarks.measure import POOLS

TITLE = "Chain of dependent calls"
PEERS = POOLS
METRICS = {
    "link_us": "per link [µs]",
    "round_trip_us": "round trip in the same process [µs]",
    "ratio": "per link / round trip",
    "links": "links [count]",
}
ROUNDS = (3, 7)
TIMEOUT_S = 120


def _by_futures(executor, links):
    future = executor.submit(work.increment, 0)
    for _ in range(links - 1):
        future = executor.submit(work.increment, future)
    return future.result()


def _by_hand(executor, links):
    value = 0
    for _ in range(links):
        value = executor.submit(work.increment, value).result()
    return value


def measure(peer, quick):
    links = 1000 if peer.quiet else 200  # the others take milliseconds for each
    run = _by_futures if peer.resolves_futures else _by_hand
    with peer.persistent() as executor:

        def call():
            executor.submit(work.increment, 0).result()

        timing.repeat(call, 0.1)
        while True:
            round_trip = timing.median(timing.repeat(call, 0.1))
            start = time.perf_counter()
            reached = run(executor, links)
            link = (time.perf_counter() - start) / links
            if reached != links:
                raise AssertionError(f"a chain of {links} increments gave {reached}")
            yield {"link_us": link * 1e6, "round_trip_us": round_trip * 1e6, "ratio": link / round_trip, "links": links}
