"""Compute a dask graph with an executor as its scheduler.

``dask.compute(..., scheduler=exe)`` keeps dask's graph and its optimisations, and sends each task to
executorlib.
"""

import sys

import dask

from executorlib import SingleNodeExecutor

STEPS = 1000
BLOCKS = 8


@dask.delayed
def partial_sum(block):
    """The terms of pi's Leibniz series that fall to one block."""
    terms = range(block, BLOCKS * STEPS, BLOCKS)
    return sum(4 * (-1) ** n / (2 * n + 1) for n in terms)


@dask.delayed
def total(parts):
    return sum(parts)


def main():
    pi = total([partial_sum(block) for block in range(BLOCKS)])
    (expected,) = dask.compute(pi, scheduler="synchronous")
    with SingleNodeExecutor(max_workers=2, block_allocation=True) as exe:
        (value,) = dask.compute(pi, scheduler=exe)
    if value != expected:
        print(f"FAILED: {value}, expected {expected}", file=sys.stderr)
        return 1
    print(f"dask: pi = {value:.5f} from {BLOCKS} blocks, identical to dask's synchronous scheduler")
    return 0


if __name__ == "__main__":
    sys.exit(main())
