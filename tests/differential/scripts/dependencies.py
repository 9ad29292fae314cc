"""Futures as arguments at top level, in lists and in dictionaries; errors of arguments."""

from executorlib import SingleNodeExecutor


def add(a, b):
    return a + b


def total(values):
    return sum(values.values() if isinstance(values, dict) else values)


def fail(x):
    raise ValueError(f"cannot use {x}")


if __name__ == "__main__":
    for arguments in ({}, {"block_allocation": True, "max_workers": 1}):
        with SingleNodeExecutor(**arguments) as exe:
            one, two = exe.submit(add, 0, 1), exe.submit(add, 1, b=1)
            print(exe.submit(add, one, b=two).result())
            print(exe.submit(total, [one, two, 3]).result(), exe.submit(total, {"a": one, "b": two}).result())
            future = one
            for _ in range(3):
                future = exe.submit(add, future, future)
            print(future.result())
            failed = exe.submit(add, exe.submit(fail, 7), 1)
            print(type(failed.exception()).__name__, failed.exception())
            print(list(exe.map(add, [one, two], [10, 10])))
