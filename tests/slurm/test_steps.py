"""SlurmJobExecutor with calls that srun starts: over several nodes, with ways of its own, one by one or as groups."""

import os
import signal

import functions
import mpi_functions
import pytest
import support
from mpis import MPICH, MPICH_LAUNCHED

from executorlib import SlurmJobExecutor, api
from executorlib._errors import CallTerminatedError, ResourceError, RunTimeExceededError

pytestmark = pytest.mark.timeout(60)

TWO_NODES = {"cores": 4, "num_nodes": 2}


@pytest.fixture(autouse=True)
def mpich(monkeypatch):
    """srun of the beds speaks what MPICH speaks."""
    MPICH.use(monkeypatch)


def where(value=None):
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    return world.Get_rank(), world.allreduce(1), os.environ["SLURMD_NODENAME"], value


def step_of_this():
    return os.environ.get("SLURM_STEP_ID"), os.environ["SLURMD_NODENAME"], os.environ.get("OMP_NUM_THREADS")


def die_as(rank, how):
    from mpi4py import MPI

    if MPI.COMM_WORLD.Get_rank() == rank:
        if how == "raise":
            raise ValueError(f"rank {rank} has had enough")
        os.kill(os.getpid(), signal.SIGKILL)
    MPI.COMM_WORLD.Barrier()


def over_two_nodes(value=None):
    return [(rank, 4, node, value) for rank, node in enumerate(["n1", "n1", "n2", "n2"])]


@pytest.mark.parametrize("block", [False, True], ids=["per_call", "block"])
def test_ranks_of_two_nodes_cross_the_network(networked_job, block):
    limits = {"block_allocation": True, "max_workers": 1} if block else {}
    data = b"x" * (1 << 20)
    with SlurmJobExecutor(resource_dict=TWO_NODES, **limits) as executor:
        first, second = [executor.submit(where, value) for value in (data, "second")]
        assert first.result(timeout=support.SOON) == over_two_nodes(data)
        assert second.result(timeout=support.SOON) == over_two_nodes("second")
        after = executor.submit(where, executor.submit(where))  # a result as an argument
        assert after.result(timeout=support.SOON) == over_two_nodes(over_two_nodes())
        if block:
            assert len(networked_job.steps()) == 1


@pytest.mark.parametrize("block", [False, True], ids=["per_call", "block"])
@pytest.mark.parametrize("how", ["raise", "kill"])
def test_rank_that_fails_ends_its_call_alone(networked_job, block, how):
    limits = {"block_allocation": True, "max_workers": 1} if block else {}
    with SlurmJobExecutor(resource_dict=TWO_NODES, **limits) as executor:
        error = executor.submit(die_as, 3, how).exception(timeout=support.SOON)
        if how == "raise":
            assert isinstance(error, ValueError) and "rank 3" in str(error)
        else:
            assert isinstance(error, api.WorkerLostError)
            assert "MPI rank 3 of 4, on node n2" in str(error) and f"of step {networked_job.id}." in str(error)
            assert "srun: error: n2: task 3: Killed" in str(error)
        assert executor.submit(where).result(timeout=support.SOON) == over_two_nodes()


def test_step_that_is_cancelled_loses_its_call(job, gate):
    with SlurmJobExecutor(resource_dict=TWO_NODES) as executor:
        future = gate.submit(executor)
        gate.arrivals(4)
        job.bed.run("scancel", f"{job.id}.0")
        error = future.exception(timeout=support.SOON)
        assert isinstance(error, api.WorkerLostError) and f"StepId={job.id}.0" in str(error)
        assert executor.submit(where).result(timeout=support.SOON) == over_two_nodes()


def test_time_limit_and_terminate_end_the_step(job, make_gate):
    with SlurmJobExecutor(resource_dict=TWO_NODES) as executor:
        for options in ({"run_time_max": 0.5}, {}):
            gate = make_gate()
            future = gate.submit(executor, resource_dict=options)
            pids = gate.arrivals(4)
            if not options:
                assert future.terminate()
            error = future.exception(timeout=support.SOON)
            assert isinstance(error, RunTimeExceededError if options else CallTerminatedError)
            assert support.alive_after(pids, support.AT_ONCE) == []


def test_many_steps_at_once_wait_for_cores_of_their_own(job, gate):
    with SlurmJobExecutor(resource_dict={"cores": 2, "num_nodes": 2}) as executor:
        futures = [gate.submit(executor) for _ in range(8)]
        gate.arrivals(12)  # six calls of a core on two of three nodes each
        with pytest.raises(TimeoutError):
            gate.arrival(timeout=0.3)
        gate.open()
        assert [future.result(timeout=support.SOON) for future in futures] == [[None] * 2] * 8


def test_options_reach_srun(job):
    with SlurmJobExecutor(
        pmi_mode="pmi2", resource_dict={"cores": 2, "threads_per_core": 2, "slurm_cmd_args": ["--nodelist=n3"]}
    ) as executor:
        assert executor.submit(where).result(timeout=support.SOON) == [(0, 2, "n3", None), (1, 2, "n3", None)]
        # One process is a call as any, in a step.
        alone = executor.submit(step_of_this, resource_dict={"cores": 1})
        assert alone.result(timeout=support.SOON) == ("1", "n3", "2")
        refused = executor.submit(where, resource_dict={"slurm_cmd_args": ["--nonesuch"]}).exception(support.SOON)
        assert isinstance(refused, api.WorkerLostError) and "unrecognized option '--nonesuch'" in str(refused)


def test_workers_stay_and_are_counted(job):
    with SlurmJobExecutor(resource_dict=TWO_NODES, block_allocation=True, max_workers=3) as executor:
        found = [future.result(timeout=support.SOON) for future in [executor.submit(where, i) for i in range(12)]]
        assert [[rank[3] for rank in ranks] for ranks in found] == [[i] * 4 for i in range(12)]
    assert len(job.steps()) == 3
    with pytest.raises(ResourceError, match="4 workers of 4 cores each"):
        SlurmJobExecutor(resource_dict=TWO_NODES, block_allocation=True, max_workers=4)


def test_more_than_there_is_is_refused(job):
    for resources in ({"cores": 13}, {"cores": 4, "num_nodes": 4}, {"cores": 10, "num_nodes": 2}):
        with pytest.raises(ResourceError, match="the allocation has 4, 4, 4 cores"):
            SlurmJobExecutor(resource_dict=resources)
    with pytest.raises(ValueError, match="shares no GPUs"):
        SlurmJobExecutor(resource_dict={**TWO_NODES, "gpus_per_core": 0.5})


def test_ranks_die_with_the_program(networked_job, gate, tmp_path):
    source = f"""
        import sys
        sys.path.insert(0, {os.path.dirname(functions.__file__)!r})
        import functions
        from executorlib import SlurmJobExecutor
        executor = SlurmJobExecutor(resource_dict={TWO_NODES!r})
        executor.submit(functions.pass_gate, {gate.folder!r}).result()
    """
    with support.Driver(tmp_path, source) as driver:
        pids = gate.arrivals(4)
        driver.kill()
        assert support.alive_after(pids, support.SOON) == []
    for ticket in (tmp_path / "agents").iterdir():  # nobody was left to remove it, had ranks not come
        raise AssertionError(ticket)


def test_calls_start_mpiexec_of_their_own(job):
    with SlurmJobExecutor() as executor:
        launcher = MPICH_LAUNCHED.launcher()
        said = executor.submit(mpi_functions.launch, launcher, "-n", "2", resource_dict={"threads_per_core": 2})
        assert said.result(timeout=support.SOON) == ["0 of 2", "1 of 2"]
