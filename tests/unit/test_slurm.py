"""What an executor makes of Slurm's environment."""

import pytest

from executorlib import _slurm
from executorlib._errors import ResourceError
from executorlib._fleet import Share, spread


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
    assert _slurm.shares([4, 4], max_cores=None, max_calls=None) == [Share(4), Share(4)]
    assert _slurm.shares([4, 4, 4], max_cores=6, max_calls=None) == [Share(4), Share(2)]
    assert _slurm.shares([4, 4], max_cores=None, max_calls=8) == [Share(4), Share(4)]


def test_so_many_calls_at_once_are_spread_over_the_nodes():
    assert _slurm.shares([4, 4, 4], max_cores=None, max_calls=4) == [Share(4, 2), Share(4, 1), Share(4, 1)]
    assert _slurm.shares([4, 4, 4], max_cores=None, max_calls=1) == [Share(4, 1)]
    assert _slurm.shares([4, 4, 4], max_cores=6, max_calls=3) == [Share(4, 2), Share(2, 1)]


@pytest.mark.parametrize(
    "room, count, given",
    [
        ([4, 4, 4], 5, [2, 2, 1]),
        ([2, 2], 3, [2, 1]),
        ([8, 2], 1, [1, 0]),
        ([0, 4, 1], 5, [0, 4, 1]),
        ([3, 1], 0, [0, 0]),
    ],
)
def test_places_are_filled_evenly(room, count, given):
    assert spread(room, count) == given


def test_workers_that_do_not_fit_are_an_error():
    with pytest.raises(ResourceError, match="3 workers of 4 cores"):
        _slurm.check_room([4, 6], [1, 1], 3, 4)


@pytest.mark.parametrize(
    "cores, width, per_node, nodes",
    [(8, 1, 4, [4, 4]), (9, 2, 4, [4, 4, 4]), (5, 1, 4, [3, 3]), (6, 3, 4, [3, 3]), (7, 1, None, [7]), (8, 8, 4, [8])],
)
def test_what_to_ask_for_without_an_allocation(cores, width, per_node, nodes):
    assert _slurm.nodes_for(cores, width, per_node) == nodes


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


@pytest.mark.parametrize(
    "text, seconds",
    [("0:59", 59), ("10:00", 600), ("1:00:01", 3601), ("2-03:04:05", 183845), ("UNLIMITED", None), ("INVALID", None)],
)
def test_durations_in_slurms_notation(text, seconds):
    assert _slurm.seconds(text) == seconds


def test_later_releases_tell_the_end_of_a_job(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1700000000")
    assert _slurm.end_of("12") == 1700000000


def test_nobody_knows_the_end_of_a_job(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    assert _slurm.end_of(None) is None
    monkeypatch.setenv("PATH", "/nowhere")
    assert _slurm.end_of("12") is None
