"""FluxClusterExecutor(block_allocation=True): workers in Flux jobs, and what becomes of calls when these end."""

import os
import subprocess
import sys

import functions
import pytest
import support
from beds.waiting import until
from pilot_suite import PilotSuite, hand_over_files, own_job
from support import SOON

from executorlib import FluxClusterExecutor
from executorlib.api import JobLostError, JobTimeoutError

pytestmark = pytest.mark.timeout(120 * support.TIME_FACTOR)

TEMPLATE = """\
#!/bin/bash
# flux: --job-name={{job_name}}
# flux: -n {{cores}}
export GREETING="{{greeting}} {{run_time_max}}"
{{command}}
"""


@pytest.fixture
def make(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with support.ended_executors(FluxClusterExecutor, block_allocation=True) as make:
        yield lambda max_workers=1, **arguments: make(max_workers=max_workers, **arguments)
    until(lambda: cluster.jobs() == {}, SOON, "the end of all jobs")
    assert hand_over_files() == []


class TestWhatAllSchedulersHave(PilotSuite):
    template = TEMPLATE


# ---- workers in jobs ----


def test_resources_are_those_of_the_job(make, flux):
    resources = {"threads_per_core": flux.cores, "run_time_max": 600, "priority": 20, "job_name": "mine"}
    with pytest.warns(UserWarning, match="job_name"):
        make(1, resource_dict=resources)
    (job,) = flux.jobs().values()
    assert (job["name"], job["duration"], job["urgency"]) == ("mine", 600, 20)
    (slot,) = flux.specification(job["id"])["resources"]
    assert slot["with"] == [{"type": "core", "count": flux.cores}]


def test_a_worker_that_waits_for_room_keeps_nobody_waiting(make, flux):
    exe = make(2 * flux.cores + 1)
    assert exe.submit(functions.add, 1, 2).result(SOON) == 3
    assert len(flux.jobs()) == 2 * flux.cores + 1


def test_what_workers_write_is_in_the_log_of_the_job(make, flux, tmp_path):
    exe = make(1)
    assert exe.submit(print, "heard", flush=True).result(SOON) is None
    (job,) = flux.jobs()
    exe.shutdown()
    (folder,) = tmp_path.glob("executorlib_cache/pilots-*")
    assert os.listdir(folder) == [f"{job}.log"]
    assert (folder / f"{job}.log").read_text() == "heard\n"


def run_by_flux():
    done = subprocess.run(["flux", "run", "-n1", "echo", "hello"], capture_output=True, text=True, timeout=60)
    return done.stdout, done.stderr


def test_calls_start_programs_with_all_cores_taken(make, flux):
    exe = make(2 * flux.cores)
    futures = [exe.submit(run_by_flux) for _ in range(4)]
    assert [future.result(3 * SOON) for future in futures] == [("hello\n", "")] * 4


# ---- ends of jobs ----


def test_a_cancelled_job_tells_why(make, flux, gate):
    exe = make(1)
    future = gate.submit(exe)
    gate.arrival()
    flux.run("job", "raise", "--message=maintenance", *map(str, flux.jobs()))
    with pytest.raises(JobLostError, match="CANCELLED.*cancel: maintenance"):
        future.result(SOON)


def test_a_worker_whose_time_is_over_is_replaced(make, gate):
    limit = 10 * support.TIME_FACTOR  # enough for its worker to come on a busy machine
    exe = make(1, resource_dict={"run_time_max": limit})
    late = gate.submit(exe)
    job = own_job(*gate.arrival())
    with pytest.raises(JobTimeoutError, match=f"job {job} .* ended as TIMEOUT") as caught:
        late.result(SOON)
    assert caught.value.seconds == limit
    assert exe.submit(own_job).result(SOON) != job


def test_a_request_that_nobody_can_meet(make):
    exe = make(1, resource_dict={"threads_per_core": 10_000})
    with pytest.raises(JobLostError, match="unsatisfiable request"):
        exe.submit(functions.add, 1, 2).result(SOON)


def test_refused_jobs(make):
    with pytest.raises(subprocess.CalledProcessError) as caught:
        make(2, resource_dict={"partition": "nonesuch"})
    assert "nonesuch" in caught.value.output


LOST_NODE = """
    import json, os, signal, subprocess, sys, functions
    from concurrent.futures import FIRST_COMPLETED, wait
    from executorlib import FluxClusterExecutor
    from pilot_suite import agent_of, own_job

    def flux(*arguments):
        return subprocess.run(["flux", *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout

    def at_gate(folder):
        functions.pass_gate(folder)
        return own_job()

    with FluxClusterExecutor(block_allocation=True, max_workers=2, resource_dict={"exclusive": True}) as exe:
        futures = [exe.submit(at_gate, sys.argv[1]) for _ in range(2)]
        workers = list(map(int, sys.stdin.readline().split()))
        ranks = {str(job["id"]): job["ranks"] for job in map(json.loads, flux("job", "list").splitlines())}
        (there,) = [agent_of(worker) for worker in workers if ranks[own_job(worker)] == "1"]
        for pid in (int(flux("exec", "-r1", "flux", "getattr", "broker.pid")), there):
            os.kill(pid, signal.SIGKILL)
        (done,), (left,) = wait(futures, 60, FIRST_COMPLETED)
        lost = done.exception()
        print("lost", lost.reason, ranks[lost.job_id], flush=True)
        print("left", ranks[left.result(60)], flush=True)
        print("then", ranks[exe.submit(own_job).result(60)], flush=True)
"""


def test_a_lost_node(flux, tmp_path, gate):
    script = support.write_script(tmp_path, LOST_NODE)
    with subprocess.Popen(
        ["flux", "start", "--test-size=2", sys.executable, script, gate.folder],
        cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=support.script_environment(),
    ) as instance:  # fmt: skip
        workers = gate.arrivals(2)
        print(*workers, file=instance.stdin, flush=True)
        told = [instance.stdout.readline()]
        gate.open()
        told += instance.stdout.readlines()
    assert told == ["lost NODE_FAIL 1\n", "left 0\n", "then 0\n"]


def test_outside_of_an_instance_it_says_what_was_looked_for(flux, tmp_path, monkeypatch):
    monkeypatch.setenv("FLUX_URI", f"local://{tmp_path}/nowhere")
    with pytest.raises(FileNotFoundError, match=r"FluxClusterExecutor.*FLUX_URI=local.*nowhere.*flux start"):
        FluxClusterExecutor(max_workers=1, block_allocation=True)
