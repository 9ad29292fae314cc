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
    "engine_flat": "engine, 1,000 nodes / 10 nodes with as many cores",
    "bytes_per_call": "engine, memory per pending call [B]",
    **{f"submit_{nodes}_per_s": f"submitted from Python, {nodes:,} nodes to come [calls/s]" for nodes in NODES},
    **{f"drain_{nodes}_per_s": f"… and done, once {nodes:,} have come [calls/s]" for nodes in NODES},
    **{f"stream_{nodes}_per_s": f"submitted to {nodes:,} idle nodes and done [calls/s]" for nodes in NODES},
    "calls": "pending calls [count]",
}
ROUNDS = (1, 1)
TIMEOUT_S = 300
ALONE = True
COUNT, COUNT_QUICK = 1_000_000, 100_000
MOST_OUT = NODES[-1] * CORES  # in the engine alone there are three times as many calls, or all would be out at once
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
with open({come!r}, "w") as file:
    sys.exit(subprocess.run(command, input=line.encode(), stdout=file).returncode)
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


def _engine(programs, nodes, cores, calls, kind):
    """Microseconds per call: the mean of those that end many at a time, and those that end one by one; and bytes."""
    command = [programs / "scheduler", str(nodes), str(cores), str(calls), kind]
    costs = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return (costs["many_s"] + costs["one_s"]) / 2 * 1e6, costs["bytes"]


def _in_the_engine(programs, count):
    sample = {"calls": count}
    for nodes in NODES:
        sample[f"engine_{nodes}_us"], sample["bytes_per_call"] = _engine(programs, nodes, CORES, count, "plain")
        sample[f"gpus_{nodes}_us"], _ = _engine(programs, nodes, CORES, count, "gpus")
    # With fewer cores fewer calls are out at once, and these stay in the processor's cache.
    few_nodes, _ = _engine(programs, NODES[0], NODES[-1] * CORES // NODES[0], count, "plain")
    sample["engine_flat"] = sample["engine_1000_us"] / few_nodes
    sample["engine_per_s"] = 1e6 / sample["engine_1000_us"]
    return sample


@contextlib.contextmanager
def _allocation(programs, nodes):
    """Variables and srun of a job with so many nodes. They come once `gate`, a pipe, is opened; `come` tells when."""
    with tempfile.TemporaryDirectory(prefix="executorlib-benchmark-") as folder:
        gate, come, srun = (os.path.join(folder, name) for name in ("gate", "come", "srun"))
        os.mkfifo(gate)
        script = SRUN.format(python=sys.executable, gate=gate, come=come, agents=str(programs / "agents"))
        pathlib.Path(srun).write_text(script, encoding="utf-8")
        os.chmod(srun, 0o700)
        before = dict(os.environ)
        os.environ |= {
            "PATH": os.pathsep.join((folder, os.environ["PATH"])),
            "SLURM_JOB_ID": "1",
            "SLURM_JOB_CPUS_PER_NODE": f"{CORES}(x{nodes})",
            "EXECUTORLIB_AGENT_DIRECTORY": folder,
        }
        try:
            yield gate, come
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

    with _allocation(programs, nodes) as (gate, come), SlurmJobExecutor(hostname_localhost=True) as executor:
        futures, submitting = _submit(executor, count)
        open(gate, "w").close()
        _await(futures)
        draining = time.perf_counter() - int(pathlib.Path(come).read_text()) / 1e9
        del futures
        start = time.perf_counter()
        futures, _ = _submit(executor, stream)
        _await(futures)
        streaming = time.perf_counter() - start
    return {
        f"submit_{nodes}_per_s": count / submitting,
        f"drain_{nodes}_per_s": count / draining,
        f"stream_{nodes}_per_s": stream / streaming,
    }


def measure(peer, quick):
    programs = _build()
    # A connection for each node.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    count, stream = (COUNT_QUICK, STREAM_QUICK) if quick else (COUNT, STREAM)
    while True:
        sample = _in_the_engine(programs, max(count, 3 * MOST_OUT))
        for nodes in NODES:
            sample |= _from_python(programs, nodes, count, stream)
        yield sample
