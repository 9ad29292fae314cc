"""Calls over two MPI ranks: a group for each, and one group for all; beside bare mpiexec."""

from benchmarks import timing, work

TITLE = "Two MPI ranks"
PEERS = ("reference", "ours", "limit")
METRICS = {
    "per_call_ms": "one group per call, median [ms]",
    "round_trip_ms": "persistent group, round trip, median [ms]",
}
ROUNDS = (2, 5)
TIMEOUT_S = 120
RESOURCES = {"cores": 2}  # the reference writes into what it is given


def touch_mpi(value):
    from mpi4py import MPI

    return MPI.COMM_WORLD.Get_rank(), value


def measure(peer, quick):
    from executorlib import SingleNodeExecutor

    seconds = 0.5 if quick else 1.5
    per_call = SingleNodeExecutor(max_cores=2)
    group = SingleNodeExecutor(max_workers=1, block_allocation=True, resource_dict=dict(RESOURCES))
    with per_call, group:

        def one_group_per_call():
            per_call.submit(touch_mpi, 1, resource_dict=dict(RESOURCES)).result()

        def round_trip():
            group.submit(work.echo, 1).result()

        one_group_per_call()
        if group.submit(touch_mpi, 1).result() != [(0, 1), (1, 1)]:
            raise RuntimeError("the ranks are not one group")
        while True:
            yield {
                "per_call_ms": timing.median(timing.repeat(one_group_per_call, seconds)) * 1e3,
                "round_trip_ms": timing.median(timing.repeat(round_trip, seconds / 3)) * 1e3,
            }
