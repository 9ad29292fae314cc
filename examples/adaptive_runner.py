"""Learn a sharply peaked function with adaptive, its points evaluated by executorlib.

``adaptive.Runner`` submits the next point as soon as a worker is free and chooses it by what is known so
far, hence the points gather where the function changes fastest.
"""

import sys

import adaptive
import numpy as np

from executorlib import SingleNodeExecutor

PEAK = 0.3
WIDTH = 0.01
BOUNDS = (-1.0, 1.0)
POINTS = 101


def lorentzian(x):
    return x + WIDTH**2 / (WIDTH**2 + (x - PEAK) ** 2)


def learn():
    learner = adaptive.Learner1D(lorentzian, bounds=BOUNDS)
    with SingleNodeExecutor(max_workers=2, block_allocation=True) as exe:
        runner = adaptive.Runner(learner, npoints_goal=POINTS, executor=exe, ntasks=exe.max_workers)
        runner.block_until_done()
    return learner


def main():
    learner = learn()
    x, y = learner.to_numpy().T
    if len(x) < POINTS or not np.array_equal(y, [lorentzian(value) for value in x]):
        print("FAILED: the learned values are not the function's", file=sys.stderr)
        return 1
    near = int(np.sum(np.abs(x - PEAK) < 10 * WIDTH))
    if near < len(x) // 4:
        print(f"FAILED: only {near} of {len(x)} points lie near the peak", file=sys.stderr)
        return 1
    share = 20 * WIDTH / (BOUNDS[1] - BOUNDS[0])
    print(f"adaptive: {len(x)} points, {near} of them in the {share:.0%} of the interval around the peak")
    return 0


if __name__ == "__main__":
    sys.exit(main())
