"""SlurmJobExecutor with calls that srun starts: over several nodes, with ways of its own, one by one or as groups."""

import collections
import contextlib
import os

import functions
import mpi_functions
import pytest
import support
from mpis import MPICH, MPICH_LAUNCHED

from executorlib import SlurmJobExecutor, api
from executorlib._errors import CallTerminatedError, ResourceError, RunTimeExceededError
from slurm.nodes import NAMES, node_of

pytestmark = pytest.mark.timeout(60)

TWO_NODES = {"cores": 4, "num_nodes": 2}
CPUS = ",".join(map(str, sorted(os.sched_getaffinity(0))))


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


def nodes_of(found, value=None, size=4):
    """The nodes of the ranks of a call of *where*, which has done what it should."""
    assert [(rank, total, echo) for rank, total, _, echo in found] == [(rank, size, value) for rank in range(size)]
    return [node for _, _, node, _ in found]


def is_over_two_nodes(found, value=None):
    first, second = nodes_of(found, value)[1:3]
    return nodes_of(found, value) == [first, first, second, second] and first != second


@pytest.mark.parametrize("block", [False, True], ids=["per_call", "block"])
def test_ranks_of_two_nodes_cross_the_network(networked_job, block):
    limits = {"block_allocation": True, "max_workers": 1} if block else {}
    data = b"x" * (1 << 20)
    with SlurmJobExecutor(resource_dict=TWO_NODES, **limits) as executor:
        first, second = [executor.submit(where, value) for value in (data, "second")]
        assert is_over_two_nodes(first.result(timeout=support.SOON), data)
        assert is_over_two_nodes(second.result(timeout=support.SOON), "second")
        after = executor.submit(where, first)  # a result as an argument
        assert is_over_two_nodes(after.result(timeout=support.SOON), first.result())
        if block:
            assert len(networked_job.steps()) == 1


@pytest.mark.parametrize("block", [False, True], ids=["per_call", "block"])
@pytest.mark.parametrize("how", ["raise", "kill"])
def test_rank_that_fails_ends_its_call_alone(networked_job, block, how):
    limits = {"block_allocation": True, "max_workers": 1} if block else {}
    with SlurmJobExecutor(resource_dict=TWO_NODES, **limits) as executor:
        error = executor.submit(mpi_functions.die_as, 3, how).exception(timeout=support.SOON)
        if how == "raise":
            assert isinstance(error, ValueError) and "rank 3" in str(error)
        else:
            assert isinstance(error, api.WorkerLostError)
            assert "MPI rank 3 of 4, on node n2" in str(error) and f"of step {networked_job.id}." in str(error)
            assert "srun: error: n2: task 3: Killed" in str(error)
        assert is_over_two_nodes(executor.submit(where).result(timeout=support.SOON))


def test_step_that_is_cancelled_loses_its_call(job, gate):
    with SlurmJobExecutor(resource_dict=TWO_NODES) as executor:
        future = gate.submit(executor)
        gate.arrivals(4)
        job.bed.run("scancel", f"{job.id}.0")
        error = future.exception(timeout=support.SOON)
        assert isinstance(error, api.WorkerLostError) and f"StepId={job.id}.0" in str(error)
        assert is_over_two_nodes(executor.submit(where).result(timeout=support.SOON))


def arrived(gate):
    """Those who were quick enough."""
    pids = []
    with contextlib.suppress(TimeoutError):
        while True:
            pids.append(gate.arrival(timeout=0)[0])
    return pids


def test_time_limit_and_terminate_end_the_step(job, make_gate):
    with SlurmJobExecutor(resource_dict=TWO_NODES) as executor:
        for options in ({"run_time_max": 0.5}, {}):
            gate = make_gate()
            future = gate.submit(executor, resource_dict=options)
            if not options:
                pids = gate.arrivals(4)
                assert future.terminate()
            error = future.exception(timeout=support.SOON)
            assert isinstance(error, RunTimeExceededError if options else CallTerminatedError)
            if options:
                pids = arrived(gate)
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
    with pytest.warns(UserWarning, match="max_workers=3"):
        SlurmJobExecutor(resource_dict=TWO_NODES, block_allocation=True).shutdown()
    with pytest.raises(ResourceError, match="4 workers of 4 cores each"):
        SlurmJobExecutor(resource_dict=TWO_NODES, block_allocation=True, max_workers=4)


def test_more_than_there_is_is_refused(job):
    for resources in ({"cores": 13}, {"cores": 4, "num_nodes": 4}, {"cores": 10, "num_nodes": 2}):
        with pytest.raises(ResourceError, match="4, 4, 4 on its nodes"):
            SlurmJobExecutor(resource_dict=resources)
    with SlurmJobExecutor() as executor, pytest.raises(ResourceError, match="4, 4, 4 on its nodes"):
        executor.submit(where, resource_dict={"cores": 13})
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
        ranks, _, variables = said.result(timeout=support.SOON)
        assert (ranks, variables) == ([f"0 of 2 on {CPUS}", f"1 of 2 on {CPUS}"], [])


def test_steps_among_calls_of_agents(job, make_gate):
    with SlurmJobExecutor(pmi_mode="pmi2") as executor:
        everywhere, inner, outer = make_gate(), make_gate(), make_gate()
        before = [everywhere.submit(executor) for _ in range(12)]
        everywhere.arrivals(12)  # all agents are there
        everywhere.open()
        assert [future.result(timeout=support.SOON) for future in before] == [None] * 12
        narrow = [inner.submit(executor) for _ in range(6)]
        nodes = collections.Counter(node_of(pid) for pid in inner.arrivals(6))
        assert nodes == dict.fromkeys(NAMES, 2)
        # Two cores of two nodes: beside what runs. Four of each: when all else has ended.
        beside = outer.submit(executor, resource_dict=TWO_NODES)
        outer.arrivals(4)
        wide = executor.submit(where, resource_dict={"cores": 12})
        later = [outer.submit(executor) for _ in range(3)]  # two find a core, one waits
        outer.arrivals(2)
        with pytest.raises(TimeoutError):
            outer.arrival(timeout=0.3)
        one_node = executor.submit(where, beside, resource_dict={"cores": 2, "slurm_cmd_args": ["--nodelist=n2"]})
        inner.open()
        outer.open()
        assert nodes_of(wide.result(timeout=support.SOON), size=12) == ["n1"] * 4 + ["n2"] * 4 + ["n3"] * 4
        assert nodes_of(one_node.result(timeout=support.SOON), [None] * 4, 2) == ["n2", "n2"]
        assert [future.result(timeout=support.SOON) for future in [*narrow, *later]] == [None] * 9


def test_a_wide_call_is_not_starved(job):
    with SlurmJobExecutor() as executor:
        stop = executor.submit(where, resource_dict={"cores": 12})
        narrow = []
        while not stop.done():
            narrow.append(executor.submit(functions.add, len(narrow), 1))
            narrow[max(len(narrow) - 24, 0)].result(timeout=support.SOON)  # agents always have some to do
        assert len(nodes_of(stop.result(), size=12)) == 12
        assert [future.result(timeout=support.SOON) for future in narrow] == list(range(1, len(narrow) + 1))


def test_executors_side_by_side_share_the_cores(job, make_gate):
    gates = make_gate(), make_gate()
    with SlurmJobExecutor() as one, SlurmJobExecutor() as other:
        first = [gates[0].submit(one) for _ in range(8)]
        gates[0].arrivals(8)
        second = [gates[1].submit(other) for _ in range(8)]
        gates[1].arrivals(4)
        with pytest.raises(TimeoutError):
            gates[1].arrival(timeout=0.3)
        gates[0].open()
        gates[1].arrivals(4)
        gates[1].open()
        assert [future.result(timeout=support.SOON) for future in first + second] == [None] * 16


def test_persistent_workers_leave_the_rest_to_others(job, gate):
    with (
        SlurmJobExecutor(resource_dict=TWO_NODES, block_allocation=True, max_workers=2) as groups,
        SlurmJobExecutor() as calls,
    ):
        groups.submit(where).result(timeout=support.SOON)
        futures = [gate.submit(calls) for _ in range(6)]
        gate.arrivals(4)
        with pytest.raises(TimeoutError):
            gate.arrival(timeout=0.3)
        gate.open()
        assert [future.result(timeout=support.SOON) for future in futures] == [None] * 6


def test_without_an_allocation_each_call_asks_for_one(slurm, monkeypatch, tmp_path):
    monkeypatch.setenv("EXECUTORLIB_AGENT_DIRECTORY", str(tmp_path / "agents"))
    with SlurmJobExecutor(max_cores=8, resource_dict=TWO_NODES) as executor:
        assert is_over_two_nodes(executor.submit(where).result(timeout=support.SOON))
    with pytest.raises(ValueError, match="needs max_cores or max_workers"):
        SlurmJobExecutor(resource_dict=TWO_NODES)
    with SlurmJobExecutor(max_cores=4) as executor, pytest.raises(ResourceError, match="without an allocation"):
        executor.submit(where, resource_dict=TWO_NODES)
