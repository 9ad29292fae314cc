"""FluxClusterExecutor on a real Flux: calls as jobs, their drivers, and all ways in which jobs end."""

import os
import signal
import subprocess
import sys
import time

import functions
import pytest
import support
from beds.waiting import until
from queue_suite import QueueSuite, pysqa_configuration, submitted
from support import SOON

from executorlib import (
    FluxClusterExecutor,
    get_future_from_cache,
)
from executorlib.api import JobLostError, JobTimeoutError

pytestmark = pytest.mark.timeout(90)

TEMPLATE = """\
#!/bin/bash
# flux: --job-name={{job_name}}
# flux: -n {{cores}}
# flux: --output={{working_directory}}/time.out

export GREETING="{{greeting}} {{dependency_list | length}} {{run_time_max}}"
{{command}}
"""


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def make(flux, cache):
    with support.ended_executors(FluxClusterExecutor, cache_directory=cache) as make:
        yield make


@pytest.fixture
def exe(make):
    return make()


class TestWhatAllSchedulersHave(QueueSuite):
    template = TEMPLATE


# ---- calls ----


def test_what_a_call_asks_for_is_what_its_job_has(exe, flux):
    resources = {
        "threads_per_core": flux.cores, "run_time_max": 90, "priority": 0, "exclusive": True, "cache_key": "k",
    }  # fmt: skip
    future = exe.submit(time.sleep, 0, resource_dict=resources)
    job = submitted(future)
    told = flux.jobs()[int(job)]
    assert (told["urgency"], told["duration"], told["name"]) == (0, 90, "k")
    (node,) = flux.specification(job)["resources"]
    assert (node["type"], node["exclusive"]) == ("node", True)
    assert node["with"][0]["with"] == [{"type": "core", "count": flux.cores}]
    assert not future.running()
    flux.run("job", "urgency", str(job), "16")
    assert future.result(SOON) is None


def test_output_goes_to_the_logs_of_the_call(exe, cache):
    exe.submit(print, "hello", resource_dict={"cache_key": "said"}).result(SOON)
    own = cache / "place" / "own.txt"
    exe.submit(print, "there", resource_dict={"stdout_file": str(own)}).result(SOON)
    until(lambda: (cache / "said" / "out.log").read_text() == "hello\n", SOON, "the log")
    until(lambda: own.read_text() == "there\n", SOON, "the file")


def test_pysqa_without_the_module_it_needs(make, cluster, tmp_path, monkeypatch, recwarn):
    pytest.importorskip("pysqa")
    configuration = pysqa_configuration(cluster, tmp_path, TEMPLATE)
    monkeypatch.setitem(sys.modules, "flux", None)
    for name in [name for name in sys.modules if name.startswith(("flux.", "pysqa.wrapper.flux"))]:
        monkeypatch.delitem(sys.modules, name)
    exe = make(pysqa_config_directory=configuration)
    refused = exe.submit(abs, -1, resource_dict={"partition": "main"})
    with pytest.raises(ModuleNotFoundError, match="Flux's own Python module.*PYTHONPATH"):
        refused.result(SOON)


def test_a_refused_call_has_the_words_of_flux(exe, recwarn):
    refused = exe.submit(abs, -1, resource_dict={"partition": "nonesuch"})
    with pytest.raises(subprocess.CalledProcessError) as caught:
        refused.result(SOON)
    assert "nonesuch" in caught.value.output
    assert exe.submit(abs, -1).result(SOON) == 1


def run_by_flux(tasks):
    done = subprocess.run(["flux", "run", f"-n{tasks}", "echo", "hello"], capture_output=True, text=True, timeout=60)
    return done.stdout.split(), done.stderr


def test_calls_start_programs_with_all_cores_taken(exe, flux):
    resources = {"threads_per_core": flux.cores}
    futures = [exe.submit(run_by_flux, n, resource_dict=resources) for n in (1, flux.cores)]
    assert [future.result(3 * SOON) for future in futures] == [(["hello"] * n, "") for n in (1, flux.cores)]


def test_without_flux_its_command_is_named(flux, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with FluxClusterExecutor(cache_directory=tmp_path) as exe:
        error = exe.submit(abs, -1).exception(SOON)
    assert isinstance(error, ModuleNotFoundError)
    assert "`flux` was not found in PATH" in str(error)


def test_outside_of_an_instance_calls_fail(flux, tmp_path, monkeypatch):
    monkeypatch.setenv("FLUX_URI", f"local://{tmp_path}/nowhere")
    with FluxClusterExecutor(cache_directory=tmp_path) as exe, pytest.raises(FileNotFoundError, match="flux start"):
        exe.submit(abs, -1).result(SOON)


# ---- ends of jobs ----


@pytest.mark.timing
@pytest.mark.parametrize("how", ["SIGKILL", "exit", "cancel", "shell", "time limit"])
def test_the_end_of_a_job_is_noticed_with_the_reason(exe, flux, cache, gate, how):
    def leave_after_gate(folder):
        functions.pass_gate(folder)
        os._exit(7)

    resources = {"cache_key": "k", **({"run_time_max": 1} if how == "time limit" else {})}
    future = exe.submit(leave_after_gate, gate.folder, resource_dict=resources)
    (pid,) = gate.arrival()
    job = submitted(future)
    if how == "time limit":
        support.alive_after([pid], SOON)
    began = time.monotonic()
    if how == "SIGKILL":
        os.kill(pid, signal.SIGKILL)
    elif how == "shell":  # the script, and what it runs
        support.kill_quietly([int(support.status(pid)["PPid"]), pid])
    elif how == "cancel":
        flux.run("job", "raise", "--message=maintenance", str(job))
    elif how == "exit":
        gate.open()
    with pytest.raises(JobLostError) as caught:
        future.result(SOON)
    assert time.monotonic() - began < 20 * support.TIME_FACTOR  # 1.3 to 1.8 on an idle machine, 5 on a crowded one
    error = caught.value
    assert error.job_id == str(job)
    expected = {
        "SIGKILL": ("FAILED", signal.SIGKILL), "shell": ("FAILED", signal.SIGKILL), "exit": ("FAILED", None),
        "cancel": ("CANCELLED", signal.SIGTERM), "time limit": ("TIMEOUT", signal.SIGALRM),
    }  # fmt: skip
    assert (error.reason, error.signal) == expected[how]
    assert isinstance(error, JobTimeoutError) == (how == "time limit")
    if how == "cancel":
        assert "cancel: maintenance" in str(error)
    if how == "exit":
        assert error.status == 7
    assert not (cache / "k_i.h5").exists()


def test_a_request_that_nobody_can_meet(exe):
    future = exe.submit(abs, -1, resource_dict={"threads_per_core": 10_000})
    with pytest.raises(JobLostError, match="unsatisfiable request"):
        future.result(SOON)


def test_a_cancelled_future_takes_its_job_along(exe, flux, gate):
    future = gate.submit(exe)
    (pid,) = gate.arrival()
    assert future.cancel()
    assert support.alive_after([pid], SOON) == []
    until(lambda: not flux.jobs(), SOON, "the job to go")


# ---- drivers ----

INSTANCE = """
    import sys, functions
    from executorlib import FluxClusterExecutor
    exe = FluxClusterExecutor(cache_directory="cache", wait=False)
    exe.submit(functions.pass_gate, sys.argv[1], 7, resource_dict={"cache_key": "first"})
    sys.stdin.readline()
    exe.shutdown()
"""


def test_the_end_of_the_instance_ends_its_calls(make, cache, tmp_path, gate, monkeypatch):
    script = support.write_script(tmp_path, INSTANCE)
    with subprocess.Popen(
        ["flux", "start", sys.executable, script, gate.folder], cwd=tmp_path, stdin=subprocess.PIPE,
        env=support.script_environment(),
    ) as instance:  # fmt: skip
        (pid,) = gate.arrival()
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = dict(entry.partition(b"=")[::2] for entry in file.read().split(b"\0"))
        monkeypatch.setenv("FLUX_URI", variables[b"FLUX_URI"].decode())
        future = get_future_from_cache(str(cache), "first")
        instance.communicate(b"\n", timeout=SOON)
    with pytest.raises(JobLostError):
        future.result(SOON)
    monkeypatch.undo()


# ---- arguments ----


@pytest.mark.parametrize(
    "arguments",
    [
        {"init_function": dict}, {"hostname_localhost": True},
        {"log_obj_size": True}, {"block_allocation": True}, {"resource_dict": {"cores": "two"}},
        {"resource_dict": {"gpus_per_core": 0.5}}, {"openmpi_oversubscribe": True}, {"resource_dict": {"priority": 32}},
    ],
    ids=str,
)  # fmt: skip
def test_refused_arguments(arguments):
    with pytest.raises(ValueError):
        FluxClusterExecutor(**arguments)
