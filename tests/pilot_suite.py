"""What lasting workers in jobs do under any scheduler: a class of tests, for the folder of each scheduler.

A module that derives from it has two fixtures: `cluster`, the scheduler, as `flux_instance/cluster.py` and
`slurm/cluster.py` have it, and `make`, which makes executors of it with block allocation.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import functions
import pytest
import support
from beds.waiting import until
from queue_suite import pysqa_configuration
from support import SOON, needs_mpi

from executorlib._job import job_number
from executorlib.api import JobLostError, StartError, WorkerLostError


def hand_over_files():
    return list(Path("executorlib_cache").glob("pilots-*/*.json"))


def agent_of(worker):
    """The agent that has started a worker, by way of its zygote."""
    zygote = int(support.status(worker)["PPid"])
    return int(support.status(zygote)["PPid"])


def own_job(worker=None):
    """The job whose agent has started this process, or that one."""
    with open(f"/proc/{agent_of(worker or os.getpid())}/environ", "rb") as file:
        variables = dict(entry.partition(b"=")[::2] for entry in file.read().split(b"\0"))
    number = variables.get(b"FLUX_JOB_ID") or variables[b"SLURM_JOB_ID"]
    return str(job_number(number.decode()))


def job_at_gate(folder):
    functions.pass_gate(folder)
    return own_job()


def run_in_jobs(executor, gate, count):
    """Jobs of so many calls that run at once."""
    futures = [executor.submit(job_at_gate, gate.folder) for _ in range(count)]
    gate.arrivals(count)
    gate.open()
    return {future.result(SOON) for future in futures}


def preset(executorlib_worker_id):
    return {"offset": 100 * executorlib_worker_id}


def add_offset(number, offset):
    return number + offset


DRIVER = """
import sys, functions
import executorlib

nodes, cores = map(int, sys.argv[3:])
executor = getattr(executorlib, sys.argv[2])(
    max_workers=nodes + 1, block_allocation=True, resource_dict={"threads_per_core": cores}
)
futures = [executor.submit(functions.start_family, sys.argv[1]) for _ in range(nodes)]
try:
    futures[0].result()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def interrupt_until_it_ends(driver):
    """Ctrl-C ends the wait for a result, and another one that of the interpreter for all calls."""
    driver.process.send_signal(signal.SIGINT)
    driver.expect("interrupted")

    def ends():
        driver.process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return driver.process.wait(0.2) is not None

    until(ends, SOON, "the end of the program")


class PilotSuite:
    template: str  # of a submission, which sets the variable GREETING

    # ---- workers in jobs ----

    def test_each_worker_has_a_job(self, make, cluster, make_gate):
        exe = make(2)
        assert list(exe.map(functions.add, range(300), range(300))) == list(range(0, 600, 2))
        jobs = run_in_jobs(exe, make_gate(), 2)
        assert len(jobs) == 2
        assert list(cluster.jobs().values()) == ["RUNNING"] * 2
        (file,) = hand_over_files()
        assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
        exe.shutdown()
        assert cluster.jobs() == {}
        assert os.listdir("executorlib_cache") == []

    def test_workers_can_become_more_and_fewer(self, make, cluster, make_gate):
        exe = make(1)
        first = run_in_jobs(exe, make_gate(), 1)
        exe.max_workers = 2
        assert run_in_jobs(exe, make_gate(), 2) > first
        exe.max_workers = 1
        until(lambda: len(cluster.jobs()) == 1, SOON, "the end of a job")
        assert run_in_jobs(exe, make_gate(), 1) == first
        assert exe.max_workers == exe.info["max_workers"] == 1

    def test_fewer_workers_lose_no_call(self, make, gate, cluster):
        exe = make(2)
        futures = [exe.submit(job_at_gate, gate.folder) for _ in range(6)]
        gate.arrivals(2)
        exe.max_workers = 1
        gate.open()
        assert len({future.result(SOON) for future in futures}) == 2
        until(lambda: len(cluster.jobs()) == 1, SOON, "the end of a job")

    def test_presets_and_results_that_are_kept(self, make, tmp_path):
        with pytest.warns(UserWarning, match="init_function"):
            exe = make(1, init_function=preset, cache_directory=str(tmp_path / "results"))
        assert [exe.submit(add_offset, i).result(SOON) for i in range(3)] == [0, 1, 2]
        assert len([name for name in os.listdir(tmp_path / "results") if name.endswith("_o.h5")]) == 3

    @needs_mpi
    def test_mpi_ranks(self, make, cluster):
        import file_functions

        if cluster.cores < 2:
            pytest.skip("needs nodes of two cores")
        exe = make(1, resource_dict={"cores": 2})
        assert exe.submit(file_functions.rank_and_size).result(2 * SOON) == [(0, 2), (1, 2)]

    @pytest.mark.parametrize("by", ["template", "pysqa"])
    def test_submission_templates(self, make, cluster, tmp_path, recwarn, by):
        arguments = {"resource_dict": {"partition": "main", "greeting": "hello", "run_time_max": 90}}
        if by == "pysqa":
            cluster.require_pysqa()
            arguments["pysqa_config_directory"] = pysqa_configuration(cluster, tmp_path, self.template)
        else:
            pytest.importorskip("jinja2")
            arguments["resource_dict"]["submission_template"] = self.template
        exe = make(1, **arguments)
        assert exe.submit(os.getenv, "GREETING").result(2 * SOON) == "hello 90"

    # ---- ends of jobs ----

    def test_a_cancelled_job_fails_its_call_and_is_replaced(self, make, gate, cluster):
        exe = make(1)
        running = gate.submit(exe)
        gate.arrival()
        (job,) = cluster.jobs()
        waiting = exe.submit(own_job)
        cluster.cancel(job)
        with pytest.raises(JobLostError, match=rf"job {job} on \w+ ended as CANCELLED") as caught:
            running.result(SOON)
        assert (caught.value.reason, caught.value.job_id) == ("CANCELLED", job)
        assert waiting.result(SOON) != job

    def test_a_call_that_runs_may_end_before_its_job_is_killed(self, make, gate, cluster):
        cluster.give_time_to_end()
        exe = make(1)
        running = exe.submit(job_at_gate, gate.folder)
        gate.arrival()
        waiting = exe.submit(own_job)
        cluster.cancel(*cluster.jobs())
        # What had not begun came back, and starts in another job.
        until(lambda: not waiting.running(), SOON, "the return of the call ahead")
        gate.open()
        assert running.result(SOON) != waiting.result(SOON)

    def test_a_killed_agent_with_restart(self, make, gate):
        exe = make(1, restart_limit=1)
        future = exe.submit(job_at_gate, gate.folder)
        (pid,) = gate.arrival()
        os.kill(agent_of(pid), signal.SIGKILL)
        gate.arrival()
        gate.open()
        assert future.result(SOON)

    def test_what_is_killed_fails_its_call(self, make, gate):
        exe = make(1)
        job = exe.submit(own_job).result(SOON)
        with pytest.raises(WorkerLostError, match="last words") as caught:
            exe.submit(functions.crash_with_text, "SIGKILL", "last words").result(SOON)
        assert caught.value.signal == signal.SIGKILL
        assert exe.submit(own_job).result(SOON) == job  # which has another worker
        future = gate.submit(exe)
        (pid,) = gate.arrival()
        os.kill(agent_of(pid), signal.SIGKILL)
        with pytest.raises(JobLostError, match=rf"job {job} on \w+ ended as FAILED"):
            future.result(SOON)
        assert exe.submit(own_job).result(SOON) != job

    def test_jobs_that_always_die_end_the_calls_that_wait(self, make, cluster, tmp_path, monkeypatch):
        python = tmp_path / "python"
        python.write_text("#!/bin/sh\necho no such module >&2; exit 7\n")
        python.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(python))
        before = cluster.submitted()
        exe = make(2)
        futures = [exe.submit(functions.add, 1, 2) for _ in range(3)]
        for future in futures:
            with pytest.raises(JobLostError, match="no such module") as caught:
                future.result(2 * SOON)
            assert (caught.value.reason, caught.value.status) == ("FAILED", 7)
            assert os.path.exists(caught.value.log)
        assert cluster.submitted() - before <= 4  # two, and two tries

    # ---- the ends of executors, and of programs ----

    def test_shutdown_before_any_job_has_begun(self, make, cluster):
        with cluster.closed():
            exe = make(2)
            future = exe.submit(functions.add, 1, 2)
            assert list(cluster.jobs().values()) == ["PENDING"] * 2
            exe.shutdown(cancel_futures=True)
            assert future.cancelled()
            assert cluster.jobs() == {}

    @pytest.mark.parametrize("end", [support.Driver.kill, interrupt_until_it_ends], ids=["killed", "interrupted"])
    def test_a_driver_that_goes_leaves_nothing(self, cluster, gate, tmp_path, monkeypatch, end):
        """Most of its workers are at calls, while one's job waits for room."""
        monkeypatch.chdir(tmp_path)
        environment = support.script_environment(PYTHONDONTWRITEBYTECODE="1")
        arguments = (gate.folder, cluster.executor_class.__name__, cluster.nodes, cluster.cores)
        with support.Driver(tmp_path, DRIVER, *arguments, env=environment) as driver:
            family = [pid for _ in range(cluster.nodes) for pid in gate.arrival()]
            assert sorted(cluster.jobs().values()) == ["PENDING", *["RUNNING"] * cluster.nodes]
            assert len(hand_over_files()) == 1
            end(driver)
            assert support.alive_after(family, SOON) == []
            until(lambda: cluster.jobs() == {} and hand_over_files() == [], SOON, "the end of all jobs")

    # ---- calls with a time limit ----

    def test_a_call_that_no_job_has_the_time_for_fails(self, make):
        exe = make(1, resource_dict={"run_time_max": 60})
        assert exe.submit(functions.add, 1, 2).result(SOON) == 3  # the executor's is the job's
        late = exe.submit(functions.add, 1, 2, resource_dict={"run_time_max": 3600})
        with pytest.raises(StartError, match=r"batch jobs of this executor end too early .* 3600"):
            late.result(SOON)
        assert exe.submit(functions.add, 2, 2, resource_dict={"run_time_max": 10}).result(SOON) == 4
