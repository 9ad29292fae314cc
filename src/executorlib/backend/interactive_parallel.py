"""The program of a worker that is several MPI ranks:

    mpiexec -n RANKS python interactive_parallel.py --zmqport NUMBER [--host HOST] [--worker-id ID]

Rank 0 speaks to the driver and passes on what it says; every rank performs every call. A result is the list over ranks.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress

if __name__ == "__main__":  # any Python, with or without this package: the folder is one of its own
    from types import ModuleType

    _here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _here]
    __package__ = "_executorlib_backend"
    sys.modules[__package__] = ModuleType(__package__)
    sys.modules[__package__].__path__ = [_here]

from . import calls, driver, rendezvous

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Seconds that a rank which has raised waits for the others, who may wait for it in a collective.
PATIENCE = 1.0


def main() -> None:
    """Serve a driver until it says that this is the end, or ends itself."""
    from mpi4py import MPI

    world = MPI.COMM_WORLD.Dup()  # what a call does with the ranks must not meet what we do
    forget_segments(world)
    arguments = calls.parse_arguments(sys.argv)
    session = calls.Session(int(arguments["worker_id"]))
    connection = watch = None
    if world.rank == 0:
        connection = driver.connect(arguments["zmqport"])
        watch = driver.Watch(connection, group=False)
    calls.import_from_cwd()
    kind = calls.CALL
    while kind != calls.SHUTDOWN:
        kind, mine = session.answer(world.bcast(bytes(connection.recv()) if connection else None))
        answers = gather(world, (kind, mine), arguments["zmqport"])
        if watch and kind == calls.SHUTDOWN:
            watch.call_off()
        if connection:
            connection.send(calls.joined(answers))
    if connection:
        connection.close()
    world.Barrier()


def forget_segments(world: Any) -> None:
    """Unlink MPICH's shared memory as soon as all have it: nobody would if the ranks were killed."""
    world.Barrier()
    with open("/proc/self/maps") as maps:
        names = {line.split()[5] for line in maps if " /dev/shm/mpich_shm_" in line}
    for name in names:
        with suppress(FileNotFoundError):  # another rank has
            os.unlink(name)


def gather(world: Any, answer: tuple[str, bytes], number: str) -> list[tuple[str, bytes]]:
    """The answers of all ranks, on rank 0. One that has raised does not wait for long."""
    kind, data = answer
    giving_up = threading.Timer(PATIENCE, give_up, (number, data))
    if kind == calls.RAISED:
        giving_up.start()
    answers = world.gather(answer)
    world.Barrier()  # a small answer is sent off before anybody takes it
    giving_up.cancel()
    return answers


def give_up(number: str, answer: bytes) -> None:
    """Leave the answer where the driver looks when its worker dies, and die: the launcher then ends all ranks."""
    try:
        rendezvous.leave(number, answer)
    finally:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
