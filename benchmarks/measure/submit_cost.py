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
    "module_ratio": "submit / cloudpickle.dumps, function of a module",
    "lambda_ratio": "submit / cloudpickle.dumps, lambda",
    "main_ratio": "submit / cloudpickle.dumps, function of __main__",
    "floats_ratio": "submit / cloudpickle.dumps, list of 500,000 floats",
}
ROUNDS = (3, 7)
TIMEOUT_S = 120
BURST = 50


def _main_function():
    """A function that lives in __main__, as those of a script or notebook do."""
    main = sys.modules["__main__"].__dict__
    exec("def benchmark_in_main(value):\n    return value + 1\n", main)
    return main["benchmark_in_main"]


def _compare(peer, executor, burst, seconds, function, *args):
    """(seconds per submit, its ratio to cloudpickle.dumps), medians of alternating bursts of both."""
    from cloudpickle import dumps

    submits, ratios = [], []
    deadline = time.perf_counter() + seconds
    while len(submits) < 3 or time.perf_counter() < deadline:
        start = time.perf_counter()
        futures = [executor.submit(function, *args) for _ in range(burst)]
        submit = (time.perf_counter() - start) / burst
        peer.collect(futures)
        start = time.perf_counter()
        for _ in range(burst):
            dumps((function, args, {}))
        submits.append(submit)
        ratios.append(submit / ((time.perf_counter() - start) / burst))
    return timing.median(submits), timing.median(ratios)


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
                cost, ratio = _compare(peer, executor, burst, seconds, *call)
                sample[f"{name}_us"], sample[f"{name}_ratio"] = cost * 1e6, ratio
            yield sample
