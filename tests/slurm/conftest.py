"""Fixtures with a real Slurm; see tests/beds/README.md."""

import os
import re

import pytest
import support
from beds import network
from beds.slurm import IMPATIENT, SlurmBed, missing

from slurm.cluster import SlurmCluster

#: The script of a job that runs until it is ended, at once by SIGTERM.
FOREVER = "exec sleep 1000"


@pytest.fixture(scope="session")
def session_bed():
    if reason := missing():
        pytest.skip(reason)
    with SlurmBed() as bed:
        yield bed


@pytest.fixture(scope="session")
def session_networked_bed():
    if reason := missing() or network.missing():
        pytest.skip(reason)
    with SlurmBed(networked=True) as bed:
        yield bed


def _lend(bed, monkeypatch):
    for name, value in bed.variables.items():
        monkeypatch.setenv(name, value)
    yield bed
    bed.reset()


@pytest.fixture
def slurm(session_bed, monkeypatch):
    """A Slurm of three nodes on this host, which the test's own environment points to; mended after the test."""
    yield from _lend(session_bed, monkeypatch)


@pytest.fixture
def cluster(slurm):
    """The same for tests that go for all schedulers."""
    return SlurmCluster(slurm)


@pytest.fixture
def networked_slurm(session_networked_bed, monkeypatch):
    """The same with each node, and the controller, on a host of its own."""
    yield from _lend(session_networked_bed, monkeypatch)


@pytest.fixture(scope="session")
def impatient():
    """A Slurm that soon gives up a node that does not answer."""
    if reason := missing():
        pytest.skip(reason)
    # The job of `expiring` may be asked about long after its end.
    with SlurmBed(**IMPATIENT, MinJobAge=7200) as bed:
        yield bed


@pytest.fixture(scope="session")
def expiring(impatient):
    """A job on node n1 of *impatient* whose time is over, which Slurm sees within 30 s."""
    job = impatient.sbatch(FOREVER, "--time=1", "--nodelist=n1")
    impatient.wait_begun(job)
    impatient.run("scontrol", "update", f"JobId={job}", "EndTime=now")
    return job


#: Calls of a program in an allocation, until that ends.
CALLS = """
    import time
    from executorlib import SlurmJobExecutor

    with SlurmJobExecutor() as executor:
        print("began", executor.submit(abs, -1).result(), flush=True)
        error = executor.submit(time.sleep, 1000).exception()
        print("ended", type(error).__name__, error, flush=True)
"""


@pytest.fixture(scope="session")
def expiring_calls(impatient, tmp_path_factory):
    """A program with a call in an allocation on node n3 whose time is over, likewise."""
    folder = tmp_path_factory.mktemp("expiring")
    granted = impatient.run("salloc", "--no-shell", "--nodelist=n3", "--time=1").stderr
    number = re.search(r"Granted job allocation (\d+)", granted)[1]
    allocation = {"SLURM_JOB_ID": number, "SLURM_JOB_CPUS_PER_NODE": "1", "SLURM_JOB_NUM_NODES": "1"}
    places = {"EXECUTORLIB_AGENT_DIRECTORY": str(folder / "agents")}
    env = support.script_environment(**impatient.variables, **allocation, **places)
    with support.Driver(folder, CALLS, env=env) as driver:
        driver.expect("began")
        impatient.run("scontrol", "update", f"JobId={number}", "EndTime=now")
        yield driver


def _allocate(bed, monkeypatch, folder):
    from slurm.nodes import Job

    job = Job(bed)
    for name, value in job.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EXECUTORLIB_AGENT_DIRECTORY", str(folder / "agents"))
    yield job
    # Nothing is left in the allocation, which is still there, nor of the file with the key.
    assert support.alive_after(job.processes(), support.AT_ONCE) == []
    assert os.listdir(folder / "agents") == []


@pytest.fixture
def job(slurm, monkeypatch, tmp_path):
    """All three nodes, in whose environment the test runs; after it, nothing of an executor is there."""
    yield from _allocate(slurm, monkeypatch, tmp_path)


@pytest.fixture
def networked_job(networked_slurm, monkeypatch, tmp_path):
    """The same where each node is a host of its own."""
    yield from _allocate(networked_slurm, monkeypatch, tmp_path)


@pytest.fixture(params=[False, True], ids=["per_call", "block"])
def arguments(request):
    """Those of an executor that uses all of the allocation, in both modes."""
    return {"block_allocation": True, "max_workers": 12} if request.param else {}
