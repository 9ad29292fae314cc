"""What becomes of the calls of SlurmJobExecutor, and of its processes, when something in the allocation dies."""

import collections
import os
import signal
import socket
import sys
import time

import functions
import pytest
import support
from beds.waiting import until

from executorlib import SlurmJobExecutor, api
from slurm.nodes import by_node

ONE_WORKER_PER_NODE = {"block_allocation": True, "max_workers": 3}


def outcome(future):
    return future.exception(timeout=support.SOON)


@pytest.fixture(params=[{"max_workers": 3}, ONE_WORKER_PER_NODE], ids=["per_call", "block"])
def spread(request):
    """Arguments of an executor that runs one call on each node."""
    return request.param


def test_killed_worker_fails_its_call_only(job, spread, gate):
    with SlurmJobExecutor(**spread) as executor:
        other = gate.submit(executor)
        gate.arrival()
        with pytest.raises(api.WorkerLostError) as caught:
            executor.submit(functions.crash_with_text, "SIGKILL", "last words").result(timeout=support.SOON)
        assert (caught.value.signal, caught.value.host) == (signal.SIGKILL, socket.gethostname())
        assert "last words" in caught.value.stderr
        gate.open()
        assert other.result(timeout=support.SOON) is None
        assert executor.submit(functions.add, 1, 2).result(timeout=support.SOON) == 3


def test_killed_agent_fails_its_calls_and_no_others(job, spread, gate):
    with SlurmJobExecutor(**spread) as executor:
        futures = by_node(executor, gate)
        job.kill_agent("n2")
        started = time.monotonic()
        error = outcome(futures.pop("n2"))
        assert time.monotonic() - started < support.AT_ONCE
        assert isinstance(error, api.ExecutorlibSocketError)
        assert f"node {socket.gethostname()} was lost: its agent died" in str(error)
        late = gate.submit(executor)
        gate.open()
        for future in (*futures.values(), late):
            assert future.result(timeout=support.SOON) is None


def test_killed_agent_with_restart(job, gate):
    with SlurmJobExecutor(**ONE_WORKER_PER_NODE, restart_limit=1) as executor:
        futures = by_node(executor, gate)
        job.kill_agent("n3")
        gate.open()
        assert [future.result(timeout=support.SOON) for future in futures.values()] == [None] * 3


def test_site_that_ends_steps_for_one_task(job, gate):
    job.bed.configure(KillOnBadExit=1, WaitTime=1)
    with SlurmJobExecutor(max_workers=3) as executor:
        futures = by_node(executor, gate)
        job.kill_agent("n1")
        assert isinstance(outcome(futures.pop("n1")), api.ExecutorlibSocketError)
        # The step would have ended a second after its first task.
        with pytest.raises(TimeoutError):
            futures["n2"].result(timeout=1.5)
        gate.open()
        assert [future.result(timeout=support.SOON) for future in futures.values()] == [None] * 2


def test_killed_slurmd_is_of_no_matter(job, gate):
    with SlurmJobExecutor(max_workers=3) as executor:
        futures = by_node(executor, gate)
        job.bed.kill_slurmd(2)
        gate.open()
        assert [future.result(timeout=support.SOON) for future in futures.values()] == [None] * 3
        assert sorted(executor.map(abs, range(-50, 0))) == list(range(1, 51))
    job.bed.restart_slurmd(2)


@pytest.mark.parametrize("what", ["step", "job"])
def test_scancel(job, spread, gate, what):
    with SlurmJobExecutor(**spread) as executor:
        futures = by_node(executor, gate)
        job.bed.run("scancel", job.id if what == "job" else f"{job.id}.0")
        for future in futures.values():
            assert isinstance(outcome(future), api.ExecutorlibSocketError)
        error = outcome(executor.submit(functions.add, 1, 2))
        assert isinstance(error, api.ExecutorlibSocketError)


DRIVER = """
import sys, functions
from executorlib import SlurmJobExecutor

executor = SlurmJobExecutor(**eval(sys.argv[2]))
for _ in range(3):
    executor.submit(functions.start_family, sys.argv[1])
sys.stdin.read()
"""


def test_killed_driver_leaves_nothing(job, spread, gate, tmp_path):
    with support.Driver(tmp_path, DRIVER, gate.folder, repr(spread)) as driver:
        family = [pid for _ in range(3) for pid in gate.arrival()]
        launchers = support.descendants(driver.pid)
        driver.kill()
        assert support.alive_after([*job.processes(), *family], support.AT_ONCE) == []
        assert support.alive_after(launchers, support.SOON) == []


def test_driver_killed_before_its_agents_have_come_leaves_nothing(job, tmp_path):
    srun = tmp_path / "srun"
    srun.write_text("#!/bin/sh\nexec sleep 1000\n")
    srun.chmod(0o700)
    script = "import sys\nfrom executorlib import SlurmJobExecutor\nexecutor = SlurmJobExecutor(max_workers=1)\n"
    environment = support.script_environment(PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with support.Driver(tmp_path, script + "print('made')\nsys.stdin.read()", env=environment) as driver:
        driver.expect("made")
        launchers = support.descendants(driver.pid)
        assert len(os.listdir(tmp_path / "agents")) == 1
        driver.kill()
        until(lambda: os.listdir(tmp_path / "agents") == [], support.SOON, "the removal of the hand-over file")
        assert support.alive_after(launchers, support.SOON) == []


def test_srun_does_not_outlive_a_killed_driver_when_nobody_answers_it(job, gate, tmp_path):
    with support.Driver(tmp_path, DRIVER, gate.folder, "{'max_workers': 3}") as driver:
        family = [pid for _ in range(3) for pid in gate.arrival()]
        launchers = support.descendants(driver.pid)
        job.bed.stop_slurmctld()
        try:
            driver.kill()
            assert support.alive_after(launchers, support.SOON) == []
            assert support.alive_after(family, support.SOON) == []
        finally:
            job.bed.start_slurmctld()


def test_shutdown_leaves_nothing(job, spread, gate):
    before = set(support.descendants(os.getpid()))
    executor = SlurmJobExecutor(**spread)
    by_node(executor, gate)
    started = set(support.descendants(os.getpid())) - before
    assert started.issuperset(job.processes()) and len(job.agents()) == 3
    gate.open()
    executor.shutdown()
    assert support.alive_after(started, support.AT_ONCE) == []
    until(
        lambda: not job.bed.run("squeue", "-h", "-s", "-j", job.id).stdout.strip(), support.SOON, "the end of the step"
    )


def test_srun_that_refuses_says_why(job):
    with SlurmJobExecutor(resource_dict={"slurm_cmd_args": ["--nonesuch"]}) as executor:
        error = outcome(executor.submit(functions.add, 1, 2))
    assert isinstance(error, api.ExecutorlibSocketError)
    assert "srun ended with exit status" in str(error) and "--nonesuch" in str(error)


def test_agent_that_cannot_start_says_why(job, monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nshift $(($# - 1))\nexec "{sys.executable}" -I -S -c "import executorlib"\n')
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    with SlurmJobExecutor(max_workers=1) as executor:
        error = outcome(executor.submit(functions.add, 1, 2))
    assert isinstance(error, api.ExecutorlibSocketError)
    assert "No module named 'executorlib'" in str(error)


def test_cancelled_calls_and_terminated_ones(job, gate):
    with SlurmJobExecutor(max_workers=3) as executor:
        running = by_node(executor, gate)
        waiting = [gate.submit(executor) for _ in range(10)]
        assert running["n1"].terminate()
        assert isinstance(outcome(running.pop("n1")), api.ExecutorlibSocketError)
        executor.shutdown(wait=False, cancel_futures=True)
        gate.open()
        assert [future.result(timeout=support.SOON) for future in running.values()] == [None] * 2
    assert collections.Counter(future.cancelled() for future in waiting)[True] >= 9
