"""init_function: what it fills, who wins, and the worker's id."""

from executorlib import SingleNodeExecutor


def calc(i, j, k):
    return i + j + k


def init():
    return {"j": 4, "k": 3, "l": 2}


def init_with_id(executorlib_worker_id):
    return {"k": executorlib_worker_id}


def worker_id(executorlib_worker_id):
    return executorlib_worker_id


def show(k):
    return k


def start_child():
    import subprocess

    return {"child": subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)}


def talk(text, child):
    child.stdin.write(text + "\n")
    child.stdin.flush()
    return child.stdout.readline().strip()


def stop(child):
    child.stdin.close()
    return child.wait()


if __name__ == "__main__":
    with SingleNodeExecutor(block_allocation=True, max_workers=1, init_function=init) as exe:
        print(exe.submit(calc, 2).result(), exe.submit(calc, 2, j=5).result(), exe.submit(calc, 2, j=5, k=1).result())
        print(exe.submit(worker_id).result())
    with SingleNodeExecutor(block_allocation=True, max_workers=2, init_function=init_with_id) as exe:
        print({exe.submit(show).result() for _ in range(10)} <= {0, 1})
    with SingleNodeExecutor(block_allocation=True, max_workers=1, init_function=start_child) as exe:
        print(exe.submit(talk, "one").result(), exe.submit(talk, "two").result(), exe.submit(stop).result())
    with SingleNodeExecutor() as exe:
        print(exe.submit(worker_id).result())
    for arguments in ({"init_function": init}, {"restart_limit": 1}):
        try:
            SingleNodeExecutor(**arguments)
        except ValueError as error:
            print(type(error).__name__)
