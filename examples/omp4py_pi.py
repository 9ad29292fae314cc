"""Approximate pi with a loop that omp4py runs on several threads.

`threads_per_core` reserves the cores and tells OpenMP libraries, omp4py among them, how many threads to start.
"""

import random
import sys
import time

from omp4py import omp, omp_get_max_threads

from executorlib import SingleNodeExecutor

POINTS = 10_000_000
THREADS = 4


@omp
def calc_pi(num_points):
    count = 0
    with omp("parallel for reduction(+:count)"):
        for _ in range(num_points):
            x = random.random()
            y = random.random()
            if x * x + y * y <= 1.0:
                count += 1
    return 4 * (count / num_points)


def main():
    start = time.perf_counter()
    with SingleNodeExecutor() as exe:
        resources = {"threads_per_core": THREADS}
        pi = exe.submit(calc_pi, POINTS, resource_dict=resources)
        threads = exe.submit(omp_get_max_threads, resource_dict=resources).result()
        if threads != THREADS:
            print(f"FAILED: omp4py sees {threads} threads, not {THREADS}", file=sys.stderr)
            return 1
        if not 3.13 < pi.result() < 3.15:
            print(f"FAILED: pi is not {pi.result()}", file=sys.stderr)
            return 1
    print(f"pi is about {pi.result():.3f}: {POINTS} points on {threads} threads, {time.perf_counter() - start:.3f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
