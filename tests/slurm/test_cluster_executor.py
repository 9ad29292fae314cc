"""SlurmClusterExecutor on a real Slurm: calls as batch jobs, their drivers, and all ways in which jobs end."""

import concurrent.futures
import itertools
import os
import signal
import subprocess
import time

import file_functions
import pytest
import support
from beds.slurm import SlurmBed, missing, missing_memory_cgroups
from beds.waiting import until
from queue_suite import QueueSuite, names, submitted
from support import SOON

from executorlib import (
    SlurmClusterExecutor,
    _queued_jobs,
    get_cache_data_queue,
    get_future_from_cache,
    terminate_task_in_cache,
)
from executorlib.api import JobLostError
from slurm.cluster import SlurmCluster

TEMPLATE = """\
#!/bin/bash
#SBATCH --job-name={{job_name}}
#SBATCH --ntasks={{cores}}
#SBATCH --chdir={{working_directory}}
#SBATCH --partition={{partition}}

export GREETING="{{greeting}} {{dependency_list | length}} {{run_time_max}}"
{{command}}
"""


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def make(slurm, cache, monkeypatch):
    monkeypatch.setattr(_queued_jobs, "_LAST_LOOK_S", 1.0)
    monkeypatch.setenv("PYTHONPATH", support.script_environment()["PYTHONPATH"])
    with support.ended_executors(SlurmClusterExecutor, cache_directory=cache) as make:
        yield make
        if "controller" not in slurm._pids:
            slurm.start_slurmctld()


@pytest.fixture
def exe(make):
    return make()


class TestWhatAllSchedulersHave(QueueSuite):
    template = TEMPLATE


# ---- arguments ----


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_workers": 0}, {"max_cores": "two"}, {"init_function": dict}, {"hostname_localhost": True},
        {"log_obj_size": True}, {"block_allocation": True}, {"resource_dict": {"cores": "two"}},
        {"resource_dict": {"gpus_per_core": 0.5}},
    ],
    ids=str,
)  # fmt: skip
def test_refused_arguments(arguments):
    with pytest.raises(ValueError):
        SlurmClusterExecutor(**arguments)


def test_what_is_still_to_come_says_so(tmp_path):
    with pytest.raises(ValueError, match="wait=False"):
        SlurmClusterExecutor(block_allocation=True, max_workers=1, wait=False)
    exe = SlurmClusterExecutor(cache_directory=tmp_path)
    with pytest.raises(NotImplementedError, match="num_nodes"):
        exe.submit(abs, -1, resource_dict={"num_nodes": 2})
    exe.shutdown()


def test_without_slurm_its_command_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with SlurmClusterExecutor(cache_directory=tmp_path) as exe:
        future = exe.submit(abs, -1)
        with pytest.raises(FileNotFoundError, match="Slurm.*sbatch"):
            future.result(SOON)


# ---- calls ----


@pytest.fixture
def patient(monkeypatch):
    """Calls are collected until none has come for a second, so that a busy machine does not come between them."""
    monkeypatch.setattr(_queued_jobs, "_COLLECT_S", 1.0)
    monkeypatch.setattr(_queued_jobs, "_COLLECT_LONGEST_S", SOON)


def test_equal_calls_are_one_array_and_equal_keys_one_call(patient, exe, cluster, cache):
    futures = [exe.submit(time.sleep, 60 + i, resource_dict={"cache_key": f"k{i}"}) for i in (0, 1, 2, 2)]
    numbers = [submitted(future) for future in futures]
    assert len({number.split("_")[0] for number in numbers}) == 1
    assert [number.split("_")[1] for number in numbers] == ["0", "1", "2", "2"]
    assert futures[0].cancel()
    until(lambda: numbers[0] not in cluster.jobs(), SOON, "the job to be cancelled")
    assert set(numbers[1:]) <= set(cluster.jobs())
    assert futures[2].cancel()
    assert not futures[3].done()


def test_arrays_are_no_larger_than_slurm_allows(patient, exe, cache):
    exe._task_scheduler._jobs._queue._array_limit = 2
    futures = [
        exe.submit(abs, -i, resource_dict={"cache_key": f"k{i}", "slurm_cmd_args": ["--hold"]}) for i in range(3)
    ]
    numbers = [submitted(future).split("_") for future in futures]
    assert numbers[0][0] == numbers[1][0] != numbers[2][0]


def test_no_more_wait_or_run_in_the_queue_than_the_limit(make, cluster, slurm, cache):
    exe = make(max_cores=2, resource_dict={"slurm_cmd_args": ["--hold"]})
    calls = [exe.submit(abs, -i, resource_dict={"cache_key": f"k{i}"}) for i in range(4)]
    first, second = (submitted(future) for future in calls[:2])
    calls += [exe.submit(abs, -4, resource_dict={"cache_key": "wide", "threads_per_core": 4})]
    calls += [exe.submit(file_functions.add, calls[2], 10, resource_dict={"cache_key": "after"})]
    assert exe.max_workers is None and exe.info["max_cores"] == 2
    assert set(cluster.jobs()) == {first, second}
    assert calls[3].cancel()
    free = set()

    def all_done():
        # Releases them as they come. What runs may be a job whose output is there.
        waiting = {number for number, state in cluster.jobs().items() if state == "PENDING"}
        assert len(waiting) <= 2
        for number in waiting - free:
            slurm.run("scontrol", "release", number)
            free.add(number)
        return all(future.done() for future in calls)

    until(all_done, 3 * SOON, "the end of all calls")
    assert [future.result() for future in calls if not future.cancelled()] == [0, 1, 2, 4, 12]
    assert not (cache / "k3_o.h5").exists()


def test_calls_that_are_held_back_go_on_without_the_program(make, cache):
    exe = make(max_workers=1, wait=False)
    futures = [exe.submit(abs, -i, resource_dict={"cache_key": f"k{i}"}) for i in range(3)]
    exe.shutdown()
    assert all(future.cancelled() for future in futures)
    paths = [cache / f"k{i}_o.h5" for i in range(3)]
    until(lambda: all(path.exists() for path in paths), 3 * SOON, "all results")


def test_a_refused_call_has_the_words_of_sbatch(exe):
    refused = exe.submit(abs, -1, resource_dict={"slurm_cmd_args": ["--partition=nonesuch"]})
    with pytest.raises(subprocess.CalledProcessError) as caught:
        refused.result(SOON)
    assert caught.value.cmd[0] == "sbatch"
    assert "nonesuch" in caught.value.output
    assert exe.submit(abs, -1).result(SOON) == 1


def test_a_refused_array_has_them_for_each_call(exe, cache):
    options = {"slurm_cmd_args": ["--partition=nonesuch"]}
    for refused in [exe.submit(abs, -i, resource_dict=options) for i in range(3)]:
        with pytest.raises(subprocess.CalledProcessError) as caught:
            refused.result(SOON)
        assert "nonesuch" in caught.value.output
    assert not [name for name in names(cache) if name.endswith(".h5")]


def _sum_in_steps(n):
    from executorlib import SlurmJobExecutor

    with SlurmJobExecutor(max_workers=n) as inner:
        return [future.result() for future in [inner.submit(sum, [i, i]) for i in range(n)]]


def test_an_executor_inside_a_call_has_its_job(exe, tmp_path, monkeypatch):
    monkeypatch.setenv("EXECUTORLIB_AGENT_DIRECTORY", str(tmp_path / "agents"))
    assert exe.submit(_sum_in_steps, 4).result(2 * SOON) == [0, 2, 4, 6]
    assert os.listdir(tmp_path / "agents") == []


def test_errors_are_kept(make, cache, tmp_path):
    for _ in range(2):
        exe = make()
        future = exe.submit(file_functions.fail, "kept", resource_dict={"cache_key": "k"})
        with pytest.raises(ValueError, match="kept"):
            future.result(SOON)
        exe.shutdown()
    with pytest.raises(ValueError, match="kept"):
        get_future_from_cache(str(cache), "k").result(SOON)
    with pytest.raises(FileNotFoundError):
        get_future_from_cache(str(cache), "nothing")


def test_the_usual_folder(slurm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with SlurmClusterExecutor() as exe:
        assert exe.info["cache_directory"] == "executorlib_cache"
        assert exe.submit(abs, -1).result(SOON) == 1
    assert len(list(tmp_path.glob("executorlib_cache/abs*_o.h5"))) == 1


# ---- ends of jobs ----


def test_a_job_that_leaves_says_its_status_and_log(exe, cache):
    future = exe.submit(file_functions.end_by_signal, int(signal.SIGKILL), resource_dict={"cache_key": "k"})
    with pytest.raises(JobLostError, match="cause of death") as caught:
        future.result(SOON)
    assert (caught.value.reason, caught.value.status) == ("FAILED", 128 + signal.SIGKILL)
    assert caught.value.job_id.isdecimal()
    assert caught.value.log == str(cache / "k" / "err.log")
    assert not (cache / "k_i.h5").exists()


def test_a_preempted_job_and_a_failed_node(exe, cluster, slurm, cache):
    options = {"slurm_cmd_args": ["--nodelist=n1", "--exclusive"], "cache_key": "low"}
    low = exe.submit(time.sleep, 60, resource_dict=options)
    until(lambda: cluster.jobs().get(submitted(low)) == "RUNNING", SOON, "the job to run")
    high = exe.submit(
        file_functions.note, "ledger", 3, resource_dict={"slurm_cmd_args": ["--nodelist=n1", "--partition=urgent"]}
    )
    with pytest.raises(JobLostError) as caught:
        low.result(SOON)
    assert (caught.value.reason, caught.value.host) == ("PREEMPTED", "n1")
    assert high.result(SOON) == 9
    options = {"slurm_cmd_args": ["--nodelist=n3"], "cache_key": "there"}
    there = exe.submit(time.sleep, 60, resource_dict=options)
    until(lambda: cluster.jobs().get(submitted(there)) == "RUNNING", SOON, "the job to run")
    until(lambda: (cache / "there").exists() and any(n.startswith("claim") for n in names(cache / "there")), SOON, "it")
    slurm.fail_node(3)
    with pytest.raises(JobLostError) as caught:
        there.result(SOON)
    assert (caught.value.reason, caught.value.host) == ("NODE_FAIL", "n3")


@pytest.mark.orphans
def test_a_call_of_another_host_that_died_unseen_is_submitted_again(networked_slurm, tmp_path, monkeypatch):
    monkeypatch.setattr(_queued_jobs, "_LAST_LOOK_S", 1.0)
    monkeypatch.setenv("PYTHONPATH", support.script_environment()["PYTHONPATH"])
    ledger = tmp_path / "ledger"
    first = SlurmClusterExecutor(cache_directory=tmp_path / "cache", wait=False)
    future = first.submit(_once_forever, str(ledger), resource_dict={"cache_key": "k"})
    number = submitted(future)
    until(ledger.exists, SOON, "the call to begin")
    first.shutdown()
    networked_slurm.run("scancel", "--signal=KILL", number)
    until(lambda: number not in SlurmCluster(networked_slurm).jobs(), SOON, "the end of the job")
    claims = [name for name in names(tmp_path / "cache" / "k") if name.startswith("claim")]
    assert claims  # of a process of which this host cannot tell whether it lives
    with SlurmClusterExecutor(cache_directory=tmp_path / "cache") as second:
        assert second.submit(_once_forever, str(ledger), resource_dict={"cache_key": "k"}).result(SOON) == "again"


def _once_forever(ledger):
    if os.path.exists(ledger):
        return "again"
    open(ledger, "w").close()
    time.sleep(1000)


def test_too_much_memory(tmp_path, monkeypatch):
    if reason := missing() or missing_memory_cgroups():
        pytest.skip(reason)
    with SlurmBed(memory_cgroups=True) as bed:
        for name, value in bed.variables.items():
            monkeypatch.setenv(name, value)
        with SlurmClusterExecutor(cache_directory=tmp_path / "cache") as exe:
            future = exe.submit(_take_memory, 300 << 20, resource_dict={"slurm_cmd_args": ["--mem=50"]})
            with pytest.raises(JobLostError, match="memory_max") as caught:
                future.result(SOON)
    assert caught.value.reason == "OUT_OF_MEMORY"


def _take_memory(size):
    return len(bytearray(size))


def test_an_outage_of_the_controller_loses_nothing(exe, slurm, cache, tmp_path):
    ledger = tmp_path / "ledger"
    running = exe.submit(file_functions.note, str(ledger), 2, 3.0, resource_dict={"cache_key": "running"})
    until(ledger.exists, SOON, "the call to begin")
    slurm.stop_slurmctld()
    meanwhile = exe.submit(file_functions.note, str(ledger), 5)
    assert running.result(SOON) == 4  # its file is there, whatever becomes of the controller
    assert not meanwhile.done()
    slurm.start_slurmctld()
    assert meanwhile.result(2 * SOON) == 25
    exe.shutdown()
    assert sorted(line.split()[0] for line in ledger.read_text().splitlines()) == ["2", "5"]


# ---- drivers ----


def test_a_job_that_went_without_a_driver(make, cluster, slurm, cache):
    exe = make(wait=False, resource_dict={"slurm_cmd_args": ["--hold"]})
    gone, stays = (submitted(exe.submit(abs, -i, resource_dict={"cache_key": f"k{i}"})) for i in range(2))
    exe.shutdown()
    slurm.run("scancel", gone)
    until(lambda: gone not in cluster.jobs(), SOON, "the job to go")
    told = {entry["queue_id"]: entry["status"] for entry in get_cache_data_queue(str(cache), queue_type="slurm")}
    assert sorted(told.values()) == ["aborted", "pending"]
    terminate_task_in_cache(str(cache), "k1", backend="slurm")
    until(lambda: not cluster.jobs(), SOON, "the other job to go")
    assert stays not in cluster.jobs()
    with pytest.raises(FileNotFoundError):
        terminate_task_in_cache(str(cache), "k1", backend="slurm")
    with pytest.raises(JobLostError, match="CANCELLED"):
        get_future_from_cache(str(cache), "k0").result(SOON)
    assert get_cache_data_queue(str(cache / "missing")) == []


@pytest.mark.timing
def test_a_result_is_noticed_at_once(exe, cache):
    numbers = itertools.count()

    def seconds():
        key = f"k{next(numbers)}"
        future = exe.submit(abs, -1, resource_dict={"cache_key": key})
        concurrent.futures.wait([future], SOON)
        return time.time() - os.stat(cache / f"{key}_o.h5").st_mtime

    assert support.least(seconds, 1.0) < 1.0
