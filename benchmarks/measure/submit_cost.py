"""How long `submit` keeps the calling thread, beside `cloudpickle.dumps` of the same call."""

import sys
import time

from benchmarks import timing, work
from benchmarks.measure import POOLS

TITLE = "Submit cost"
PEERS = POOLS
METRICS = {
    "module_us": "submit, function of a module [µs]",
    "lambda_us": "submit, lambda [µs]",
    "main_us": "submit, function of __main__ [µs]",
    "floats_us": "submit, list of 500,000 floats [µs]",
    "module_mean_us": "mean of 1,000 in a row, function of a module [µs]",
    "main_mean_us": "mean of 1,000 in a row, function of __main__ [µs]",
    "module_ratio": "submit / cloudpickle.dumps, function of a module",
    "lambda_ratio": "submit / cloudpickle.dumps, lambda",
    "main_ratio": "submit / cloudpickle.dumps, function of __main__",
    "floats_ratio": "submit / cloudpickle.dumps, list of 500,000 floats",
}
ROUNDS = (3, 7)
TIMEOUT_S = 120
BURST = 1000


def _main_function():
    """A function that lives in __main__, as those of a script or notebook do."""
    main = sys.modules["__main__"].__dict__
    exec("def benchmark_in_main(value):\n    return value + 1\n", main)
    return main["benchmark_in_main"]


def _compare(peer, executor, burst, seconds, function, *args):
    """(seconds per submit, its ratio to cloudpickle.dumps, mean seconds in a row), from alternating bursts of both.

    The first two go by the median of the single calls, so they tell the cost of the call itself; the mean of a burst
    also has what workers and other threads take from the caller meanwhile: its core, and the interpreter lock."""
    from cloudpickle import dumps

    submits, ratios, means = [], [], []
    deadline = time.perf_counter() + seconds
    while not submits or time.perf_counter() < deadline:
        futures, durations = [], []
        for _ in range(burst):
            start = time.perf_counter()
            future = executor.submit(function, *args)
            durations.append(time.perf_counter() - start)
            futures.append(future)
        peer.collect(futures)
        submits.append(timing.median(durations))
        means.append(sum(durations) / burst)
        ratios.append(submits[-1] / timing.median(timing.elapsed(dumps, (function, args, {})) for _ in range(burst)))
    return timing.median(submits), timing.median(ratios), timing.median(means)


def measure(peer, quick):
    seconds = 0.1 if quick else 0.3
    floats = [index * 0.5 for index in range(500_000)]
    cases = {
        "module": (BURST, work.echo, 1),
        "main": (BURST, _main_function(), 1),
        "floats": (1, len, floats),
    }
    if peer.any_function:
        cases["lambda"] = (BURST, lambda value: value + 1, 1)
    with peer.persistent() as executor:
        executor.submit(work.noop).result()
        while True:
            sample = {}
            for name, (burst, *call) in cases.items():
                cost, ratio, mean = _compare(peer, executor, burst, seconds, *call)
                sample |= {f"{name}_us": cost * 1e6, f"{name}_ratio": ratio, f"{name}_mean_us": mean * 1e6}
            yield sample
