"""Calls over two MPI ranks: the result is the list over ranks. Prints one word where there is no MPI."""

import importlib.util
import os
import shutil
import sys

from executorlib import SingleNodeExecutor, split_future

os.environ["PATH"] = os.path.join(sys.prefix, "bin") + os.pathsep + os.environ["PATH"]
os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
RESOURCES = {"cores": 2}


def who(value):
    from mpi4py import MPI

    return value, MPI.COMM_WORLD.Get_rank(), MPI.COMM_WORLD.Get_size()


def summed(value):
    from mpi4py import MPI

    return MPI.COMM_WORLD.allreduce(value + MPI.COMM_WORLD.Get_rank())


def plain(value):
    return value + 1


def doubled(values):
    return [2 * value for value in values]


def preset():
    return {"factor": 10}


def scaled(value, factor):
    return value * factor


if __name__ == "__main__":
    if importlib.util.find_spec("mpi4py") is None or shutil.which("mpiexec") is None or (os.cpu_count() or 1) < 2:
        print("without MPI")
        sys.exit()
    with SingleNodeExecutor(max_cores=2) as exe:
        print(exe.submit(who, "per call", resource_dict=RESOURCES).result())
        print(exe.submit(summed, 5, resource_dict=RESOURCES).result(), exe.submit(plain, 5).result())
        print(exe.submit(doubled, exe.submit(summed, 1, resource_dict=RESOURCES)).result())
        first, second = split_future(exe.submit(who, "split", resource_dict=RESOURCES), 2)
        print(first.result(), second.result())
        print(exe.submit(lambda text: text + "!", "lambda", resource_dict=RESOURCES).result())
    with SingleNodeExecutor(max_workers=1, block_allocation=True, resource_dict=RESOURCES, init_function=preset) as exe:
        print([exe.submit(who, number).result() for number in range(3)])
        print(exe.submit(scaled, 4).result(), exe.submit(scaled, 4, factor=2).result())
        print(list(exe.map(summed, range(3))))
