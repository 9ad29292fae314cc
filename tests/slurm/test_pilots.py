"""SlurmClusterExecutor(block_allocation=True): workers in batch jobs, and what becomes of calls when these end."""

import os
import signal
import subprocess

import functions
import pytest
import support
from beds.waiting import until
from pilot_suite import PilotSuite, agent_of, hand_over_files, job_at_gate
from support import SOON

from executorlib import SlurmClusterExecutor

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
def make(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", support.script_environment()["PYTHONPATH"])
    with support.ended_executors(SlurmClusterExecutor, block_allocation=True) as make:
        yield lambda max_workers=1, **arguments: make(max_workers=max_workers, **arguments)
    until(lambda: cluster.jobs() == {}, SOON, "the end of all jobs")
    assert hand_over_files() == []


class TestWhatAllSchedulersHave(PilotSuite):
    template = TEMPLATE


def test_resources_are_those_of_the_job(make):
    exe = make(1, resource_dict={"threads_per_core": 3, "slurm_cmd_args": ["--nodelist=n2"], "run_time_max": 600})
    names = ["SLURM_NTASKS", "SLURM_CPUS_PER_TASK", "SLURMD_NODENAME"]
    assert exe.submit(functions.environment, *names).result(SOON) == {names[0]: "1", names[1]: "3", names[2]: "n2"}


def test_an_array_of_jobs(make, cluster):
    before = cluster.submitted()
    exe = make(3)
    assert list(exe.map(functions.add, range(30), range(30))) == list(range(0, 60, 2))
    assert cluster.submitted() - before == 1
    assert len(cluster.jobs()) == 3


def test_a_lost_node_with_restart(make, gate, cluster, slurm):
    exe = make(1, restart_limit=1)
    future = exe.submit(job_at_gate, gate.folder)
    (pid,) = gate.arrival()
    (job,) = cluster.jobs()
    slurm.fail_node(1)
    os.kill(agent_of(pid), signal.SIGKILL)
    gate.arrival()
    gate.open()
    assert future.result(SOON) != job


def test_refused_jobs(make, slurm):
    with pytest.raises(subprocess.CalledProcessError) as caught:
        make(2, resource_dict={"slurm_cmd_args": ["--partition=nonesuch"]})
    assert "nonesuch" in caught.value.output


def test_a_controller_that_is_away_is_waited_for(make, cluster, slurm):
    exe = make(1)
    assert exe.submit(functions.add, 1, 2).result(SOON) == 3
    slurm.stop_slurmctld()
    assert exe.submit(functions.add, 2, 2).result(SOON) == 4
    exe.max_workers = 2
    slurm.start_slurmctld()
    until(lambda: len(cluster.jobs()) == 2, 2 * SOON, "another job")
