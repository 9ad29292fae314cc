"""More large results held at once than there are descriptors."""

import resource
import time

from benchmarks import work

TITLE = "Held results of 2 MiB at 1,024 open files"
PEERS = ("process", "ours")
METRICS = {
    "works": "all results arrive and are read [1 = yes]",
    "seconds": "submit all, read all [s]",
    "results": "results held [count]",
}
ROUNDS = (1, 1)
TIMEOUT_S = 180
ALONE = True
OPEN_FILES = 1024
COUNT, COUNT_QUICK = 5000, 1100
SIZE_MIB = 2


def _affordable(count):
    """As many results as half of the free memory holds, but always more than there are descriptors."""
    with open("/proc/meminfo") as meminfo:
        free_kib = next(int(line.split()[1]) for line in meminfo if line.startswith("MemAvailable"))
    return max(OPEN_FILES + 50, min(count, free_kib // 1024 // 2 // SIZE_MIB))


def measure(peer, quick):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))
    count = _affordable(COUNT_QUICK if quick else COUNT)
    with peer.persistent() as executor:
        executor.submit(work.megabytes, 1).result()
        start = time.perf_counter()
        futures = [executor.submit(work.megabytes, SIZE_MIB) for _ in range(count)]
        # done() alone leaves a result unread, so all of them are held as they arrived.
        while not all(future.done() for future in futures):
            time.sleep(0.02)
        arrays = [future.result() for future in futures]
        works = all(array[0] == array[-1] == 1 for array in arrays)
        yield {"works": int(works), "seconds": time.perf_counter() - start, "results": count}
