"""SlurmJobExecutor in an allocation: what it does as SingleNodeExecutor does, and what it makes of the nodes."""

import collections
import logging
import os
import sys
import time

import functions
import mpi_functions
import pytest
import support

from executorlib import SingleNodeExecutor, SlurmJobExecutor
from executorlib._errors import ResourceError
from slurm.nodes import NAMES, node_of


def results_of(executor):
    """What calls of many kinds come to, without what differs from process to process."""
    base = executor.submit(functions.add, 1, 2)
    found = [executor.submit(functions.add, base, [base, {"a": base}][0]).result(timeout=support.SOON)]
    found.append(list(executor.map(functions.add, range(5), range(5))))
    found.append(executor.submit(functions.echo, 1, *["x"], key={"a": (1, None)}).result(timeout=support.SOON))
    failed = executor.submit(functions.divide, 1, 0)
    with pytest.raises(ZeroDivisionError) as caught:
        executor.submit(functions.add, failed, 1).result(timeout=support.SOON)
    found.append((str(caught.value), "in divide" in str(caught.value.__cause__)))
    offset = 3
    found.append(executor.submit(lambda x: x + offset, 4).result(timeout=support.SOON))
    found.append(executor.submit(functions.working_directory).result(timeout=support.SOON))
    found.append([len(batch.result()) for batch in executor.batched([executor.submit(abs, -i) for i in range(5)], n=2)])
    return found


def test_many_calls_cost_one_step(job, arguments):
    calls = 2000 if arguments else 500  # a process each
    with SlurmJobExecutor(**arguments) as executor:
        futures = [executor.submit(functions.add, i, 1) for i in range(calls)]
        assert [future.result(timeout=support.SOON) for future in futures] == list(range(1, calls + 1))
    assert job.steps() == {f"{job.id}.0"}


def test_results_are_those_of_one_node(job, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with SlurmJobExecutor(**arguments) as executor:
        found = results_of(executor)
    with SingleNodeExecutor(max_workers=2) as executor:
        assert results_of(executor) == found


def test_calls_run_on_all_nodes_at_once(job, arguments, gate):
    with SlurmJobExecutor(**arguments) as executor:
        for _ in range(13):
            gate.submit(executor)
        running = collections.Counter(node_of(pid) for pid in gate.arrivals(12))
        assert running == dict.fromkeys(NAMES, 4)
        assert len(executor) == 13
        gate.open()


def test_limits_count_over_all_nodes(job, make_gate):
    for limit in ({"max_workers": 4}, {"max_cores": 4}, {"max_cores": 9, "resource_dict": {"threads_per_core": 2}}):
        gate = make_gate()
        with SlurmJobExecutor(**limit) as executor:
            futures = [gate.submit(executor) for _ in range(8)]
            gate.arrivals(4)
            with pytest.raises(TimeoutError):
                gate.arrival(timeout=0.2)
            gate.open()
            assert [future.result(timeout=support.SOON) for future in futures] == [None] * 8


def test_wide_calls_have_their_cores_on_one_node(job, gate):
    with SlurmJobExecutor() as executor:
        wide = [gate.submit(executor, resource_dict={"threads_per_core": 4}) for _ in range(4)]
        assert sorted(node_of(pid) for pid in gate.arrivals(3)) == NAMES
        with pytest.raises(ResourceError, match="at most 4 on one node"):
            executor.submit(functions.identity, 1, resource_dict={"threads_per_core": 5})
        gate.open()
        assert [future.result(timeout=support.SOON) for future in wide] == [None] * 4


def test_exclusive_calls_have_a_node_for_themselves(job, gate):
    with SlurmJobExecutor() as executor:
        alone = [gate.submit(executor, resource_dict={"exclusive": True}) for _ in range(4)]
        assert sorted(node_of(pid) for pid in gate.arrivals(3)) == NAMES
        gate.open()
        assert [future.result(timeout=support.SOON) for future in alone] == [None] * 4


def worker_id_at_gate(folder, executorlib_worker_id, name):
    functions.pass_gate(folder)
    return executorlib_worker_id, name


def preset(executorlib_worker_id):
    return {"executorlib_worker_id": executorlib_worker_id, "name": f"worker {executorlib_worker_id}"}


def ids(executor, gate, count):
    """The ids of so many workers, each of which is at a call."""
    futures = [executor.submit(worker_id_at_gate, gate.folder) for _ in range(count)]
    pids = gate.arrivals(count)
    gate.open()
    found = [future.result(timeout=support.SOON) for future in futures]
    assert all(name == f"worker {number}" for number, name in found)
    return sorted(number for number, _ in found), collections.Counter(map(node_of, pids))


def test_workers_are_numbered_over_all_nodes_as_they_grow_and_shrink(job, make_gate):
    with SlurmJobExecutor(block_allocation=True, max_workers=5, init_function=preset) as executor:
        assert ids(executor, make_gate(), 5) == (list(range(5)), {"n1": 2, "n2": 2, "n3": 1})
        executor.max_workers = 12
        assert ids(executor, make_gate(), 12) == (list(range(12)), dict.fromkeys(NAMES, 4))
        executor.max_workers = 1
        assert ids(executor, make_gate(), 1)[0] == [0]
        assert executor.max_workers == executor.info["max_workers"] == 1
        executor.max_workers = 3
        assert ids(executor, make_gate(), 3) == ([0, 1, 2], dict.fromkeys(NAMES, 1))
        with pytest.raises(ResourceError, match="13 workers"):
            executor.max_workers = 13
    assert len(job.steps()) == 1


def test_workers_of_several_cores(job, gate):
    with SlurmJobExecutor(
        block_allocation=True, max_cores=4, resource_dict={"cores": 1, "threads_per_core": 2}
    ) as executor:
        assert executor.max_workers == 4
        futures = [gate.submit(executor) for _ in range(5)]
        assert collections.Counter(map(node_of, gate.arrivals(4))) == {"n1": 2, "n2": 1, "n3": 1}
        gate.open()
        assert [future.result(timeout=support.SOON) for future in futures] == [None] * 5
        variables = executor.submit(functions.environment, "OMP_NUM_THREADS").result(timeout=support.SOON)
        assert variables == {"OMP_NUM_THREADS": "2"}


def test_a_large_array_travels_both_ways(job, arguments):
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(1 << 20, dtype=float)
    with SlurmJobExecutor(**arguments) as executor:
        plus_one = executor.submit(functions.add_one_in_place, array)
        assert (executor.submit(functions.add_one_in_place, plus_one).result(timeout=support.SOON) == array + 2).all()


def test_what_a_call_sees_of_slurm_is_the_job(job, monkeypatch):
    names = ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_CPUS_PER_TASK", "SLURM_STEP_ID", "SLURM_PROCID", "PMI_RANK", "OWN")
    monkeypatch.setenv("OWN", "yes")
    monkeypatch.setenv("SLURM_PROCID", "0")
    with SlurmJobExecutor(max_workers=1) as executor:
        seen = executor.submit(functions.environment, *names).result(timeout=support.SOON)
    assert seen == dict(zip(names, [job.id, "12", "1", None, None, None, "yes"]))


def test_a_call_starts_a_step_of_its_own(job):
    def step():
        import subprocess

        return subprocess.run(
            ["srun", "--overlap", "-N1", "-n1", "printenv", "SLURM_STEP_ID"], capture_output=True, text=True, check=True
        ).stdout.strip()

    with SlurmJobExecutor(max_workers=1) as executor:
        assert executor.submit(step).result(timeout=support.SOON) == "1"


def test_time_limit_and_error_log(job, tmp_path):
    with SlurmJobExecutor(max_workers=2) as executor:
        late = executor.submit(time.sleep, 60, resource_dict={"run_time_max": 1})
        failed = executor.submit(functions.divide, 1, 0, resource_dict={"error_log_file": str(tmp_path / "log")})
        with pytest.raises(ZeroDivisionError):
            failed.result(timeout=support.SOON)
        with pytest.raises(TimeoutError, match="1 s"):
            late.result(timeout=support.SOON)
    assert "ZeroDivisionError" in (tmp_path / "log").read_text()


def test_sizes_are_logged(job, caplog):
    with (
        caplog.at_level(logging.WARNING, "executorlib"),
        SlurmJobExecutor(max_workers=1, log_obj_size=True) as executor,
    ):
        assert executor.submit(functions.add, 1, 1).result(timeout=support.SOON) == 2
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "Send dictionary of size", "Received dictionary of size"
    ]  # fmt: skip


def test_futures_can_be_refused(job):
    with SlurmJobExecutor(max_workers=1, disable_dependencies=True) as executor:
        future = executor.submit(functions.identity, 1)
        with pytest.raises(ValueError, match="disable_dependencies"):
            executor.submit(functions.identity, future)


def test_executor_that_nobody_keeps_finishes_its_calls(job):
    assert SlurmJobExecutor(max_workers=1).submit(functions.add, 1, 2).result(timeout=support.SOON) == 3


@pytest.mark.timing
def test_the_end_does_not_wait_for_agents_that_came_late(job):
    took = []
    for _ in range(3):
        executor = SlurmJobExecutor(block_allocation=True, max_workers=3)
        assert executor.submit(functions.add, 1, 2).result(timeout=support.SOON) == 3  # others may be on their way
        began = time.monotonic()
        executor.shutdown()
        took.append(time.monotonic() - began)
    assert min(took) < 4 * support.TIME_FACTOR  # after 5 s they are killed


def test_loopback_only(job):
    with SlurmJobExecutor(max_workers=1, hostname_localhost=True) as executor:
        assert executor.submit(functions.add, 1, 2).result(timeout=support.SOON) == 3
        port = executor._core_pool.port
        assert listening_addresses(port) == {"0100007F"}


def listening_addresses(port):
    found = set()
    for line in open("/proc/net/tcp").read().splitlines()[1:]:
        address, number = line.split()[1].split(":")
        if int(number, 16) == port and line.split()[3] == "0A":
            found.add(address)
    return found


def test_without_an_allocation_srun_asks_for_one(slurm, monkeypatch, tmp_path):
    monkeypatch.setenv("EXECUTORLIB_AGENT_DIRECTORY", str(tmp_path / "agents"))
    with SlurmJobExecutor(max_cores=6) as executor:
        assert executor.submit(functions.add, 1, 2).result(timeout=support.SOON) == 3
        assert slurm.run("squeue", "-h", "-o", "%D %C").stdout.split() == ["2", "6"]
    assert os.listdir(tmp_path / "agents") == []
    with pytest.raises(ValueError, match="max_cores or max_workers"):
        SlurmJobExecutor()


def test_in_a_batch_script(slurm, tmp_path):
    script = support.write_script(
        tmp_path,
        """
        from executorlib import SlurmJobExecutor
        with SlurmJobExecutor() as executor:
            print(sum(executor.map(pow, range(100), [2] * 100)), executor.submit(lambda: 7).result())
        """,
    )
    batch = slurm.sbatch(f"{sys.executable} {script}", "-N3", "--ntasks-per-node=4", "--cpus-per-task=1")
    slurm.wait_job(batch, "COMPLETED")
    assert (slurm.folder / f"job-{batch}.out").read_text().splitlines()[-1] == "328350 7"


@support.needs_mpi
@pytest.mark.parametrize("block", [False, True], ids=["per_call", "block"])
def test_mpi_ranks_on_one_node(job, block):
    width = {"resource_dict": {"cores": 4}}
    with SlurmJobExecutor(**({"block_allocation": True, "max_workers": 3, **width} if block else {})) as executor:
        futures = [executor.submit(mpi_functions.tag, i, **({} if block else width)) for i in range(4)]
        for i, future in enumerate(futures):
            assert future.result(timeout=support.SOON) == [(rank, i) for rank in range(4)]
        seen = executor.submit(functions.environment, "SLURMD_NODENAME", **({} if block else width))
        assert len({environment["SLURMD_NODENAME"] for environment in seen.result(timeout=support.SOON)}) == 1
    assert job.steps() == {f"{job.id}.0"}


def gpus(folder):
    functions.pass_gate(folder)
    return os.environ["CUDA_VISIBLE_DEVICES"]


@pytest.mark.parametrize("block", [False, True], ids=["per_call", "block"])
def test_each_node_has_its_gpus(job, gate, monkeypatch, block):
    monkeypatch.setenv("EXECUTORLIB_GPUS", "a,b")
    arguments = {
        "resource_dict": {"gpus_per_core": 1},
        **({"block_allocation": True, "max_workers": 6} if block else {}),
    }
    with SlurmJobExecutor(**arguments) as executor:
        futures = [executor.submit(gpus, gate.folder) for _ in range(6)]
        assert collections.Counter(map(node_of, gate.arrivals(6))) == dict.fromkeys(NAMES, 2)
        gate.open()
        assert sorted(future.result(timeout=support.SOON) for future in futures) == ["a"] * 3 + ["b"] * 3
        if not block:
            error = executor.submit(gpus, gate.folder, resource_dict={"gpus_per_core": 3}).exception(support.SOON)
            assert "no node of this executor has as many cores or GPUs" in str(error)


@pytest.mark.parametrize(
    "arguments, error, match",
    [
        ({"block_allocation": True, "max_workers": 13}, ValueError, "13 workers"),
        ({"block_allocation": True, "max_workers": 7, "resource_dict": {"cores": 2}}, ValueError, "7 workers of 2"),
        ({"block_allocation": True, "max_cores": 1, "resource_dict": {"cores": 2}}, ValueError, "max_cores is 1"),
        ({"pmi_mode": "--oops"}, ValueError, "pmi_mode"),
        ({"init_function": dict}, ValueError, "block_allocation"),
        ({"restart_limit": 1}, ValueError, "block_allocation"),
        ({"wait": False}, ValueError, "wait=False"),
        ({"disable_dependencies": True, "refresh_rate": 1}, ValueError, "refresh_rate"),
        ({"resource_dict": {"core": 1}}, ResourceError, "unknown resource 'core'"),
        ({"resource_dict": {"threads_per_core": 5}}, ResourceError, "at most 4 on one node"),
        ({"resource_dict": {"cores": 4, "num_nodes": 4}}, ResourceError, "needs 4 cores on 4 nodes"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_wrong_arguments(monkeypatch, arguments, error, match):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_JOB_CPUS_PER_NODE", "4(x3)")
    monkeypatch.setattr("executorlib._slurm.shutil.which", lambda name: f"/nowhere/{name}")
    with pytest.raises(error, match=match):
        SlurmJobExecutor(**arguments)


def test_a_block_allocation_without_a_size_fills_the_allocation(job):
    with pytest.warns(UserWarning, match="max_workers=6"):
        executor = SlurmJobExecutor(block_allocation=True, resource_dict={"threads_per_core": 2})
    with executor:
        assert executor.max_workers == 6
        assert executor.submit(functions.add, 1, 2).result(timeout=support.SOON) == 3


def test_without_an_allocation_a_size_is_needed():
    with pytest.raises(ValueError, match="max_workers or max_cores"):
        SlurmJobExecutor(block_allocation=True)


def test_without_srun(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_JOB_CPUS_PER_NODE", "4(x3)")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(FileNotFoundError, match="srun was not found"):
        SlurmJobExecutor()
