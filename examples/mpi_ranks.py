"""Functions over MPI ranks: per call, for every call, and on ranks that stay; with and without futures as arguments.

Needs mpi4py and an MPI with its mpiexec: pip install mpi4py mpich.
"""

import sys

from single_node_tour import walk

from executorlib import SingleNodeExecutor

# Each stop returns what it found; walk() compares it with what it must be.


def describe(value):
    from mpi4py import MPI

    return value, MPI.COMM_WORLD.Get_size(), MPI.COMM_WORLD.Get_rank()


def ranks_for_one_call():
    with SingleNodeExecutor(max_cores=2) as exe:
        parallel = exe.submit(describe, 5, resource_dict={"cores": 2})
        serial = exe.submit(abs, -5)
        return parallel.result(), serial.result()


def ranks_for_every_call():
    with SingleNodeExecutor(max_cores=2, resource_dict={"cores": 2}) as exe:
        return list(exe.map(describe, [1, 2]))


def load_data():
    return {"factor": 10}


def scaled_sum(value, factor):
    from mpi4py import MPI

    return factor * MPI.COMM_WORLD.allreduce(value)


def ranks_that_stay():
    """The function of init_function runs in every rank, once; MPI is started once."""
    with SingleNodeExecutor(
        max_workers=1, block_allocation=True, init_function=load_data, resource_dict={"cores": 2}
    ) as exe:
        return [exe.submit(scaled_sum, value).result() for value in range(3)]


def first_of(values):
    return values[0]


def ranks_in_a_chain():
    """The result of a call over ranks is the list of what they return, and goes on as that."""
    with SingleNodeExecutor(max_cores=2) as exe:
        over_ranks = exe.submit(describe, exe.submit(sum, [1, 2, 3]), resource_dict={"cores": 2})
        return exe.submit(first_of, over_ranks).result()


TOUR = [
    (ranks_for_one_call, ([(5, 2, 0), (5, 2, 1)], 5)),
    (ranks_for_every_call, [[(1, 2, 0), (1, 2, 1)], [(2, 2, 0), (2, 2, 1)]]),
    (ranks_that_stay, [[0, 0], [20, 20], [40, 40]]),
    (ranks_in_a_chain, (6, 2, 0)),
]


if __name__ == "__main__":
    sys.exit(walk(TOUR))
