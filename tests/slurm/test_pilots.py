"""SlurmClusterExecutor(block_allocation=True): workers in batch jobs, and what becomes of calls when these end."""

import contextlib
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import functions
import pytest
import support
from beds.waiting import until
from support import SOON, needs_mpi

from executorlib import SlurmClusterExecutor
from executorlib.api import JobLostError, StartError, WorkerLostError

pytestmark = pytest.mark.timeout(120)

TEMPLATE = """\
#!/bin/bash
#SBATCH --job-name={{job_name}}
#SBATCH --ntasks={{cores}}
#SBATCH --partition={{partition}}
export GREETING="{{greeting}} {{run_time_max}}"
{{command}}
"""


@pytest.fixture
def make(slurm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", support.script_environment()["PYTHONPATH"])
    made = []

    def make_executor(max_workers=1, **arguments):
        made.append(SlurmClusterExecutor(max_workers=max_workers, block_allocation=True, **arguments))
        return made[-1]

    yield make_executor
    for executor in made:
        executor.shutdown(wait=True, cancel_futures=True)
    assert queue(slurm) == {}
    assert hand_over_files() == []


def queue(bed):
    """{job: state} of those that wait or run."""
    lines = bed.run("squeue", "--noheader", "--array", "--format=%i %T").stdout.splitlines()
    return dict(line.split() for line in lines)


def hand_over_files():
    return list(Path("executorlib_cache").glob("pilots-*/*.json"))


def own_job():
    return os.environ["SLURM_JOB_ID"]


def job_at_gate(folder):
    functions.pass_gate(folder)
    return own_job()


def run_in_jobs(executor, gate, count):
    """Jobs of so many calls that run at once."""
    futures = [executor.submit(job_at_gate, gate.folder) for _ in range(count)]
    gate.arrivals(count)
    gate.open()
    return {future.result(SOON) for future in futures}


# ---- workers in jobs ----


def test_each_worker_has_a_job(make, slurm, make_gate):
    exe = make(3)
    assert list(exe.map(functions.add, range(300), range(300))) == list(range(0, 600, 2))
    jobs = run_in_jobs(exe, make_gate(), 3)
    assert len(jobs) == 3
    assert set(queue(slurm).values()) == {"RUNNING"} and len(queue(slurm)) == 3
    (file,) = hand_over_files()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    exe.shutdown()
    assert queue(slurm) == {}
    assert os.listdir("executorlib_cache") == []


def test_workers_can_become_more_and_fewer(make, slurm, make_gate):
    exe = make(1)
    first = run_in_jobs(exe, make_gate(), 1)
    exe.max_workers = 3
    assert run_in_jobs(exe, make_gate(), 3) > first
    exe.max_workers = 1
    until(lambda: len(queue(slurm)) == 1, SOON, "the end of two jobs")
    assert run_in_jobs(exe, make_gate(), 1) == first
    assert exe.max_workers == exe.info["max_workers"] == 1


def test_fewer_workers_lose_no_call(make, gate, slurm):
    exe = make(2)
    futures = [exe.submit(job_at_gate, gate.folder) for _ in range(6)]
    gate.arrivals(2)
    exe.max_workers = 1
    gate.open()
    assert len({future.result(SOON) for future in futures}) == 2
    until(lambda: len(queue(slurm)) == 1, SOON, "the end of a job")


def preset(executorlib_worker_id):
    return {"offset": 100 * executorlib_worker_id}


def add_offset(number, offset):
    return number + offset


def test_resources_presets_and_results_that_are_kept(make, tmp_path):
    resources = {"threads_per_core": 3, "slurm_cmd_args": ["--nodelist=n2"], "run_time_max": 600}
    with pytest.warns(UserWarning, match="init_function"):
        exe = make(1, resource_dict=resources, init_function=preset, cache_directory=str(tmp_path / "results"))
    names = ["SLURM_NTASKS", "SLURM_CPUS_PER_TASK", "SLURMD_NODENAME"]
    assert exe.submit(functions.environment, *names).result(SOON) == {names[0]: "1", names[1]: "3", names[2]: "n2"}
    assert [exe.submit(add_offset, i).result(SOON) for i in range(3)] == [0, 1, 2]
    assert len([name for name in os.listdir(tmp_path / "results") if name.endswith("_o.h5")]) == 4


@needs_mpi
def test_mpi_ranks(make):
    import file_functions

    exe = make(1, resource_dict={"cores": 2})
    assert exe.submit(file_functions.rank_and_size).result(2 * SOON) == [(0, 2), (1, 2)]


@pytest.mark.parametrize("by", ["template", "pysqa"])
def test_submission_templates(make, tmp_path, recwarn, by):
    arguments = {"resource_dict": {"partition": "main", "greeting": "hello", "run_time_max": 90}}
    if by == "pysqa":
        pytest.importorskip("pysqa")
        (tmp_path / "queue.yaml").write_text(
            "queue_type: SLURM\nqueue_primary: main\n"
            "queues:\n  main: {cores_max: 4, cores_min: 1, run_time_max: 600, script: main.sh}\n"
        )
        (tmp_path / "main.sh").write_text(TEMPLATE)
        arguments["pysqa_config_directory"] = str(tmp_path)
    else:
        pytest.importorskip("jinja2")
        arguments["resource_dict"]["submission_template"] = TEMPLATE
    exe = make(2, **arguments)
    assert exe.submit(os.getenv, "GREETING").result(SOON) == "hello 90"


# ---- ends of jobs ----


def test_a_cancelled_job_fails_its_call_and_is_replaced(make, gate, slurm):
    exe = make(1)
    running = gate.submit(exe)
    gate.arrival()
    (job,) = queue(slurm)
    waiting = exe.submit(own_job)
    slurm.run("scancel", job)
    with pytest.raises(JobLostError, match=f"job {job} on n1 ended as CANCELLED") as caught:
        running.result(SOON)
    assert (caught.value.reason, caught.value.job_id) == ("CANCELLED", job)
    assert waiting.result(SOON) != job


def test_a_call_that_runs_may_end_before_its_job_is_killed(make, gate, slurm):
    slurm.configure(KillWait=60)
    exe = make(1)
    running = exe.submit(job_at_gate, gate.folder)
    gate.arrival()
    waiting = exe.submit(own_job)
    slurm.run("scancel", *queue(slurm))
    # What had not begun came back, and starts in another job.
    until(lambda: not waiting.running(), SOON, "the return of the call ahead")
    gate.open()
    assert running.result(SOON) != waiting.result(SOON)


def test_a_lost_node_with_restart(make, gate, slurm):
    exe = make(1, restart_limit=1)
    future = exe.submit(job_at_gate, gate.folder)
    (pid,) = gate.arrival()
    (job,) = queue(slurm)
    slurm.fail_node(1)
    os.kill(agent_of(pid), signal.SIGKILL)
    gate.arrival()
    gate.open()
    assert future.result(SOON) != job


def agent_of(worker):
    """The agent that has started a worker, by way of its zygote."""
    zygote = int(support.status(worker)["PPid"])
    return int(support.status(zygote)["PPid"])


def test_what_is_killed_fails_its_call(make, gate):
    exe = make(1)
    job = exe.submit(own_job).result(SOON)
    with pytest.raises(WorkerLostError, match="last words") as caught:
        exe.submit(functions.crash_with_text, "SIGKILL", "last words").result(SOON)
    assert caught.value.signal == signal.SIGKILL
    assert exe.submit(own_job).result(SOON) == job  # which has another worker
    future = gate.submit(exe)
    (pid,) = gate.arrival()
    os.kill(agent_of(pid), signal.SIGKILL)
    with pytest.raises(JobLostError, match=f"job {job} on n1 ended as FAILED"):
        future.result(SOON)
    assert exe.submit(own_job).result(SOON) != job


def submitted_jobs(bed):
    return len(set(re.findall(r"_slurm_rpc_submit_batch_job: JobId=(\d+)", (bed.folder / "slurmctld.log").read_text())))


def test_jobs_that_always_die_end_the_calls_that_wait(make, slurm, tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no such module >&2; exit 7\n")
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    before = submitted_jobs(slurm)
    exe = make(2)
    futures = [exe.submit(functions.add, 1, 2) for _ in range(3)]
    for future in futures:
        with pytest.raises(JobLostError, match="no such module") as caught:
            future.result(2 * SOON)
        assert (caught.value.reason, caught.value.status) == ("FAILED", 7)
        assert os.path.exists(caught.value.log)
    assert submitted_jobs(slurm) - before <= 3  # an array, and two tries


def test_refused_jobs(make, slurm):
    with pytest.raises(subprocess.CalledProcessError) as caught:
        make(2, resource_dict={"slurm_cmd_args": ["--partition=nonesuch"]})
    assert "nonesuch" in caught.value.output


def test_a_controller_that_is_away_is_waited_for(make, slurm):
    exe = make(1)
    assert exe.submit(functions.add, 1, 2).result(SOON) == 3
    slurm.stop_slurmctld()
    assert exe.submit(functions.add, 2, 2).result(SOON) == 4
    exe.max_workers = 2
    slurm.start_slurmctld()
    until(lambda: len(queue(slurm)) == 2, 2 * SOON, "another job")


# ---- the ends of executors, and of programs ----


def test_shutdown_before_any_job_has_begun(make, slurm):
    slurm.run("scontrol", "update", "PartitionName=main", "State=DOWN")
    try:
        exe = make(2)
        future = exe.submit(functions.add, 1, 2)
        assert set(queue(slurm).values()) == {"PENDING"}
        exe.shutdown(cancel_futures=True)
        assert future.cancelled()
        assert queue(slurm) == {}
    finally:
        slurm.run("scontrol", "update", "PartitionName=main", "State=UP")


DRIVER = """
import sys, functions
from executorlib import SlurmClusterExecutor

executor = SlurmClusterExecutor(max_workers=4, block_allocation=True, resource_dict={"threads_per_core": 4})
futures = [executor.submit(functions.start_family, sys.argv[1]) for _ in range(3)]
try:
    futures[0].result()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.fixture
def driver(slurm, gate, tmp_path):
    """A program three of whose four workers are at calls, while the fourth one's job waits for room."""
    environment = support.script_environment(PYTHONDONTWRITEBYTECODE="1")
    with support.Driver(tmp_path, DRIVER, gate.folder, env=environment) as driver:
        driver.family = [pid for _ in range(3) for pid in gate.arrival()]
        assert sorted(queue(slurm).values()) == ["PENDING", "RUNNING", "RUNNING", "RUNNING"]
        yield driver


def interrupt_until_it_ends(driver):
    """Ctrl-C ends the wait for a result, and another one that of the interpreter for all calls."""
    driver.process.send_signal(signal.SIGINT)
    driver.expect("interrupted")

    def ends():
        driver.process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return driver.process.wait(0.2) is not None

    until(ends, SOON, "the end of the program")


@pytest.mark.parametrize("end", [support.Driver.kill, interrupt_until_it_ends], ids=["killed", "interrupted"])
def test_a_driver_that_goes_leaves_nothing(driver, slurm, tmp_path, monkeypatch, end):
    monkeypatch.chdir(tmp_path)
    assert len(hand_over_files()) == 1
    end(driver)
    assert support.alive_after(driver.family, SOON) == []
    until(lambda: queue(slurm) == {} and hand_over_files() == [], SOON, "the end of all jobs")


# ---- the end of a job, and calls with a time limit ----


def test_a_call_that_no_job_has_the_time_for_fails(make):
    exe = make(1, resource_dict={"run_time_max": 60})
    assert exe.submit(functions.add, 1, 2).result(SOON) == 3  # the executor's is the job's
    late = exe.submit(functions.add, 1, 2, resource_dict={"run_time_max": 3600})
    with pytest.raises(StartError, match=r"batch jobs of this executor end too early .* 3600"):
        late.result(SOON)
    assert exe.submit(functions.add, 2, 2, resource_dict={"run_time_max": 10}).result(SOON) == 4
