"""Arrays go there and back, and can be changed in place on both sides."""

import numpy as np

from executorlib import SingleNodeExecutor


def add_one(values):
    values += 1
    return values


def row_sum(row):
    return float(sum(row))


def dot(a, b):
    return a @ b


if __name__ == "__main__":
    with SingleNodeExecutor(block_allocation=True, max_workers=1) as exe:
        for size in (1, 1000, 1_000_000):
            values = np.zeros(size)
            result = exe.submit(add_one, values).result()
            result += 1
            print(size, values.sum(), result.sum(), result.flags.writeable)
        a, b = exe.submit(np.eye, 3), exe.submit(np.ones, (3, 3))
        print(exe.submit(dot, a, b).result().tolist())
        print([exe.submit(row_sum, row).result() for row in np.arange(6.0).reshape(3, 2)])
