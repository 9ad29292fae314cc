"""Minimise the Rosenbrock function with SciPy, each generation evaluated in parallel.

SciPy accepts for ``workers`` any callable that works like ``map``.
"""

import sys

import numpy as np
from scipy.optimize import differential_evolution, rosen

from executorlib import SingleNodeExecutor

BOUNDS = [(0, 2)] * 3


def minimise(workers):
    return differential_evolution(
        rosen, BOUNDS, workers=workers, updating="deferred", rng=np.random.default_rng(42), maxiter=60, polish=False
    )


def main():
    with SingleNodeExecutor(max_workers=2, block_allocation=True) as exe:
        result = minimise(exe.map)
    expected = minimise(map)
    if not np.array_equal(result.x, expected.x) or result.nfev != expected.nfev:
        print(f"FAILED: {result.x}, serial {expected.x}", file=sys.stderr)
        return 1
    print(f"scipy: minimum at {np.round(result.x, 3)} after {result.nfev} evaluations")
    print("identical to the serial run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
