"""A tour of SingleNodeExecutor: calls, maps, threads, persistent workers, presets and dependencies."""

import os
import sys

from executorlib import SingleNodeExecutor

# Each stop of the tour returns what it found; walk() compares it with what it must be.


def one_call():
    with SingleNodeExecutor() as exe:
        return exe.submit(sum, [1, 1]).result()


def many_calls():
    with SingleNodeExecutor() as exe:
        futures = [exe.submit(sum, [i, i]) for i in range(2, 5)]
        return [future.result() for future in futures]


def a_map():
    with SingleNodeExecutor() as exe:
        return list(exe.map(sum, [[5, 5], [6, 6], [7, 7]]))


def a_function_defined_here():
    """Functions need no module of their own: closures and lambdas travel by value."""
    offset = 10
    with SingleNodeExecutor() as exe:
        return exe.submit(lambda value: value + offset, 32).result()


def trace_of_product(size):
    # Linear algebra libraries read this once, when they are loaded: set it before the import.
    os.environ["OMP_NUM_THREADS"] = "2"
    import numpy as np

    matrix = np.eye(size)
    return os.environ["OMP_NUM_THREADS"], float(np.trace(matrix @ matrix))


def threads_for_one_call():
    with SingleNodeExecutor() as exe:
        return exe.submit(trace_of_product, 3, resource_dict={"threads_per_core": 2}).result()


def threads_for_every_call():
    with SingleNodeExecutor(resource_dict={"threads_per_core": 2}) as exe:
        return exe.submit(trace_of_product, 4).result()


def fresh_processes():
    """By default each call has a process of its own, which ends with it."""
    with SingleNodeExecutor() as exe:
        pids = {exe.submit(os.getpid).result() for _ in range(3)}
    return len(pids)


def persistent_workers():
    """With block allocation the processes stay: three calls, one process."""
    with SingleNodeExecutor(max_workers=1, block_allocation=True) as exe:
        pids = {exe.submit(os.getpid).result() for _ in range(3)}
    return len(pids)


def load_data():
    return {"j": 4, "k": 3, "l": 2}


def add_three(i, j, k):
    return i + j + k


def presets():
    """What the workers' init_function returned fills parameters that the call leaves open."""
    with SingleNodeExecutor(max_workers=1, block_allocation=True, init_function=load_data) as exe:
        return exe.submit(add_three, 2, j=5).result()


def add(a, b):
    return a + b


def dependencies():
    """A future is a valid argument: the call waits for it, the program does not."""
    with SingleNodeExecutor() as exe:
        future = 0
        for i in range(1, 4):
            future = exe.submit(add, i, future)
        return future.result()


TOUR = [
    (one_call, 2),
    (many_calls, [4, 6, 8]),
    (a_map, [10, 12, 14]),
    (a_function_defined_here, 42),
    (threads_for_one_call, ("2", 3.0)),
    (threads_for_every_call, ("2", 4.0)),
    (fresh_processes, 3),
    (persistent_workers, 1),
    (presets, 10),
    (dependencies, 6),
]


def walk(tour):
    """Print what each stop returns; returns 1, as an exit status, unless all is as expected."""
    failures = 0
    for stop, expected in tour:
        value = stop()
        name = stop.__name__.replace("_", " ")
        print(f"{name:24} {value}")
        if value != expected:
            print(f"FAILED: {name}: expected {expected}", file=sys.stderr)
            failures += 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(walk(TOUR))
