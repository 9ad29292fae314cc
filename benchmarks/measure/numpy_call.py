"""One process per call, for functions that use NumPy, once the executor is warm."""

import sys

from benchmarks import timing, work_numpy

TITLE = "One process per call, a function that uses NumPy"
PEERS = ("reference", "ours")
METRICS = {
    "module_ms": "function of a module that imports NumPy [ms]",
    "main_ms": "function of __main__ with `import numpy` in it [ms]",
}
ROUNDS = (2, 5)
TIMEOUT_S = 60
WARM_UP = 5


def _main_function():
    main = sys.modules["__main__"].__dict__
    exec("def benchmark_norm(size):\n    import numpy\n    return float(numpy.ones(size).sum())\n", main)
    return main["benchmark_norm"]


def measure(peer, quick):
    functions = {"module_ms": work_numpy.norm, "main_ms": _main_function()}
    with peer.per_call() as executor:
        for function in functions.values():
            for _ in range(WARM_UP):
                executor.submit(function, 100).result()
        while True:
            yield {
                key: timing.median(
                    timing.repeat(lambda f=function: executor.submit(f, 100).result(), 0.1 if quick else 0.3)
                )
                * 1e3
                for key, function in functions.items()
            }
