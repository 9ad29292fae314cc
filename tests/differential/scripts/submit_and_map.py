"""The README's first steps: submit, result, map, in both modes."""

from concurrent.futures import Executor, Future

from executorlib import SingleNodeExecutor


def calc(i, j=1):
    return i + j


if __name__ == "__main__":
    for arguments in ({}, {"block_allocation": True, "max_workers": 2}):
        with SingleNodeExecutor(**arguments) as exe:
            future = exe.submit(calc, 1, j=2)
            print(isinstance(exe, Executor), isinstance(future, Future), future.result(), future.done())
            print([f.result() for f in [exe.submit(sum, [i, i]) for i in range(4)]])
            print(list(exe.map(calc, [1, 2, 3], [4, 5, 6])), bool(exe))
        print(exe.info, exe.max_workers)
        try:
            exe.submit(calc, 1)
        except RuntimeError as error:
            print(type(error).__name__, error)
