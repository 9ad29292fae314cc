"""FluxJobExecutor with calls that Flux starts: jobs over several nodes, one by one or as groups that stay."""

import os
import re
import shutil
import signal

import functions
import mpi_functions
import pytest
import support
from beds.waiting import until
from mpis import MPICH, OPEN_MPI
from support import SOON

from executorlib import FluxJobExecutor
from executorlib._errors import CallTerminatedError, ResourceError, RunTimeExceededError
from executorlib.api import WorkerLostError

pytestmark = pytest.mark.timeout(90 * support.TIME_FACTOR)

TWO_NODES = {"cores": 2, "num_nodes": 2}


@pytest.fixture(autouse=True)
def mpich(monkeypatch):
    """Flux's shell speaks what MPICH speaks."""
    MPICH.use(monkeypatch)


@pytest.fixture(params=[False, True], ids=["per_call", "block"])
def limits(request):
    return {"block_allocation": True, "max_workers": 1} if request.param else {}


def where(value=None):
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    return world.Get_rank(), world.allreduce(1), node_of(os.environ["FLUX_URI"]), value


def node_of(uri):
    """Which node a rank of a job is on, by the directory that the job has there."""
    return re.search(r"/jobtmp-(\d+)-", uri)[1]


def nodes_of(found, value=None, size=2):
    """The nodes of the ranks of a call of *where*, which has done what it should."""
    assert [(rank, total, echo) for rank, total, _, echo in found] == [(rank, size, value) for rank in range(size)]
    return [node for _, _, node, _ in found]


def are_on_two_nodes(found, value=None):
    return nodes_of(found, value) == ["0", "1"]


def calls(flux):
    """The jobs of calls, not of agents."""
    return [number for number in flux.jobs() if is_call(flux, number)]


def is_call(flux, number):
    command = flux.specification(number)["tasks"][0]["command"]
    return any("rank_main()" in argument for argument in command)


# ---- results ----


def test_ranks_of_two_nodes(flux, limits):
    data = b"x" * (1 << 20)
    with FluxJobExecutor(resource_dict=TWO_NODES, **limits) as executor:
        first, second = [executor.submit(where, value) for value in (data, "second")]
        assert are_on_two_nodes(first.result(timeout=SOON), data)
        assert are_on_two_nodes(second.result(timeout=SOON), "second")
        after = executor.submit(where, first)  # a result as an argument
        assert are_on_two_nodes(after.result(timeout=SOON), first.result())
        if limits:
            (job,) = calls(flux)
            assert flux.jobs()[job]["ntasks"] == 2


@pytest.mark.parametrize("ranks", ["more than a node has", "not the same on each node"])
def test_calls_wider_than_a_node(flux, ranks):
    if flux.cores < 2:
        pytest.skip("needs nodes of two cores")
    size = flux.cores + 1
    wanted = {"cores": size} if ranks.startswith("more") else {"cores": size, "num_nodes": 2}
    first = -(-size // 2)
    with FluxJobExecutor(resource_dict=wanted) as executor:
        found = executor.submit(where).result(timeout=SOON)
        assert nodes_of(found, size=size) == ["0"] * first + ["1"] * (size - first)


def test_calls_over_nodes_among_calls_of_agents(flux, make_gate):
    """Agents hold the cores of the instance; a call over nodes has them while no call of an agent does."""
    inner, outer = make_gate(), make_gate()
    with FluxJobExecutor() as executor:
        narrow = [inner.submit(executor) for _ in range(2 * flux.cores)]
        inner.arrivals(2 * flux.cores)
        wide = outer.submit(executor, resource_dict={"cores": 2 * flux.cores, "num_nodes": 2})
        with pytest.raises(TimeoutError):
            outer.arrival(timeout=0.3)
        inner.open()
        outer.arrivals(2 * flux.cores)
        assert len(calls(flux)) == 1
        later = executor.submit(functions.add, 1, 2)
        with pytest.raises(TimeoutError):
            later.result(timeout=0.3)
        outer.open()
        assert wide.result(timeout=SOON) == [None] * 2 * flux.cores
        assert [future.result(timeout=SOON) for future in [*narrow, later]] == [*[None] * len(narrow), 3]


@pytest.mark.parametrize("first", ["agents", "jobs"])
def test_executors_side_by_side_do_not_wait_for_each_other(flux, first):
    wanted = [{}, {"resource_dict": TWO_NODES}]
    with FluxJobExecutor(**wanted[first == "jobs"]) as one, FluxJobExecutor(**wanted[first == "agents"]) as other:
        agents, jobs = (one, other) if first == "agents" else (other, one)
        for _ in range(2):
            assert agents.submit(functions.add, 1, 2).result(timeout=SOON) == 3
            assert are_on_two_nodes(jobs.submit(where).result(timeout=SOON))


def test_many_calls_at_once_wait_for_cores_of_their_own(flux, gate):
    with FluxJobExecutor(resource_dict=TWO_NODES) as executor:
        futures = [gate.submit(executor) for _ in range(flux.cores + 1)]
        gate.arrivals(2 * flux.cores)
        with pytest.raises(TimeoutError):
            gate.arrival(timeout=0.3)
        gate.open()
        assert [future.result(timeout=SOON) for future in futures] == [[None] * 2] * len(futures)


def test_groups_stay_and_are_counted(flux):
    with FluxJobExecutor(resource_dict=TWO_NODES, block_allocation=True, max_workers=flux.cores) as executor:
        found = [future.result(timeout=SOON) for future in [executor.submit(where, i) for i in range(8)]]
        assert [[rank[3] for rank in ranks] for ranks in found] == [[i] * 2 for i in range(8)]
        assert len(calls(flux)) == flux.cores
    with pytest.raises(ResourceError, match=f"{flux.cores + 1} workers of 2 cores each need more than the Flux"):
        FluxJobExecutor(resource_dict=TWO_NODES, block_allocation=True, max_workers=flux.cores + 1)


def test_presets_of_groups(flux):
    arguments = {"block_allocation": True, "max_workers": 1, "init_function": lambda: {"j": 4}}
    with FluxJobExecutor(resource_dict=TWO_NODES, **arguments) as executor:
        assert executor.submit(lambda i, j: i + j, 2).result(timeout=SOON) == [6, 6]


# ---- what a job is told ----


def test_the_job_of_a_call(flux, gate, tmp_path):
    wanted = {**TWO_NODES, "priority": 20, "cwd": str(tmp_path / "place"), "exclusive": True}
    with FluxJobExecutor(resource_dict=wanted, pmi_mode="simple") as executor:
        future = gate.submit(executor)
        pid, _ = gate.arrivals(2)
        (number,) = calls(flux)
        job = flux.jobs()[number]
        assert (job["urgency"], job["ntasks"], job["nnodes"], job["ncores"]) == (20, 2, 2, 2 * flux.cores)
        specification = flux.specification(number)
        system = specification["attributes"]["system"]
        assert system["cwd"] == wanted["cwd"]
        assert system["shell"]["options"]["pmi"] == "simple"
        assert specification["resources"][0]["exclusive"]
        # The key is in a file, and the file is gone.
        with open(f"/proc/{pid}/environ") as environ:
            (door,) = re.findall(r"EXECUTORLIB_RANKS=([^\0]*)", environ.read())
        assert door.startswith("@") and not os.path.exists(door[1:])
        gate.open()
        assert future.result(timeout=SOON) == [None] * 2
        other = executor.submit(functions.working_directory, resource_dict={"priority": 17})
        assert other.result(timeout=SOON) == [wanted["cwd"]] * 2


def test_one_rank_in_an_executor_of_jobs_returns_its_value(flux):
    with FluxJobExecutor(resource_dict=TWO_NODES) as executor:
        alone = executor.submit(functions.add, 1, 2, resource_dict={"cores": 1, "num_nodes": 1})
        assert alone.result(timeout=SOON) == 3


def test_output_of_ranks(flux, capfd, tmp_path):
    with FluxJobExecutor(resource_dict=TWO_NODES) as executor:
        assert executor.submit(mpi_functions.speak, "heard").result(timeout=SOON) == [0, 1]
    out, err = capfd.readouterr()
    assert sorted(out.split()) == ["0", "1", "heard", "heard", "out", "out"]
    assert {"heard err 0", "heard err 1"} <= set(err.splitlines())
    with FluxJobExecutor(resource_dict={**TWO_NODES, "cwd": str(tmp_path / "place")}, flux_log_files=True) as executor:
        executor.submit(mpi_functions.speak, "kept").result(timeout=SOON)
    errors, output = sorted((tmp_path / "place").iterdir())
    assert re.fullmatch(r"flux_f\w+\.out", output.name) and errors == output.with_suffix(".err")
    assert sorted(output.read_text().splitlines()) == ["kept out 0", "kept out 1"]


def test_error_log_file(flux, tmp_path):
    log = tmp_path / "error.log"
    with FluxJobExecutor(resource_dict=TWO_NODES) as executor:
        future = executor.submit(mpi_functions.die_as, 1, "raise", resource_dict={"error_log_file": str(log)})
        assert isinstance(future.exception(timeout=SOON), ValueError)
        assert are_on_two_nodes(executor.submit(where).result(timeout=SOON))
    assert "rank 1 has had enough" in log.read_text()


def test_ranks_see_an_instance_and_no_job(flux):
    seen = ("FLUX_JOB_ID", "FLUX_TASK_RANK", "FLUX_KVS_NAMESPACE", "PMI_RANK", "PMI_FD", "EXECUTORLIB_RANKS")
    with FluxJobExecutor(resource_dict=TWO_NODES) as executor:
        variables = executor.submit(functions.environment, *seen).result(timeout=SOON)
    assert variables == [dict.fromkeys(seen)] * 2


def run_by_flux():
    import subprocess

    from mpi4py import MPI

    said = subprocess.run(["flux", "run", "echo", "hello"], capture_output=True, text=True, timeout=60)
    MPI.COMM_WORLD.Barrier()
    return said.stdout, said.stderr


def test_a_rank_starts_programs_with_flux(flux):
    with FluxJobExecutor(resource_dict=TWO_NODES) as executor:
        assert executor.submit(run_by_flux).result(timeout=SOON) == [("hello\n", "")] * 2


# ---- endings ----


@pytest.mark.parametrize("how", ["raise", "kill"])
def test_a_rank_that_fails_ends_its_call_alone(flux, limits, how):
    with FluxJobExecutor(resource_dict=TWO_NODES, **limits) as executor:
        error = executor.submit(mpi_functions.die_as, 1, how).exception(timeout=SOON)
        if how == "raise":
            assert isinstance(error, ValueError) and "rank 1" in str(error)
        else:
            assert isinstance(error, WorkerLostError)
            assert re.search(r"MPI rank 1 of 2, on node \S+, process \d+ of Flux job ƒ\w+, ended", str(error))
        assert are_on_two_nodes(executor.submit(where).result(timeout=SOON))


def test_a_lost_call_starts_again(flux, tmp_path):
    flag = tmp_path / "flag"
    flag.touch()
    arguments = {"block_allocation": True, "max_workers": 1, "restart_limit": 1}
    with FluxJobExecutor(resource_dict=TWO_NODES, **arguments) as executor:
        future = executor.submit(fail_once, str(flag))
        assert future.result(timeout=SOON) == ["again"] * 2


def fail_once(flag):
    from mpi4py import MPI

    first = os.path.exists(flag)
    MPI.COMM_WORLD.Barrier()
    if first and MPI.COMM_WORLD.Get_rank() == 0:
        os.unlink(flag)
        os.kill(os.getpid(), signal.SIGKILL)
    MPI.COMM_WORLD.Barrier()
    return "again"


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside_agents"])
def test_a_job_that_is_cancelled_loses_its_call(flux, gate, beside):
    wanted = {"resource_dict": TWO_NODES}
    with FluxJobExecutor(**({} if beside else wanted)) as executor:
        future = gate.submit(executor, **(wanted if beside else {}))
        gate.arrivals(2)
        (job,) = calls(flux)
        flux.run("job", "raise", "--message=maintenance", str(job))
        error = future.exception(timeout=SOON)
        assert isinstance(error, WorkerLostError)
        assert "type=cancel" in str(error) and "maintenance" in str(error)
        assert are_on_two_nodes(executor.submit(where, **(wanted if beside else {})).result(timeout=SOON))


def test_time_limit_and_terminate_end_the_job(flux, make_gate, limits):
    with FluxJobExecutor(resource_dict=TWO_NODES, **limits) as executor:
        for options in ({"run_time_max": 0.5}, {}):
            gate = make_gate()
            future = gate.submit(executor, resource_dict=options)
            pids = gate.arrivals(2)
            if not options:
                assert future.terminate()
            error = future.exception(timeout=SOON)
            assert isinstance(error, RunTimeExceededError if options else CallTerminatedError)
            assert support.alive_after(pids, SOON) == []
        until(lambda: len(calls(flux)) <= len(limits and [1]), SOON, "the end of the jobs of the calls")


def test_a_call_that_waits_is_cancelled(flux, gate):
    with FluxJobExecutor(resource_dict={"cores": 2 * flux.cores, "num_nodes": 2}) as executor:
        running, waiting = gate.submit(executor), gate.submit(executor)
        gate.arrivals(2 * flux.cores)
        assert waiting.cancel()
        gate.open()
        assert running.result(timeout=SOON) == [None] * 2 * flux.cores


def test_a_job_that_waits_is_cancelled_however_long_that_takes(flux, tmp_path, monkeypatch):
    slow = tmp_path / "flux"
    slow.write_text(f'#!/bin/sh\n[ "$2" = raise ] && sleep 1\nexec {shutil.which("flux")} "$@"\n')
    slow.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with FluxJobExecutor(max_cores=2, resource_dict=TWO_NODES) as executor:
        flux.run("submit", "-N2", "--exclusive", "sleep", "1000")
        future = executor.submit(where, resource_dict={"terminate_grace": 0.1})
        until(lambda: calls(flux), SOON, "the job of the call")
        assert future.terminate()
        assert isinstance(future.exception(timeout=SOON), CallTerminatedError)
        until(lambda: not calls(flux), SOON, "its end")
    flux.cancel_all()


def test_shutdown_while_the_job_of_a_call_waits(flux):
    with FluxJobExecutor(max_cores=2, resource_dict=TWO_NODES) as executor:
        flux.run("submit", "-N2", "--exclusive", "sleep", "1000")
        future = executor.submit(where)
        until(lambda: calls(flux), SOON, "the job of the call")
        assert future.terminate()
        assert isinstance(future.exception(timeout=SOON), CallTerminatedError)
        until(lambda: not calls(flux), SOON, "its end")
    flux.cancel_all()


DRIVER = """
import sys, functions
from executorlib import FluxJobExecutor

executor = FluxJobExecutor(hostname_localhost=eval(sys.argv[2]), resource_dict={"cores": 2, "num_nodes": 2})
executor.submit(functions.pass_gate, sys.argv[1])
sys.stdin.read()
"""


@pytest.mark.orphans
@pytest.mark.parametrize("localhost", [False, True], ids=["network", "localhost"])
def test_ranks_die_with_the_program(flux, gate, tmp_path, localhost):
    with support.Driver(tmp_path, DRIVER, gate.folder, repr(localhost)) as driver:
        pids = gate.arrivals(2)
        driver.kill()
        assert support.alive_after(pids, SOON) == []
        until(lambda: not flux.jobs(), SOON, "the end of the job")


# ---- MPI ----


def test_a_way_that_flux_does_not_have_says_so(flux):
    with FluxJobExecutor(resource_dict=TWO_NODES, pmi_mode="nonesuch") as executor:
        error = executor.submit(where).exception(timeout=SOON)
    assert isinstance(error, RuntimeError)
    assert "pmi=nonesuch" in str(error) and "2 MPI ranks" in str(error) and "sees 1" in str(error)


def test_open_mpi(flux, monkeypatch, limits):
    OPEN_MPI.use(monkeypatch)
    with FluxJobExecutor(resource_dict=TWO_NODES, **limits) as executor:
        assert are_on_two_nodes(executor.submit(where).result(timeout=SOON))


# ---- arguments ----


def test_more_than_there_is_is_refused(flux):
    there = f"{flux.cores}, {flux.cores} on its nodes"
    for resources in (
        {"cores": 2 * flux.cores + 1},
        {"cores": 3, "num_nodes": 3},
        {"cores": 2, "threads_per_core": flux.cores + 1, "num_nodes": 2},
    ):
        with pytest.raises(ResourceError, match=there):
            FluxJobExecutor(resource_dict=resources)
    with FluxJobExecutor() as executor, pytest.raises(ResourceError, match=there):
        executor.submit(where, resource_dict={"cores": 2 * flux.cores + 1})
    with pytest.raises(ResourceError, match="shares no GPUs"):
        FluxJobExecutor(resource_dict={**TWO_NODES, "gpus_per_core": 0.5})
    with FluxJobExecutor() as executor, pytest.raises(ResourceError, match="1 GPUs on each node, but Flux has 0"):
        executor.submit(where, resource_dict={**TWO_NODES, "gpus_per_core": 1})
    with FluxJobExecutor(resource_dict=TWO_NODES) as executor, pytest.raises(ResourceError, match="urgency"):
        executor.submit(where, resource_dict={"priority": 32})
