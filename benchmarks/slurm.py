"""Under Slurm, on a bed of three nodes with four cores: `python -m benchmarks.slurm [--quick] [--reference PYTHON]`.

Calls in an allocation beside the reference, with and without block allocation; detached calls beside as many bare
sbatch. What runs in an environment of its own is this file again, with the name of a measurement.
"""

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve()
NODES, CORES = 3, 4

# Bars: what is compared, how, and with what.
BARS = (
    ("one sbatch per call / bare sbatch", "each", "≤", 1.2),
    ("arrays / bare sbatch", "arrays", "≤", 0.1),
    ("result noticed after its file is there [s]", "noticed", "≤", 1.0),
    ("calls in an allocation, ours / reference", "per_call", "≥", 100),
    ("… / reference with block allocation", "block", "≥", 5),
    ("steps for them", "steps", "≤", 1),
)


# ---- in an environment of its own: one measurement, whose figures are printed ----


def calls(executor_class, count, block):
    """Rate of no-op calls, once the first has come back."""
    arguments = {"block_allocation": True, "max_workers": NODES * CORES} if block else {"max_cores": NODES * CORES}
    with executor_class(**arguments) as executor:
        executor.submit(abs, -1).result()
        began = time.perf_counter()
        for future in [executor.submit(abs, -number) for number in range(count)]:
            future.result()
        return {"rate": count / (time.perf_counter() - began)}


def detached(executor_class, count, arrays):
    """Seconds until the program may go, when it has submitted something before. Jobs are held, so that none of them
    takes time from the submission."""
    if count > 1:
        detached(executor_class, 1, arrays)
    folder = tempfile.mkdtemp(dir=os.environ["BENCHMARK_FOLDER"])
    began = time.perf_counter()
    with executor_class(cache_directory=folder, wait=False) as executor:
        for number in range(count):
            comment = [] if arrays else [f"--comment={number}"]
            executor.submit(pow, number, 2, resource_dict={"slurm_cmd_args": ["--hold", *comment]})
    return {"seconds": time.perf_counter() - began}


def noticed(executor_class, count):
    """Seconds from the time of a result's file until its future is done."""
    from concurrent.futures import wait

    folder = tempfile.mkdtemp(dir=os.environ["BENCHMARK_FOLDER"])
    late = []
    with executor_class(cache_directory=folder) as executor:
        for number in range(count):
            future = executor.submit(abs, -number, resource_dict={"cache_key": f"k{number}"})
            wait([future])
            late.append(time.time() - os.stat(f"{folder}/k{number}_o.h5").st_mtime)
    return {"seconds": max(late)}


def measure(name, count):
    import executorlib

    job, cluster = executorlib.SlurmJobExecutor, executorlib.SlurmClusterExecutor
    return {
        "per_call": lambda: calls(job, count, block=False),
        "block": lambda: calls(job, count, block=True),
        "arrays": lambda: detached(cluster, count, arrays=True),
        "each": lambda: detached(cluster, count, arrays=False),
        "noticed": lambda: noticed(cluster, count),
    }[name]()


# ---- beside a bed ----


class Bench:
    """Takes measurements on a bed. All files stay until its end: to look for room among inodes that were freed a moment
    ago is slow on some file systems."""

    def __init__(self, bed, folder, reference):
        self._bed, self._folder = bed, folder
        self._pythons = {"ours": sys.executable, "reference": reference}

    def take(self, who, name, count, job=None, timeout=600):
        """Figures of one measurement, or None where it fails."""
        inside = {} if job is None else job
        env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        env |= {**self._bed.variables, **inside, "BENCHMARK_FOLDER": str(self._folder)}
        command = [self._pythons[who], str(HERE), "--measure", name, str(count)]
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if done.returncode:
            print(f"{who} {name}: {done.stderr[-400:]}", file=sys.stderr)
            return None
        return json.loads(done.stdout.splitlines()[-1])

    def bare(self, count):
        """Seconds for as many sbatch, one after the other."""
        env = {**os.environ, **self._bed.variables}
        command = ["sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap=true"]
        began = time.perf_counter()
        for _ in range(count):
            subprocess.run(command, cwd=self._folder, env=env, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began

    def clear(self):
        self._bed.reset()

    def steps(self, number):
        logs = "".join(log.read_text() for log in self._bed.folder.glob("slurmd.*.log"))
        return len(set(re.findall(rf"launch task StepId=({number}\.\d+)", logs)))

    def allocation(self):
        """All nodes; the job's number and the variables that a script in it would have."""
        granted = self._bed.run("salloc", "--no-shell", f"-N{NODES}", f"--ntasks-per-node={CORES}").stderr
        number = re.search(r"Granted job allocation (\d+)", granted)[1]
        total = str(NODES * CORES)
        return number, {
            "SLURM_JOB_ID": number, "SLURM_JOBID": number, "SLURM_NNODES": str(NODES), "SLURM_NTASKS": total,
            "SLURM_JOB_CPUS_PER_NODE": f"{CORES}(x{NODES})", "SLURM_NTASKS_PER_NODE": str(CORES),
        }  # fmt: skip


def detached_round(bench, count):
    found = {"bare": bench.bare(count)}
    for name in ("arrays", "each"):
        taken = bench.take("ours", name, count)
        found[name] = taken and taken["seconds"]
    bench.clear()
    return found


def allocation_round(bench, counts):
    number, job = bench.allocation()
    found = {}
    before = 0
    for name in ("per_call", "block"):
        taken = bench.take("ours", name, counts["ours"], job)
        found[name] = taken and taken["rate"]
        after = bench.steps(number)
        found["steps"], before = max(found.get("steps", 0), after - before), after
    for name in ("per_call", "block"):
        taken = bench.take("reference", name, counts[name], job)
        found[f"reference {name}"] = taken and taken["rate"]
    found["reference steps"] = bench.steps(number) - before
    bench.clear()
    return found


def median(rounds, figure):
    values = [value for value in map(figure, rounds) if value is not None]
    return statistics.median(values) if values else None


def ratio(above, below):
    return lambda found: found[above] / found[below] if found.get(above) and found.get(below) else None


def report(detached_rounds, allocation_rounds, late, counts):
    figures = {
        "each": median(detached_rounds, ratio("each", "bare")),
        "arrays": median(detached_rounds, ratio("arrays", "bare")),
        "noticed": late,
        "per_call": median(allocation_rounds, ratio("per_call", "reference per_call")),
        "block": median(allocation_rounds, ratio("block", "reference block")),
        "steps": median(allocation_rounds, lambda found: found["steps"]),
    }
    lines = ["| what | measured | bar |", "| --- | ---: | ---: |"]
    for text, name, relation, limit in BARS:
        value = figures[name]
        lines.append(f"| {text} | {'–' if value is None else f'{value:.3g}'} | {relation} {limit} |")
    lines += ["", f"{counts['detached']} detached calls and {counts['ours']} calls in the allocation; each round:", ""]
    lines += ["    " + json.dumps(found) for found in (*detached_rounds, *allocation_rounds)]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slurm", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer calls and rounds")
    parser.add_argument("--reference", metavar="PYTHON", help="interpreter with executorlib 1.11.0")
    parser.add_argument("--only", choices=["detached", "allocation"], help="one part")
    parser.add_argument("--measure", nargs=2, metavar=("NAME", "COUNT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        name, count = arguments.measure
        print(json.dumps(measure(name, int(count))))
        return
    sys.path.insert(0, str(HERE.parent.parent / "tests"))
    from beds import slurm

    from benchmarks import reference

    if reason := slurm.missing():
        sys.exit(f"benchmarks.slurm: {reason}")
    counts = {"detached": 500, "ours": 2000, "per_call": 12, "block": 2000}
    if arguments.quick:
        counts = {"detached": 100, "ours": 500, "per_call": 6, "block": 200}
    python = reference.python(arguments.reference)
    with tempfile.TemporaryDirectory() as folder, slurm.SlurmBed() as bed:
        bench = Bench(bed, folder, python)
        rounds = 1 if arguments.quick else 3
        apart = [detached_round(bench, counts["detached"]) for _ in range(rounds) if arguments.only != "allocation"]
        inside = [allocation_round(bench, counts) for _ in range(1) if arguments.only != "detached"]
        late = bench.take("ours", "noticed", 5) if apart else None
        print(report(apart, inside, late and late["seconds"], counts))


if __name__ == "__main__":
    main()
