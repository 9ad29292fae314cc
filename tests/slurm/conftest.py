"""Fixtures with a real Slurm; see tests/beds/README.md."""

import pytest
from beds import network
from beds.slurm import IMPATIENT, SlurmBed, missing

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
def networked_slurm(session_networked_bed, monkeypatch):
    """The same with each node, and the controller, on a host of its own."""
    yield from _lend(session_networked_bed, monkeypatch)


@pytest.fixture(scope="session")
def impatient():
    """A Slurm that soon gives up a node that does not answer."""
    if reason := missing():
        pytest.skip(reason)
    with SlurmBed(**IMPATIENT) as bed:
        yield bed


@pytest.fixture(scope="session")
def expiring(impatient):
    """A job on node n1 of *impatient* whose time is over, which Slurm sees within 30 s."""
    job = impatient.sbatch(FOREVER, "--time=1", "--nodelist=n1")
    impatient.wait_begun(job)
    impatient.run("scontrol", "update", f"JobId={job}", "EndTime=now")
    return job
