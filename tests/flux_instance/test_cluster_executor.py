"""FluxClusterExecutor on a real Flux: calls as jobs, their drivers, and all ways in which jobs end."""

import os
import signal
import subprocess
import sys
import time

import file_functions
import functions
import pytest
import support
from beds.waiting import until
from support import SOON, needs_mpi

from executorlib import (
    FluxClusterExecutor,
    get_cache_data,
    get_cache_data_queue,
    get_future_from_cache,
    terminate_task_in_cache,
    terminate_tasks_in_cache,
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
    made = []

    def make_executor(**arguments):
        made.append(FluxClusterExecutor(**{"cache_directory": cache, **arguments}))
        return made[-1]

    yield make_executor
    for executor in made:
        executor.shutdown(wait=True, cancel_futures=True)


@pytest.fixture
def exe(make):
    return make()


def submitted(future):
    """The number of the job of a call."""
    record = str(future._path).replace("_o.h5", ".job")
    return int(until(lambda: os.path.islink(record) and os.readlink(record).split()[1], SOON, "the submission"))


def names(cache):
    return sorted(os.listdir(cache)) if cache.exists() else []


# ---- calls ----


def test_calls_of_all_kinds(exe, flux, cache):
    first = exe.submit(file_functions.add, 1, 2, resource_dict={"cache_key": "three"})
    second = exe.submit(file_functions.total, [first, 4])
    squares = exe.map(pow, range(4), [2] * 4)
    wide = exe.submit(file_functions.describe, resource_dict={"threads_per_core": flux.cores, "cache_key": "wide"})
    failed = exe.submit(file_functions.fail, "no luck", resource_dict={"cache_key": "failed"})
    after_failure = exe.submit(file_functions.add, failed, 1, resource_dict={"cache_key": "after"})
    assert second.result(SOON) == 7
    assert list(squares) == [0, 1, 4, 9]
    told = wide.result(SOON)
    assert (told["threads"], told["cwd"]) == (str(flux.cores), str(cache / "wide"))
    for future in (failed, after_failure):
        with pytest.raises(ValueError, match="no luck"):
            future.result(SOON)
    exe.shutdown()
    entries = {os.path.basename(entry["filename"]): entry for entry in get_cache_data(str(cache))}
    assert isinstance(entries["three_o.h5"]["queue_id"], int)
    assert flux.specification(entries["three_o.h5"]["queue_id"])["attributes"]["system"]["job"]["name"] == "three"
    assert {entry["status"] for entry in get_cache_data_queue(str(cache), "flux")} == {"finished"}
    assert not [name for name in names(cache) if name.endswith((".job", ".ended", "_i.h5"))]


def test_what_a_call_asks_for_is_what_its_job_has(exe, flux):
    resources = {
        "threads_per_core": flux.cores, "run_time_max": 90, "priority": 0, "exclusive": True, "cache_key": "k",
    }  # fmt: skip
    future = exe.submit(time.sleep, 0, resource_dict=resources)
    job = submitted(future)
    told = flux.jobs()[job]
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


def test_template_and_its_variables(exe, cache, recwarn):
    pytest.importorskip("jinja2")
    resources = {
        "submission_template": TEMPLATE, "greeting": "hello", "cores": 1, "run_time_max": 90, "cache_key": "greet",
        "cwd": cache / "place",
    }  # fmt: skip
    future = exe.submit(_greeting, resource_dict=resources)
    assert [warning.category for warning in recwarn] == [UserWarning]
    assert future.result(2 * SOON) == ("hello 0 90", str(cache / "place"))
    assert "--job-name=greet" in (cache / "greet" / "run_queue.sh").read_text()


def _greeting():
    return os.environ["GREETING"], os.getcwd()


def test_a_refused_call_has_the_words_of_flux(exe, recwarn):
    refused = exe.submit(abs, -1, resource_dict={"partition": "nonesuch"})
    with pytest.raises(subprocess.CalledProcessError) as caught:
        refused.result(SOON)
    assert "nonesuch" in caught.value.output
    assert exe.submit(abs, -1).result(SOON) == 1


@needs_mpi
def test_mpi_ranks(exe, flux):
    if flux.cores < 2:
        pytest.skip("needs nodes of two cores")
    future = exe.submit(file_functions.rank_and_size, resource_dict={"cores": 2})
    assert future.result(2 * SOON) == [(0, 2), (1, 2)]


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
    assert time.monotonic() - began < 5 * support.TIME_FACTOR  # 1.3 to 1.8 on an idle machine
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


def test_a_cancelled_job_takes_its_dependents_along(exe, flux):
    first = exe.submit(time.sleep, 60, resource_dict={"cache_key": "first"})
    second = exe.submit(file_functions.add, first, 1, resource_dict={"cache_key": "second"})
    job, later = submitted(first), submitted(second)
    assert flux.jobs()[later]["dependencies"]
    flux.run("job", "raise", str(job))
    for future in (first, second):
        with pytest.raises(JobLostError, match="CANCELLED") as caught:
            future.result(SOON)
        assert caught.value.job_id == str(job)
    until(lambda: later not in flux.jobs(), SOON, "the dependent job to go")


def test_a_cancelled_future_takes_its_job_along(exe, flux, gate):
    future = gate.submit(exe)
    (pid,) = gate.arrival()
    assert future.cancel()
    assert support.alive_after([pid], SOON) == []
    until(lambda: not flux.jobs(), SOON, "the job to go")


# ---- drivers ----

DRIVER = """
    import sys, functions, file_functions
    from executorlib import FluxClusterExecutor
    exe = FluxClusterExecutor(cache_directory="cache", wait=False)
    first = exe.submit(functions.pass_gate, sys.argv[1], 7, resource_dict={"cache_key": "first"})
    second = exe.submit(file_functions.add, first, 1, resource_dict={"cache_key": "second"})
    print("submitted", flush=True)
    sys.stdin.readline()
    exe.shutdown()
    print("closed", first.cancelled(), second.cancelled(), flush=True)
"""


@pytest.mark.parametrize("end", ["closed", "killed"])
def test_a_later_driver_finds_the_jobs_of_an_earlier_one(make, flux, cache, tmp_path, gate, end):
    with support.Driver(tmp_path, DRIVER, gate.folder) as driver:
        driver.expect("submitted")
        gate.arrival()
        until((cache / "second.job").is_symlink, SOON, "the second submission")
        if end == "closed":
            driver.say()
            assert driver.expect("closed") == "True True"
    before = set(flux.jobs())
    assert len(before) == 2
    statuses = {entry["status"] for entry in get_cache_data_queue(str(cache))}
    assert statuses == {"running", "pending"}
    exe = make()
    first = exe.submit(functions.pass_gate, gate.folder, 7, resource_dict={"cache_key": "first"})
    second = exe.submit(file_functions.add, first, 1, resource_dict={"cache_key": "second"})
    third = get_future_from_cache(str(cache), "second")
    with pytest.raises(TimeoutError):
        first.result(0.5)
    assert set(flux.jobs()) == before
    gate.open()
    assert first.result(SOON) == 7
    assert second.result(SOON) == third.result(SOON) == 8


def test_a_job_whose_record_was_never_made_is_found(make, flux, cache):
    held = {"cache_key": "k", "priority": 0}
    first = make(wait=False)
    job = submitted(first.submit(abs, -4, resource_dict=held))
    first.shutdown()
    os.unlink(cache / "k.job")
    second = make().submit(abs, -4, resource_dict=held)
    assert submitted(second) == job
    flux.run("job", "urgency", str(job), "16")
    assert second.result(SOON) == 4


def test_terminate_calls_in_the_cache(make, flux, cache):
    exe = make(wait=False)
    futures = [exe.submit(time.sleep, 60 + i, resource_dict={"cache_key": f"k{i}"}) for i in range(3)]
    jobs = [submitted(future) for future in futures]
    exe.shutdown()
    terminate_task_in_cache(str(cache), "k1", backend="flux")
    until(lambda: jobs[1] not in flux.jobs(), SOON, "the job to go")
    assert {jobs[0], jobs[2]} <= set(flux.jobs())
    terminate_tasks_in_cache(str(cache), backend="flux")
    until(lambda: not flux.jobs(), SOON, "the jobs to go")
    assert [name for name in names(cache) if name.endswith((".h5", ".job"))] == []


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


# ---- lasting workers ----


def test_workers_in_jobs_of_their_own(flux, cache):
    def init_function():
        return {"j": 4, "k": 3, "l": 2}

    def calc(i, j, k):
        return i + j + k

    with FluxClusterExecutor(
        cache_directory=cache, block_allocation=True, max_workers=2, init_function=init_function,
        resource_dict={"run_time_max": 600, "job_name": "mine"},
    ) as exe:  # fmt: skip
        assert exe.submit(calc, 2, j=5).result(SOON) == 10
        assert [job["name"] for job in flux.jobs().values()] == ["mine", "mine"]
        assert {job["duration"] for job in flux.jobs().values()} == {600}
        assert sorted(exe.map(functions.square, range(50))) == [i * i for i in range(50)]


def test_a_worker_that_waits_for_room_keeps_nobody_waiting(flux):
    with FluxClusterExecutor(block_allocation=True, max_workers=2 * flux.cores + 1) as exe:
        assert exe.submit(functions.add, 1, 2).result(SOON) == 3
        assert len(flux.jobs()) == 2 * flux.cores + 1


def test_a_cancelled_worker_fails_its_call_and_no_others(flux, gate):
    with FluxClusterExecutor(block_allocation=True, max_workers=2) as exe:
        futures = [gate.submit(exe) for _ in range(2)]
        gate.arrivals(2)
        flux.run("job", "raise", str(next(iter(flux.jobs()))))
        until(lambda: any(future.done() for future in futures), SOON, "the end of one call")
        gate.open()
        errors = [future.exception(SOON) for future in futures]
        assert sorted(error is None for error in errors) == [False, True]
        assert exe.submit(functions.add, 1, 2).result(SOON) == 3
