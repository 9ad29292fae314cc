"""Calls that start programs over MPI themselves, as one does for codes without a Python interface."""

import mpi_functions
import mpis
import pytest
from support import SOON

from executorlib import SingleNodeExecutor

pytestmark = [pytest.mark.timeout(300), pytest.mark.both_mpis]


@pytest.fixture(params=mpis.ALL, ids=str, autouse=True)
def mpi(request, monkeypatch):
    request.param.use(monkeypatch)
    yield request.param


@pytest.fixture(params=[False, True], ids=["per_call", "block"])
def block(request):
    return request.param


def mpiexec(mpi, ranks):
    options = ["--oversubscribe"] if mpi is mpis.OPEN_MPI else []
    return [mpi.launcher(), *options, "-n", str(ranks)]


def on(cpus, ranks):
    cpus = ",".join(map(str, cpus))
    return [f"{rank} of {ranks} on {cpus}" for rank in range(ranks)]


def test_jobs_of_calls_side_by_side(mpi, block):
    """With all cores taken. Each runs wherever its call may: not all on the first processors."""
    with SingleNodeExecutor(max_workers=2, block_allocation=block) as exe:
        futures = [exe.submit(mpi_functions.launch, *mpiexec(mpi, 2)) for _ in range(4)]
        for said, cpus, variables in (future.result(timeout=SOON) for future in futures):
            assert said == on(cpus, 2)
            assert variables == []


def test_a_job_inside_a_rank(mpi, block):
    """It is a world of its own; and so is a program without a launcher, which does not take itself for that rank."""
    resources = {"cores": 2, "openmpi_oversubscribe": True}
    with SingleNodeExecutor(max_workers=1, block_allocation=block, resource_dict=resources) as exe:
        job = exe.submit(mpi_functions.launch, *mpiexec(mpi, 3))
        alone = exe.submit(mpi_functions.launch)
        for future, ranks in ((job, 3), (alone, 1)):
            said, cpus, variables = future.result(timeout=SOON)[0]
            assert said == on(cpus, ranks)
            assert variables == []


def test_a_job_stays_on_the_processors_of_its_call(mpi):
    with SingleNodeExecutor(max_workers=1, resource_dict={"pin": True}) as exe:
        said, cpus, _ = exe.submit(mpi_functions.launch, *mpiexec(mpi, 2)).result(timeout=SOON)
    assert len(cpus) == 1
    assert said == on(cpus, 2)


def test_what_the_user_says_of_binding_stays(monkeypatch):
    monkeypatch.setenv("OMPI_MCA_hwloc_base_binding_policy", "socket")
    with SingleNodeExecutor(max_workers=1) as exe:
        found = exe.submit(mpi_functions.surroundings, "OMPI_MCA_hwloc_base_binding_policy").result(timeout=SOON)
    assert found[1] == {"OMPI_MCA_hwloc_base_binding_policy": "socket"}
