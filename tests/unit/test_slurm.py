"""What an executor makes of Slurm's environment."""

import pytest

from executorlib import _slurm
from executorlib._errors import ResourceError
from executorlib._fleet import Share


@pytest.mark.parametrize(
    "text, numbers", [("4", [4]), ("4(x3)", [4, 4, 4]), ("4(x2),2", [4, 4, 2]), ("1,2(x2),3", [1, 2, 2, 3])]
)
def test_repeated_numbers(text, numbers):
    assert _slurm.repeated(text) == numbers


@pytest.mark.parametrize("text", ["", "four", "4(x", "4(3)", "4,,2"])
def test_what_is_no_list_of_numbers(text):
    with pytest.raises(ValueError, match="Slurm"):
        _slurm.repeated(text)


def test_the_allocation_comes_from_the_environment():
    environ = {"SLURM_JOB_ID": "17", "SLURM_JOB_CPUS_PER_NODE": "4(x3)"}
    assert _slurm.allocation(environ) == ("17", [4, 4, 4])
    assert _slurm.allocation({"SLURM_JOB_ID": "17"}) is None
    assert _slurm.allocation({}) is None


def test_processes_share_all_cores_or_so_many():
    assert _slurm.shares([4, 4], width=1, max_cores=None, workers=None) == [Share(4), Share(4)]
    assert _slurm.shares([4, 4, 4], width=1, max_cores=6, workers=None) == [Share(4), Share(2)]


def test_workers_are_spread_evenly():
    assert _slurm.shares([4, 4, 4], width=1, max_cores=None, workers=5) == [Share(2, 2), Share(2, 2), Share(1, 1)]
    assert _slurm.shares([4, 4], width=2, max_cores=None, workers=3) == [Share(4, 2), Share(2, 1)]
    assert _slurm.shares([8, 2], width=1, max_cores=None, workers=1) == [Share(1, 1)]


def test_workers_that_do_not_fit_are_an_error():
    with pytest.raises(ResourceError, match="3 workers of 4 cores"):
        _slurm.shares([4, 6], width=4, max_cores=None, workers=3)


def test_the_launcher_is_srun_and_spares_the_others(monkeypatch):
    monkeypatch.setattr(_slurm.shutil, "which", lambda name: f"/usr/bin/{name}")
    command = _slurm.agent_launcher(3, inside=True)
    assert command[:3] == ["/usr/bin/srun", "--nodes=3", "--ntasks=3"]
    assert {"--overlap", "--no-kill", "--kill-on-bad-exit=0", "--wait=0", "--mpi=none", "--input=none"} <= set(command)
    outside = _slurm.agent_launcher(1, inside=False, cores=4, arguments=["--partition=short"])
    assert "--overlap" not in outside and outside[-2:] == ["--cpus-per-task=4", "--partition=short"]


def test_without_slurm_the_error_names_srun(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(FileNotFoundError, match="srun"):
        _slurm.agent_launcher(1, inside=True)
