"""Calls with a time limit in an allocation that ends."""

import os

import functions
import pytest
import support

from executorlib import SlurmJobExecutor
from executorlib.api import StartError

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def ending_job(slurm, monkeypatch, tmp_path):
    """An allocation with ten minutes left, in whose environment the test runs."""
    granted = slurm.run("salloc", "--no-shell", "-N1", "--ntasks-per-node=4", "--time=10").stderr
    monkeypatch.setenv("SLURM_JOB_ID", granted.split("job allocation ")[1].split()[0])
    monkeypatch.setenv("SLURM_JOB_CPUS_PER_NODE", "4")
    monkeypatch.setenv("EXECUTORLIB_AGENT_DIRECTORY", str(tmp_path))


@pytest.mark.parametrize("block", [False, True], ids=["per_call", "block"])
def test_a_call_that_cannot_have_its_time_fails_at_once(ending_job, block):
    with SlurmJobExecutor(max_workers=2, block_allocation=block) as executor:
        late = executor.submit(functions.add, 1, 2, resource_dict={"run_time_max": 3600})
        after = executor.submit(functions.add, late, 1)
        with pytest.raises(StartError, match=r"the allocation ends too early for the call, which may take 3600"):
            late.result(timeout=support.SOON)
        with pytest.raises(StartError):
            after.result(timeout=support.SOON)
        assert executor.submit(functions.add, 1, 2, resource_dict={"run_time_max": 60}).result(support.SOON) == 3
        assert executor.submit(functions.add, 1, 2).result(timeout=support.SOON) == 3


def test_without_an_allocation_the_agents_know_their_end(slurm, monkeypatch, tmp_path):
    monkeypatch.setenv("EXECUTORLIB_AGENT_DIRECTORY", str(tmp_path))
    with SlurmJobExecutor(max_workers=1, resource_dict={"slurm_cmd_args": ["--time=10"]}) as executor:
        with pytest.raises(StartError, match="the allocation ends too early"):
            executor.submit(functions.add, 1, 2, resource_dict={"run_time_max": 3600}).result(support.SOON)
        assert executor.submit(functions.add, 1, 2, resource_dict={"run_time_max": 60}).result(support.SOON) == 3
    assert os.listdir(tmp_path) == []
