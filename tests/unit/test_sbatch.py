"""What sbatch is told, without a Slurm."""

import builtins

import pytest

from executorlib import _job, _sbatch

ONE = {"cores": 1, "threads_per_core": 1}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, []),
        ({"cores": 2, "threads_per_core": 3, "gpus_per_core": 2}, ["--ntasks=2", "--cpus-per-task=3", "--gres=gpu:4"]),
        ({"run_time_max": 1}, ["--time=1"]),
        ({"run_time_max": 60.5}, ["--time=2"]),
        ({"exclusive": True, "partition": "big", "priority": 0}, ["--exclusive", "--partition=big", "--priority=0"]),
        ({"memory_max": 4}, ["--mem=4G"]),
        ({"memory_max": "500M"}, ["--mem=500M"]),
    ],
)
def test_options(resources, expected):
    told = _sbatch.options({**ONE, **resources})
    assert set(expected) <= set(told)
    assert "--nodes=1" in told
    assert len(told) == max(3, len(set(told)))


@pytest.mark.parametrize("folders", [["/c/it's"], ["/c/a b", "/c/$x"]], ids=len)
def test_a_script_tells_its_calls(folders):
    assert _sbatch.folders_of(_sbatch.script(folders)) == folders


def test_a_rendered_template_tells_its_call():
    values = _sbatch.variables("/c/a b", "/w", {**ONE, "threads_per_core": 2, "own": 1}, ["7"])
    assert (values["cores"], values["dependency_list"], values["job_name"], values["own"]) == (2, ["7"], "a b", 1)
    assert _sbatch.folders_of(f"#!/bin/sh\n{values['command']}\n") == ["/c/a b"]
    assert _sbatch.folders_of("#!/bin/sh\ntrue\n") == []
    assert "--queued" in _job.command("x_i.h5", queued=True)


@pytest.mark.parametrize(
    ("line", "sets"), [("#SBATCH --output=x", True), ("#SBATCH -n 1 -e x", True), ("#SBATCH --ntasks=1", False)]
)
def test_where_a_script_writes(line, sets):
    assert _sbatch.sets_output(f"#!/bin/sh\n{line}\necho --output=no\n") is sets


def test_missing_jinja_is_named(monkeypatch):
    real = builtins.__import__

    def refuse(name, *arguments):
        if name == "jinja2":
            raise ModuleNotFoundError("No module named 'jinja2'", name=name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'executorlib\[cluster\]'"):
        _sbatch.render("{{command}}", {})
