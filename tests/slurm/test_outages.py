"""What becomes of calls while Slurm's own daemons are away, or end what runs: for both executors.

Each outage takes a few seconds here and as long as its issue asks for in `make soak`; all through it calls are made.
"""

import os
import signal
import sys
import time

import file_functions
import functions
import pytest
import support
from beds.waiting import until

from executorlib import SlurmClusterExecutor, SlurmJobExecutor, _job_record, _queued_jobs, api
from slurm.nodes import by_node

pytestmark = pytest.mark.timeout(60)

ONE_WORKER_PER_NODE = {"block_allocation": True, "max_workers": 3}


def lasting(seconds):
    return pytest.param(seconds, marks=[pytest.mark.soak, pytest.mark.timeout(240)], id=f"{seconds}s")


class Ledger:
    """Calls that write down that they have run, each once."""

    def __init__(self, path):
        self._path = str(path)
        self.futures = []

    def submit(self, executor, **arguments):
        number = len(self.futures)
        self.futures.append(executor.submit(file_functions.note, self._path, number, **arguments))
        return self.futures[-1]

    def fill(self, executor, seconds):
        """Call after call, for so long."""
        until_then = time.monotonic() + seconds
        while time.monotonic() < until_then:
            self.submit(executor).result(timeout=support.SOON)

    def check(self):
        """All have their results, and none has run twice."""
        assert [future.result(timeout=2 * support.SOON) for future in self.futures] == [
            number**2 for number in range(len(self.futures))
        ]
        with open(self._path) as file:
            noted = sorted(int(line.split()[0]) for line in file)
        assert noted == list(range(len(self.futures)))


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger")


@pytest.fixture(params=[{"max_workers": 3}, ONE_WORKER_PER_NODE], ids=["per_call", "block"])
def spread(request):
    return request.param


# ---- SlurmJobExecutor ----


@pytest.mark.parametrize("seconds", [1.0, lasting(60)])
def test_calls_go_on_without_the_controller(job, spread, gate, ledger, seconds):
    with SlurmJobExecutor(**{**spread, "max_workers": 6}) as executor:
        running = [gate.submit(executor) for _ in range(3)]
        gate.arrivals(3)
        job.bed.stop_slurmctld()
        ledger.fill(executor, seconds)
        gate.open()
        assert [future.result(timeout=support.SOON) for future in running] == [None] * 3
        job.bed.start_slurmctld()
        ledger.fill(executor, 0.1)
    ledger.check()


def test_an_executor_ends_without_the_controller(job, spread, gate):
    executor = SlurmJobExecutor(**spread)
    by_node(executor, gate)
    processes = job.processes()
    job.bed.stop_slurmctld()
    gate.open()
    began = time.monotonic()
    executor.shutdown()
    assert time.monotonic() - began < support.SOON
    assert support.alive_after(processes, support.AT_ONCE) == []


def test_an_executor_that_begins_without_the_controller_says_so(job):
    job.bed.configure(MessageTimeout=2)
    job.bed.stop_slurmctld()
    with SlurmJobExecutor(max_workers=3) as executor:
        error = executor.submit(functions.add, 1, 2).exception(timeout=support.SOON)
    assert isinstance(error, api.ExecutorlibSocketError)
    assert "controller" in str(error)


def test_a_node_without_slurmd_gets_no_agent(job, ledger):
    job.bed.configure(MessageTimeout=2)
    job.bed.kill_slurmd(2)
    with SlurmJobExecutor(max_workers=3) as executor:
        ledger.fill(executor, 0.2)
        assert set(job.agents()) <= {"n1", "n3"}
    ledger.check()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_killed_srun_ends_its_calls(job, gate, number):
    before = set(support.descendants(os.getpid()))
    with SlurmJobExecutor(**ONE_WORKER_PER_NODE) as executor:
        futures = by_node(executor, gate)
        processes = job.processes()
        sruns = {
            pid for pid in set(support.descendants(os.getpid())) - before if support.status(pid).get("Name") == "srun"
        }
        (srun,) = sruns - {child for pid in sruns for child in support.descendants(pid)}
        os.kill(srun, number)
        errors = [future.exception(timeout=support.SOON) for future in futures.values()]
        assert [type(error) for error in errors] == [api.WorkerLostError] * 3
        assert support.alive_after(processes, support.SOON) == []
        late = executor.submit(functions.add, 1, 2)
        assert isinstance(late.exception(timeout=support.SOON), api.ExecutorlibSocketError)


def test_an_agent_killed_with_messages_unread_is_lost_at_once(job, gate):
    with SlurmJobExecutor(**ONE_WORKER_PER_NODE) as executor:
        ready = by_node(executor, gate)  # so all agents are in
        gate.open()
        assert [future.result(timeout=support.SOON) for future in ready.values()] == [None] * 3
        agent = job.agents()["n2"]
        os.kill(agent, signal.SIGSTOP)
        # What a process leaves unread is told to its peer as a reset, which is another error than the end of a stream.
        futures = [executor.submit(functions.add, i, 1) for i in range(100)]
        until(lambda: sum(future.done() for future in futures) >= 40, support.SOON, "what the other nodes do")
        os.kill(agent, signal.SIGKILL)
        errors = [future.exception(timeout=support.SOON) for future in futures]
        assert {type(error) for error in errors} == {type(None), api.WorkerLostError}
        assert "its agent died" in str(next(filter(None, errors)))


def test_killed_agent_takes_its_workers_along(job, spread, gate):
    with SlurmJobExecutor(**spread) as executor:
        by_node(executor, gate)
        below = support.descendants(job.agents()["n2"])
        assert below
        job.kill_agent("n2")
        assert support.alive_after(below, support.AT_ONCE) == []
        gate.open()


DRIVER = """
    import os, sys, functions
    from executorlib import SlurmJobExecutor

    with SlurmJobExecutor(max_workers=3) as executor:
        for future in [executor.submit(functions.start_family, sys.argv[1]) for _ in range(3)]:
            future.result()
"""


def test_scancel_of_the_job_that_the_program_runs_in_leaves_nothing(slurm, gate, tmp_path, monkeypatch):
    script = support.write_script(tmp_path, DRIVER)
    monkeypatch.setenv("PYTHONPATH", support.script_environment()["PYTHONPATH"])
    monkeypatch.setenv("EXECUTORLIB_AGENT_DIRECTORY", str(tmp_path / "agents"))
    number = slurm.sbatch(f"exec {sys.executable} {script} {gate.folder}", "-N3", "--ntasks-per-node=4")
    family = [pid for _ in range(3) for pid in gate.arrival(2 * support.SOON)]
    assert len(family) == 9
    slurm.run("scancel", number)
    slurm.wait_job(number, "CANCELLED")
    assert support.alive_after(family, support.SOON) == []


# ---- SlurmClusterExecutor ----


@pytest.fixture
def cluster(slurm, tmp_path, monkeypatch):
    """An executor, and the folder of its files."""
    monkeypatch.setattr(_queued_jobs, "_LAST_LOOK_S", 1.0)
    monkeypatch.setenv("PYTHONPATH", support.script_environment()["PYTHONPATH"])
    executor = SlurmClusterExecutor(cache_directory=tmp_path / "cache")
    yield executor
    executor.shutdown(wait=True, cancel_futures=True)


def queue_id(future):
    """Of a submitted call."""
    base = future._path.removesuffix("_o.h5")
    return until(lambda: _job_record.read(base), support.SOON, "the submission")


@pytest.mark.parametrize("seconds", [1.0, lasting(60)])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_jobs_outlast_an_outage_of_the_controller(slurm, cluster, ledger, gate, seconds, how):
    running = gate.submit(cluster)
    gate.arrival(2 * support.SOON)
    if how == signal.SIGKILL:  # what happened in its last seconds would be forgotten
        slurm.run("scontrol", "update", f"JobId={queue_id(running)}", "Comment=saved")
        slurm.stop_slurmctld()
        slurm.start_slurmctld()
    slurm.stop_slurmctld(how)
    ends = time.monotonic() + seconds
    waiting = [ledger.submit(cluster) for _ in range(3)]
    gate.open()
    # Its result is noticed by the file, whoever is away.
    assert running.result(timeout=support.SOON) is None
    with pytest.raises(TimeoutError):
        waiting[0].result(timeout=max(0, ends - time.monotonic()))
    slurm.start_slurmctld()
    ledger.check()


def test_a_job_goes_on_without_its_slurmd(slurm, cluster, gate):
    options = {"slurm_cmd_args": ["--nodelist=n2"]}
    running = gate.submit(cluster, 7, resource_dict=options)
    gate.arrival(2 * support.SOON)
    slurm.kill_slurmd(2)
    gate.open()
    assert running.result(timeout=support.SOON) == 7
    slurm.restart_slurmd(2)
    assert cluster.submit(file_functions.add, 1, 2, resource_dict=options).result(timeout=2 * support.SOON) == 3


def test_scancel_of_a_task_and_of_its_array(slurm, cluster, gate):
    options = {"slurm_cmd_args": ["--nodelist=n2"]}
    # Four run, and the rest of the array waits; what has ended is not lost with it.
    futures = [gate.submit(cluster, number, resource_dict=options) for number in range(6)]
    done = cluster.submit(file_functions.add, 1, 2)
    gate.arrivals(4, 2 * support.SOON)
    numbers = [queue_id(future) for future in futures]
    assert done.result(timeout=2 * support.SOON) == 3
    slurm.run("scancel", numbers[1])
    with pytest.raises(api.JobLostError) as caught:
        futures[1].result(timeout=support.SOON)
    assert (caught.value.job_id, caught.value.reason) == (numbers[1], "CANCELLED")
    assert not futures[0].done()
    slurm.run("scancel", *{number.partition("_")[0] for number in numbers})
    for number, future in zip(numbers, futures, strict=True):
        with pytest.raises(api.JobLostError) as caught:
            future.result(timeout=support.SOON)
        assert (caught.value.job_id, caught.value.reason) == (number, "CANCELLED")
    until(lambda: not slurm.run("squeue", "-h").stdout, support.SOON, "the jobs to be gone")


@pytest.mark.parametrize("seconds", [0.5, lasting(30)])
def test_a_job_on_a_node_that_is_cut_off(networked_slurm, tmp_path, monkeypatch, gate, ledger, seconds):
    monkeypatch.setenv("PYTHONPATH", support.script_environment()["PYTHONPATH"])
    with SlurmClusterExecutor(cache_directory=tmp_path / "cache") as executor:
        options = {"slurm_cmd_args": ["--nodelist=n2", "--no-requeue"]}
        first, second = (gate.submit(executor, value, resource_dict=options) for value in (1, 2))
        pids = gate.arrivals(2, 2 * support.SOON)
        networked_slurm.cut(2)
        assert support.alive_after(pids, seconds) == sorted(pids)
        gate.open()
        assert [future.result(timeout=support.SOON) for future in (first, second)] == [1, 2]
        networked_slurm.restore(2)
        ledger.submit(executor, resource_dict=options)
        ledger.check()
