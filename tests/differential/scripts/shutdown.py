"""shutdown(): pending work completes, or is cancelled; afterwards the executor refuses."""

from executorlib import SingleNodeExecutor


def identity(x):
    return x


if __name__ == "__main__":
    exe = SingleNodeExecutor(block_allocation=True, max_workers=1)
    futures = [exe.submit(identity, n) for n in range(5)]
    exe.shutdown(wait=True)
    print([future.result() for future in futures], exe.info)
    for action in (lambda: exe.submit(identity, 1), lambda: exe.map(identity, [1])):
        try:
            action()
        except RuntimeError as error:
            print(error)
    try:
        with SingleNodeExecutor() as exe:
            future = exe.submit(identity, "kept")
            raise LookupError("mine")
    except LookupError as error:
        print(future.result(), error)
