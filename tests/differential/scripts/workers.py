"""Block allocation: growing and shrinking, state between calls, info."""

import os

from executorlib import SingleNodeExecutor


def count():
    import sys

    sys.calls_seen = getattr(sys, "calls_seen", 0) + 1
    return sys.calls_seen


def pid():
    return os.getpid()


KEYS = ["cores", "cwd", "openmpi_oversubscribe", "cache_directory", "hostname_localhost", "log_obj_size", "max_workers"]

if __name__ == "__main__":
    with SingleNodeExecutor(block_allocation=True, max_workers=1) as exe:
        print([exe.submit(count).result() for _ in range(3)], exe.max_workers)
        print({key: exe.info[key] for key in KEYS})
        exe.max_workers = 3
        print(exe.max_workers, exe.info["max_workers"], exe.submit(abs, -2).result())
        exe.max_workers = 1
        print(exe.max_workers, exe.info["max_workers"], exe.submit(abs, -3).result())
    with SingleNodeExecutor(max_workers=1) as exe:
        print([exe.submit(count).result() for _ in range(2)], exe.max_workers)
        print({key: exe.info[key] for key in KEYS})
        print(len({exe.submit(pid).result() for _ in range(2)}), exe.submit(pid).result() != os.getpid())
    with SingleNodeExecutor(block_allocation=True, max_cores=2) as exe:
        print(exe.max_workers)
