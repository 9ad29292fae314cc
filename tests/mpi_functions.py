"""What the MPI tests submit. mpi4py is imported where it is used: the driver has no use for it."""

import os
import signal
import sys
import time

import functions


def world():
    from mpi4py import MPI

    return MPI.COMM_WORLD


def whoami(*_):
    return world().Get_rank(), world().Get_size()


def pid(*_):
    return os.getpid()


def tag(value):
    return world().Get_rank(), value


def allreduce(value):
    return world().allreduce(value)


def everything_collective(value):
    """Each of mpi4py's usual collectives, of Python objects and of buffers."""
    import numpy
    from mpi4py import MPI

    comm = world()
    rank, size = comm.Get_rank(), comm.Get_size()
    numbers = numpy.full(1000, float(rank + value))
    totals = numpy.empty_like(numbers)
    comm.Allreduce(numbers, totals, op=MPI.SUM)
    comm.Barrier()
    right, left = (rank + 1) % size, (rank - 1) % size
    return {
        "bcast": comm.bcast(value if rank == 0 else None, root=0),
        "gather": comm.gather(rank, root=0),
        "scatter": comm.scatter([10 * n for n in range(size)] if rank == 0 else None, root=0),
        "alltoall": comm.alltoall([(rank, n) for n in range(size)]),
        "ring": comm.sendrecv(rank, dest=right, source=left),
        "Allreduce": float(totals[0]),
    }


def shared_window(value):
    """Memory that the ranks share: the segments of it must be gone in the end."""
    from mpi4py import MPI

    comm = world()
    window = MPI.Win.Allocate_shared(8 if comm.Get_rank() == 0 else 0, 8, comm=comm)
    memory, _ = window.Shared_query(0)
    if comm.Get_rank() == 0:
        memory[:1] = bytes([value])
    window.Fence()
    found = bytes(memory[:1])[0]
    window.Fence()
    window.Free()
    return found


def add_rank(array):
    """In place: each rank has the array to itself."""
    writable = array.flags.writeable
    array += world().Get_rank()
    return writable, array


def speak(text):
    rank = world().Get_rank()
    # One write each: the launcher passes on what it reads, of whichever rank.
    os.write(1, f"{text} out {rank}\n".encode())
    os.write(2, f"{text} err {rank}\n".encode())
    return rank


def surroundings(*names):
    return os.getcwd(), {name: os.environ.get(name) for name in names}, sys.path[:3], sys.argv


def inner_cores():
    from executorlib import SingleNodeExecutor

    with SingleNodeExecutor() as inner:
        return inner._max_workers, inner.submit(abs, -3).result()


def inner_ranks():
    """An executor inside a rank that starts ranks of its own."""
    from executorlib import SingleNodeExecutor

    world().Barrier()
    found = None
    if world().Get_rank() == 0:
        with SingleNodeExecutor(max_cores=2) as inner:
            found = inner.submit(whoami, resource_dict={"cores": 2, "openmpi_oversubscribe": True}).result()
    return world().bcast(found, root=0)


def timed_sleep(seconds):
    """When it began and ended, on the clock that all processes of a machine share."""
    begun = time.clock_gettime(time.CLOCK_MONOTONIC)
    time.sleep(seconds)
    return begun, time.clock_gettime(time.CLOCK_MONOTONIC)


def at_gate(folder, value=None):
    functions.announce(folder, os.getpid())
    try:
        with open(os.path.join(folder, "door"), "rb") as door:
            door.read()
    except FileNotFoundError:
        pass
    return value


# ---- what goes wrong ----


class OnOneRank(Exception):
    """Raised by one rank."""


def one_raises(guilty):
    """One rank raises while the others wait for it in a collective."""
    if world().Get_rank() == guilty:
        raise OnOneRank(f"rank {guilty} has no more")
    return world().allreduce(1)


def die_as(rank, how):
    from mpi4py import MPI

    if MPI.COMM_WORLD.Get_rank() == rank:
        if how == "raise":
            raise ValueError(f"rank {rank} has had enough")
        os.kill(os.getpid(), signal.SIGKILL)
    MPI.COMM_WORLD.Barrier()


def all_raise():
    raise OnOneRank(f"as rank {world().Get_rank()}")


def one_crashes(guilty, kind):
    """One rank ends its process while the others wait for it in a collective."""
    if world().Get_rank() == guilty:
        print("last words", file=sys.stderr, flush=True)
        functions.crash(kind)
    return world().allreduce(1)


def one_unpicklable(guilty):
    import threading

    return threading.Lock() if world().Get_rank() == guilty else 1


def launcher_pid():
    """Of the mpiexec above this rank; of the head where that has forked it."""
    above = os.getpid()
    while above > 1:
        above = int(open(f"/proc/{above}/stat").read().rpartition(")")[2].split()[1])
        command = open(f"/proc/{above}/cmdline", "rb").read().split(b"\0")[0]
        if os.path.basename(command).startswith((b"mpiexec", b"mpirun", b"orterun", b"prterun")):
            return above
    return os.getppid()


def kill_launcher():
    world().Barrier()
    if world().Get_rank() == 0:
        os.kill(launcher_pid(), signal.SIGKILL)
    time.sleep(60)


def gather_pids(folder):
    """Rank 0 announces the launcher and all ranks; all wait at the gate."""
    pids = world().gather(os.getpid(), root=0)
    if pids is not None:
        functions.announce(folder, launcher_pid(), *pids)
    try:
        with open(os.path.join(folder, "door"), "rb") as door:
            door.read()
    except FileNotFoundError:
        pass
    return world().Get_rank()


def family():
    """A child and a daemon of each rank, which nobody ends."""
    return functions.spawn_family()


# ---- what a call starts itself ----

#: One write: the launcher passes on what it reads, of whichever rank.
_REPORT = """
import os
from mpi4py import MPI
cpus = ",".join(map(str, sorted(os.sched_getaffinity(0))))
os.write(1, f"{MPI.COMM_WORLD.Get_rank()} of {MPI.COMM_WORLD.Get_size()} on {cpus}\\n".encode())
"""


def job_variables():
    """By which an MPI library takes its process for a rank."""
    names = ("PMI_", "PMIX_NAME", "PMIX_SERVER", "HYDI_", "OMPI_MCA_ess")
    return [name for name in os.environ if name.startswith(names)]


def launch(*launcher):
    """Run a program with *launcher* in front, on the first rank alone if there are several; what it said, sorted."""
    import subprocess

    rank = world().Get_rank() if "mpi4py.MPI" in sys.modules else 0
    if rank:
        return None
    done = subprocess.run([*launcher, sys.executable, "-c", _REPORT], capture_output=True, text=True, timeout=30)
    said = sorted(done.stdout.splitlines()) if done.returncode == 0 else [done.stdout + done.stderr]
    return said, sorted(os.sched_getaffinity(0)), job_variables()
