"""Many nodes: what a call costs in the engine alone, and from Python, with agents that are only simulated.

The agents are one program (benchmarks/scheduler/agents.c), started by a script in the place of srun; to the executor
they are up to 1,000 nodes of 128 cores, which answer each call at once over a connection of their own, encrypted like
any.
"""

import contextlib
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time

from benchmarks import work

TITLE = "Scheduler, by simulation"
PEERS = ("ours",)
NODES = (10, 100, 1000)
CORES = 128
METRICS = {
    **{f"engine_{nodes}_us": f"engine, {nodes:,} nodes, per call [µs]" for nodes in NODES},
    **{f"gpus_{nodes}_us": f"engine, {nodes:,} nodes, calls with a GPU [µs]" for nodes in NODES},
    "engine_per_s": "engine, 1,000 nodes [calls/s]",
    "engine_flat": "engine, 1,000 nodes / 10 nodes",
    "bytes_per_call": "engine, memory per pending call [B]",
    **{f"submit_{nodes}_per_s": f"submitted from Python, {nodes:,} nodes to come [calls/s]" for nodes in NODES},
    **{f"drain_{nodes}_per_s": f"… and done, once {nodes:,} have come [calls/s]" for nodes in NODES},
    **{f"stream_{nodes}_per_s": f"submitted to {nodes:,} idle nodes and done [calls/s]" for nodes in NODES},
    "calls": "pending calls [count]",
}
ROUNDS = (1, 3)
TIMEOUT_S = 300
ALONE = True
COUNT, COUNT_QUICK = 1_000_000, 100_000
STREAM, STREAM_QUICK = 100_000, 20_000

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "benchmarks"
SRUN = """\
#!{python}
import json, subprocess, sys
open({gate!r}).close()
with open(sys.argv[-1]) as file:
    told = json.load(file)
line = f"{{told['addresses'][0]}} {{told['port']}} {{told['name']}} {{told['key']}}"
command = [{agents!r}, str(len(told["shares"])), str(told["shares"][0][0])]
sys.exit(subprocess.run(command, input=line.encode()).returncode)
"""


def _build():
    """The folder of the C programs, built where they are missing or old."""
    meson = shutil.which("meson", path=os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"])))
    if meson is None:
        raise FileNotFoundError("meson, which builds the simulated agents, was not found")
    quiet = {"stdout": sys.stderr, "check": True}
    if not (BUILD / "build.ninja").exists():
        options = ("-Dpython=disabled", "-Dtests=disabled", "-Dstore=disabled")
        subprocess.run([meson, "setup", BUILD, ROOT, *options], **quiet)
    subprocess.run([meson, "compile", "-C", BUILD, "scheduler", "agents"], **quiet)
    return BUILD / "benchmarks"


def _engine(programs, nodes, calls, kind):
    command = [programs / "scheduler", str(nodes), str(CORES), str(calls), kind]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def _in_the_engine(programs, count):
    sample = {"calls": count}
    for nodes in NODES:
        for kind, key in (("plain", "engine"), ("gpus", "gpus")):
            costs = _engine(programs, nodes, count, kind)
            # Those that end many at a time, and those that end one by one.
            sample[f"{key}_{nodes}_us"] = (costs["many_s"] + costs["one_s"]) / 2 * 1e6
            if kind == "plain":
                sample["bytes_per_call"] = costs["bytes"]
    sample["engine_flat"] = sample["engine_1000_us"] / sample["engine_10_us"]
    sample["engine_per_s"] = 1e6 / sample["engine_1000_us"]
    return sample


@contextlib.contextmanager
def _allocation(programs, nodes):
    """Variables and srun of a job with so many nodes, which come once the gate, a pipe, is opened."""
    with tempfile.TemporaryDirectory(prefix="executorlib-benchmark-") as folder:
        gate, srun = os.path.join(folder, "gate"), os.path.join(folder, "srun")
        os.mkfifo(gate)
        pathlib.Path(srun).write_text(
            SRUN.format(python=sys.executable, gate=gate, agents=str(programs / "agents")), encoding="utf-8"
        )
        os.chmod(srun, 0o700)
        before = dict(os.environ)
        os.environ |= {
            "PATH": os.pathsep.join((folder, os.environ["PATH"])),
            "SLURM_JOB_ID": "1",
            "SLURM_JOB_CPUS_PER_NODE": f"{CORES}(x{nodes})",
            "EXECUTORLIB_AGENT_DIRECTORY": folder,
        }
        try:
            yield gate
        finally:
            os.environ.clear()
            os.environ |= before


def _submit(executor, count):
    """The futures, and how long submitting took in seconds."""
    futures = [None] * count
    start = time.perf_counter()
    for index in range(count):
        futures[index] = executor.submit(work.noop)
    return futures, time.perf_counter() - start


def _await(futures):
    for future in futures:
        future.result()


def _from_python(programs, nodes, count, stream):
    from executorlib import SlurmJobExecutor

    with _allocation(programs, nodes) as gate, SlurmJobExecutor(hostname_localhost=True) as executor:
        futures, submitting = _submit(executor, count)
        open(gate, "w").close()
        # What comes before is starting the agents: the first call is done when all of them have come.
        futures[0].result()
        start = time.perf_counter()
        done = sum(future.done() for future in futures)
        _await(futures)
        draining = time.perf_counter() - start
        del futures
        start = time.perf_counter()
        futures, _ = _submit(executor, stream)
        _await(futures)
        streaming = time.perf_counter() - start
    return {
        f"submit_{nodes}_per_s": count / submitting,
        f"drain_{nodes}_per_s": (count - done) / draining,
        f"stream_{nodes}_per_s": stream / streaming,
    }


def measure(peer, quick):
    programs = _build()
    # A connection for each node.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    count, stream = (COUNT_QUICK, STREAM_QUICK) if quick else (COUNT, STREAM)
    while True:
        sample = _in_the_engine(programs, count)
        for nodes in NODES:
            sample |= _from_python(programs, nodes, count, stream)
        yield sample
