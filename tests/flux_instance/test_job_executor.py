"""FluxJobExecutor inside a real Flux instance: calls, and what becomes of them when something dies."""

import json
import os
import signal
import subprocess
import sys
import time

import functions
import mpi_functions
import pytest
import support
from beds.waiting import until
from support import SOON

from executorlib import FluxJobExecutor, SingleNodeExecutor, _flux
from executorlib.api import ExecutorlibSocketError, WorkerLostError
from executorlib.executor import flux as module

pytestmark = pytest.mark.timeout(90)


def names(flux):
    return [job["name"] for job in flux.jobs().values()]


# ---- calls ----


def test_many_calls_are_one_job(flux, arguments):
    calls = 1000 if arguments else 100
    with FluxJobExecutor(**arguments) as executor:
        futures = [executor.submit(functions.add, i, 1) for i in range(calls)]
        assert [future.result(timeout=SOON) for future in futures] == list(range(1, calls + 1))
        (job,) = flux.jobs().values()
        assert (job["name"], job["nnodes"], job["ncores"]) == ("executorlib", 2, 2 * flux.cores)


def test_results_are_those_of_one_node(flux, arguments, tmp_path, monkeypatch):
    def results_of(executor):
        first = executor.submit(functions.add, 1, 2)
        found = [executor.submit(functions.add, first, 4).result(timeout=SOON)]
        found += executor.map(pow, range(5), [2] * 5)
        found.append(executor.submit(lambda: os.getcwd()).result(timeout=SOON))
        failed = executor.submit(functions.divide, 1, 0)
        found.append(repr(failed.exception(timeout=SOON)))
        found.append(repr(executor.submit(functions.add, failed, 1).exception(timeout=SOON)))
        return found

    monkeypatch.chdir(tmp_path)
    with FluxJobExecutor(**arguments) as executor:
        found = results_of(executor)
    with SingleNodeExecutor(max_workers=2) as executor:
        assert results_of(executor) == found


def test_calls_run_on_all_nodes_at_once(flux, arguments, gate):
    with FluxJobExecutor(**arguments) as executor:
        futures = [gate.submit(executor) for _ in range(2 * flux.cores + 1)]
        gate.arrivals(2 * flux.cores)
        assert len(executor) == 2 * flux.cores + 1
        gate.open()
        assert [future.result(timeout=SOON) for future in futures] == [None] * len(futures)


def test_limits_decide_what_the_job_takes(flux):
    with FluxJobExecutor(max_cores=1) as executor:
        assert executor.submit(functions.add, 1, 2).result(timeout=SOON) == 3
        assert [job["ncores"] for job in flux.jobs().values()] == [1]
    with FluxJobExecutor(block_allocation=True, max_workers=2) as executor:
        assert executor.submit(functions.add, 1, 2).result(timeout=SOON) == 3
        assert [(job["nnodes"], job["ncores"]) for job in flux.jobs().values()] == [(2, 2)]
        executor.max_workers = 2 * flux.cores
        futures = [executor.submit(functions.identity, i) for i in range(10)]
        assert [future.result(timeout=SOON) for future in futures] == list(range(10))


def test_nodes_of_which_unequally_much_is_used_are_several_jobs(flux, gate):
    if flux.cores < 2:
        pytest.skip("needs nodes of two cores")
    with FluxJobExecutor(max_cores=flux.cores + 1) as executor:
        futures = [gate.submit(executor) for _ in range(flux.cores + 2)]
        gate.arrivals(flux.cores + 1)
        assert sorted(job["ncores"] for job in flux.jobs().values()) == [1, flux.cores]
        gate.open()
        assert [future.result(timeout=SOON) for future in futures] == [None] * len(futures)


def test_executors_side_by_side_share_what_the_first_one_holds(flux):
    with FluxJobExecutor() as one, FluxJobExecutor() as two:
        with FluxJobExecutor(block_allocation=True, max_workers=2 * flux.cores) as three:
            for executor in (one, two, three):
                assert executor.submit(functions.add, 1, 2).result(timeout=SOON) == 3
        assert names(flux) == ["executorlib"]


def test_presets_and_numbers_of_workers(flux):
    def init_function(executorlib_worker_id):
        return {"number": executorlib_worker_id, "j": 4}

    with FluxJobExecutor(block_allocation=True, max_workers=2, init_function=init_function) as executor:
        assert executor.submit(lambda i, j: i + j, 2).result(timeout=SOON) == 6
        assert executor.submit(
            lambda number: number,
        ).result(timeout=SOON) in (0, 1)


@support.needs_mpi
@pytest.mark.parametrize("block", [False, True], ids=["per_call", "block"])
def test_mpi_ranks_on_one_node(flux, block):
    if flux.cores < 2:
        pytest.skip("needs nodes of two cores")
    width = {"resource_dict": {"cores": 2}}
    with FluxJobExecutor(
        pmi_mode="pmix", **({"block_allocation": True, "max_workers": 2, **width} if block else {})
    ) as executor:
        futures = [executor.submit(mpi_functions.tag, i, **({} if block else width)) for i in range(4)]
        for i, future in enumerate(futures):
            assert future.result(timeout=2 * SOON) == [(rank, i) for rank in range(2)]


def test_a_given_flux_executor_submits_the_job(flux):
    flux_job = pytest.importorskip("flux.job", reason="needs Flux's own Python module in PYTHONPATH")
    with (
        flux_job.FluxExecutor() as given,
        FluxJobExecutor(flux_executor=given, max_cores=1, resource_dict={"priority": 20}) as executor,
    ):
        assert executor.submit(sum, [1, 1]).result(timeout=SOON) == 2
        assert executor.info["flux_executor"] is given
        (job,) = flux.jobs().values()
        assert job["urgency"] == 20


def test_log_files(flux, tmp_path):
    with FluxJobExecutor(max_cores=1, flux_log_files=True, resource_dict={"cwd": str(tmp_path / "place")}) as executor:
        executor.submit(print, "to the file", flush=True).result(timeout=SOON)
    assert sorted(os.listdir(tmp_path / "place")) == ["flux_0.err", "flux_0.out"]
    assert (tmp_path / "place" / "flux_0.out").read_text() == "to the file\n"


def test_what_a_call_sees_of_flux_is_an_instance_and_no_job(flux):
    seen = ("FLUX_JOB_ID", "FLUX_TASK_RANK", "FLUX_KVS_NAMESPACE", "PMI_RANK", "FLUX_URI")
    with FluxJobExecutor(max_cores=1) as executor:
        variables = executor.submit(functions.environment, *seen).result(timeout=SOON)
    assert variables.pop("FLUX_URI") != os.environ["FLUX_URI"]
    assert set(variables.values()) == {None}


def test_time_limit(flux):
    with FluxJobExecutor(max_cores=1) as executor:
        late = executor.submit(time.sleep, 60, resource_dict={"run_time_max": 1})
        with pytest.raises(TimeoutError, match="1 s"):
            late.result(timeout=SOON)


# ---- calls that use Flux ----


def run_by_flux(tasks):
    command = ["flux", "run", f"-n{tasks}", "echo", "hello"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.stdout.split(), done.stderr


def cores_of_the_instance():
    listed = subprocess.run(["flux", "kvs", "get", "resource.R"], capture_output=True, text=True, timeout=60).stdout
    return sum(node.cores for node in _flux.read_resources(listed))


def keepers():
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    if b"/call-" in file.read() and not support.is_zombie(name):
                        found.append(int(name))
            except OSError:
                continue
    return found


def test_calls_start_programs_with_all_cores_taken(flux):
    with FluxJobExecutor() as executor:
        futures = [executor.submit(run_by_flux, 1) for _ in range(2 * flux.cores)]
        assert [future.result(timeout=3 * SOON) for future in futures] == [(["hello"], "")] * len(futures)
    until(lambda: not keepers(), 2 * SOON, "the end of the instances of the calls")


@pytest.mark.parametrize("block", [False, True], ids=["per_call", "block"])
def test_with_nesting_each_call_has_an_instance_with_its_cores(flux, block):
    arguments = {"block_allocation": True, "max_workers": 1} if block else {}
    with FluxJobExecutor(flux_executor_nesting=True, **arguments) as executor:
        assert executor.submit(cores_of_the_instance).result(timeout=2 * SOON) == 1
    until(lambda: not keepers(), 2 * SOON, "the end of the instances of the calls")


def test_an_executor_inside_a_call(flux):
    def inner():
        from executorlib import FluxJobExecutor

        with FluxJobExecutor(pmi_mode="pmix") as executor:
            return executor.submit(sum, [1, 1]).result(timeout=60)

    with FluxJobExecutor(pmi_mode="pmix", flux_executor_nesting=True) as executor:
        assert executor.submit(inner).result(timeout=3 * SOON) == 2
    until(lambda: not keepers(), 2 * SOON, "the end of the instances of the calls")


# ---- faults ----


@pytest.mark.parametrize("kind", ["SIGKILL", "os._exit"])
def test_a_worker_that_dies_fails_its_call_only(flux, arguments, kind):
    with FluxJobExecutor(**arguments) as executor:
        began = time.monotonic()
        with pytest.raises(WorkerLostError) as caught:
            executor.submit(functions.crash, kind).result(timeout=SOON)
        assert time.monotonic() - began < 2 * SOON
        assert caught.value.signal == signal.SIGKILL if kind == "SIGKILL" else caught.value.status == 7
        assert executor.submit(functions.add, 1, 2).result(timeout=SOON) == 3


@pytest.mark.timing
def test_a_cancelled_job_is_noticed_with_the_reason(flux, arguments, gate):
    executor = FluxJobExecutor(**arguments)
    running, waiting = gate.submit(executor), [gate.submit(executor) for _ in range(2 * flux.cores)]
    gate.arrival()
    (job,) = flux.jobs()
    began = time.monotonic()
    flux.run("job", "raise", "--message=maintenance", str(job))
    for future in (running, waiting[-1]):
        with pytest.raises(ExecutorlibSocketError, match=r"cancel.*maintenance"):
            future.result(timeout=SOON)
    assert time.monotonic() - began < 5 * support.TIME_FACTOR  # 0.1 on an idle machine
    with pytest.raises(ExecutorlibSocketError, match="cancel"):
        executor.submit(functions.add, 1, 2).result(timeout=SOON)
    gate.open()
    executor.shutdown()


def test_a_killed_agent_fails_its_calls_and_no_others(flux, gate):
    with FluxJobExecutor(block_allocation=True, max_workers=2) as executor:
        assert executor.submit(functions.add, 1, 2).result(timeout=SOON) == 3
        agents = until(lambda: len(found := flux.agents()) == 2 and found, SOON, "both agents")
        futures = {}
        for _ in range(2):
            future = gate.submit(executor)
            (pid,) = gate.arrival()
            futures.update({rank: future for rank, agent in agents.items() if pid in support.descendants(agent)})
        os.kill(agents[1], signal.SIGKILL)
        with pytest.raises(WorkerLostError, match="its agent died"):
            futures[1].result(timeout=SOON)
        gate.open()
        assert futures[0].result(timeout=SOON) is None
        assert executor.submit(functions.add, 1, 2).result(timeout=SOON) == 3


DRIVER = """
import sys, functions
from executorlib import FluxJobExecutor

executor = FluxJobExecutor(**eval(sys.argv[2]))
for _ in range(2):
    executor.submit(functions.pass_gate, sys.argv[1])
sys.stdin.read()
"""


@pytest.mark.orphans
def test_a_killed_driver_leaves_no_job(flux, arguments, gate, tmp_path):
    with support.Driver(tmp_path, DRIVER, gate.folder, repr(arguments)) as driver:
        pids = gate.arrivals(2)
        driver.kill()
        assert support.alive_after(pids, SOON) == []
        until(lambda: not flux.jobs(), SOON, "the end of the agents' job")


@pytest.mark.orphans
def test_a_driver_killed_before_its_agents_start_leaves_no_job(flux, tmp_path):
    flux.run("submit", "-N2", "--exclusive", "sleep", "1000")
    script = "from executorlib import _flux_fleet, _flux\n_flux.is_owner = lambda: False\n" + DRIVER
    with support.Driver(tmp_path, script, tmp_path, "{}") as driver:
        until(lambda: "executorlib" in names(flux), SOON, "the agents' job")
        driver.kill()
        until(lambda: names(flux) == ["sleep"], SOON, "the end of the agents' job")
    for file in (tmp_path / "agents").iterdir():  # nobody is left who would remove it
        file.unlink()
    flux.cancel_all()


def test_shutdown_while_the_job_waits(flux, monkeypatch):
    monkeypatch.setattr(_flux, "is_owner", lambda: False)
    flux.run("submit", "-N2", "--exclusive", "sleep", "1000")
    executor = FluxJobExecutor()
    future = executor.submit(functions.add, 1, 2)
    until(lambda: "executorlib" in names(flux), SOON, "the agents' job")
    executor.shutdown(cancel_futures=True)
    assert future.cancelled()
    until(lambda: names(flux) == ["sleep"], SOON, "the end of the agents' job")
    flux.cancel_all()


def test_a_job_that_flux_cannot_run_says_why(flux, monkeypatch):
    def too_much():
        return [_flux.Node(0, 1000, 0)]

    monkeypatch.setattr(_flux, "free_nodes", too_much)
    with FluxJobExecutor() as executor, pytest.raises(ExecutorlibSocketError, match="unsatisfiable request"):
        executor.submit(functions.add, 1, 2).result(timeout=SOON)


# ---- arguments ----


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"block_allocation": True}, "max_workers or max_cores"),
        ({"block_allocation": True, "max_workers": 10_000}, "10000 workers"),
        ({"resource_dict": {"cores": 10_000}}, "at most"),
        ({"pmi_mode": "--oops"}, "pmi_mode"),
        ({"openmpi_oversubscribe": True}, "oversubscribe"),
        ({"resource_dict": {"openmpi_oversubscribe": True}}, "oversubscribe"),
        ({"resource_dict": {"priority": 32}}, "urgency"),
        ({"resource_dict": {"slurm_cmd_args": ["--x"]}}, "slurm_cmd_args"),
        ({"init_function": dict}, "block_allocation"),
        ({"restart_limit": 1}, "block_allocation"),
        ({"wait": False}, "wait=False"),
        ({"resource_dict": {"core": 1}}, "unknown resource 'core'"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_wrong_arguments(flux, arguments, match):
    with pytest.raises(ValueError, match=match):
        FluxJobExecutor(**arguments)


def test_a_call_that_no_node_has_room_for(flux):
    with FluxJobExecutor() as executor, pytest.raises(ValueError, match=f"at most {flux.cores} on one node"):
        executor.submit(functions.add, 1, 2, resource_dict={"threads_per_core": flux.cores + 1})


# ---- from outside ----


def test_outside_of_an_instance_it_says_what_was_looked_for(flux, monkeypatch, tmp_path):
    monkeypatch.setenv("FLUX_URI", f"local://{tmp_path}/nowhere")
    with pytest.raises(FileNotFoundError, match=r"FLUX_URI=local.*nowhere.*flux start"):
        FluxJobExecutor()
    monkeypatch.delenv("FLUX_URI")
    with pytest.raises(FileNotFoundError, match="FLUX_URI is not set.*flux start"):
        FluxJobExecutor()


@pytest.mark.parametrize("launch", [["batch", "-N2", "-n2"], ["submit", "-n1"]], ids=["batch", "job"])
def test_in_a_job(flux, tmp_path, launch):
    script = support.write_script(
        tmp_path,
        """
        from executorlib import FluxJobExecutor
        with FluxJobExecutor(hostname_localhost=True) as executor:
            print(sum(executor.map(pow, range(10), [2] * 10)), executor.submit(lambda: 7).result(timeout=60))
        """,
    )
    output = tmp_path / "output"
    chosen = ["--wrap"] if launch[0] == "batch" else []
    job = flux.run(*launch, *chosen, f"--output={output}", f"--error={tmp_path}/error", sys.executable, str(script))
    flux.run("job", "wait-event", "--timeout=60", job.strip(), "clean")
    assert output.read_text().splitlines()[-1] == "285 7", (tmp_path / "error").read_text()


def test_jobs_are_what_the_nodes_have(flux):
    """What was read by the commands in C is what Flux's own Python command says."""
    read = _flux.read_resources(json.dumps(json.loads(flux.run("resource", "R", "--states=free"))))
    assert _flux.free_nodes() == read
    assert module.FluxJobExecutor is FluxJobExecutor
