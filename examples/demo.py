"""Time the emcee and the pipefunc example on executorlib beside the other ways to run them.

Each run has a process of its own, so that none profits from what an earlier one has loaded. A time includes
starting and stopping the workers, but not the imports. ``make demo`` calls this script.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor

OURS = "executorlib, core in C"
SERIAL = "serial"
POOL = "multiprocessing.Pool(2)"
PROCESSES = "ProcessPoolExecutor(2)"
REFERENCE = "executorlib 1.11.0, all Python"

TITLES = {
    "emcee": "emcee: 32 walkers, 100 steps, a likelihood of a few microseconds",
    "pipefunc": "pipefunc: a two-step pipeline mapped over three values, one process for each call",
}


def emcee_runs():
    import emcee_sampling as example

    def with_pool():
        with multiprocessing.Pool(2) as pool:
            return example.sample(pool=pool)

    return {
        OURS: example.sample_on_executor,
        REFERENCE: example.sample_on_executor,
        SERIAL: example.sample,
        POOL: with_pool,
    }


def pipefunc_runs():
    import pipefunc_map as example

    example.map_serial()  # pipefunc imports what a map needs at the first one

    def with_processes():
        with ProcessPoolExecutor(2) as pool:
            return example.map_on(pool)

    return {
        OURS: example.map_on_executor,
        REFERENCE: example.map_on_executor,
        SERIAL: example.map_serial,
        PROCESSES: with_processes,
    }


RUNS = {"emcee": emcee_runs, "pipefunc": pipefunc_runs}


def measure(example, way):
    """Run one example one way, in this process; returns seconds and a digest of the result."""
    run = RUNS[example]()[way]
    start = time.perf_counter()
    result = run()
    seconds = time.perf_counter() - start
    content = result.tobytes() if hasattr(result, "tobytes") else repr(result).encode()
    return {"seconds": seconds, "digest": hashlib.sha256(content).hexdigest()}


def measure_elsewhere(python, example, way):
    """The same in a fresh interpreter; None where that interpreter cannot run it."""
    here = os.path.dirname(os.path.abspath(__file__))
    command = [python, os.path.join(here, "demo.py"), "--measure", example, way]
    # Without compiled modules of its own, each process would compile what it imports.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    if way == REFERENCE:
        environment["PYTHONPATH"] = here  # its workers see only that, not the driver's search path
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    if done.returncode != 0:
        print(f"  {way}: could not run\n{done.stderr}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def compare(ours, other):
    return f"ours is {other / ours:.1f} x faster" if other >= ours else f"{ours / other:.1f} x faster than ours"


def show(example, reference):
    """Print one example's table; returns its times, or None unless all ways ran and gave the same result."""
    ways = [way for way in RUNS[example]() if way != REFERENCE or reference]
    print(f"\n{TITLES[example]}")
    seconds = {}
    digests = set()
    for way in ways:
        python = reference if way == REFERENCE else sys.executable
        repeats = 1 if way == REFERENCE else 3
        runs = [measure_elsewhere(python, example, way) for _ in range(repeats)]
        if None in runs and way == REFERENCE:
            continue  # shown as such; it is not what the demo is about
        if None in runs:
            return None
        digests.update(run["digest"] for run in runs)
        seconds[way] = statistics.median(run["seconds"] for run in runs)
        relation = "" if way == OURS else compare(seconds[OURS], seconds[way])
        print(f"  {way:32} {seconds[way]:8.3f} s   {relation}", flush=True)
    return seconds if len(digests) == 1 else None


def conclude(times):
    """Say in words what the tables show."""
    print(
        "\nWhat this shows: emcee and pipefunc run on executorlib as they are, and their results are identical\n"
        "to those of the serial run, to the last bit."
    )
    if all(seconds[SERIAL] < seconds[OURS] for seconds in times):
        print(
            "The serial runs win here because each call takes only microseconds: what the others measure is what\n"
            "starting processes and carrying calls to them costs. The less that is, the shorter the functions\n"
            "for which running in parallel pays off."
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", help="a Python that has executorlib 1.11.0, emcee and pipefunc")
    parser.add_argument("--measure", nargs=2, metavar=("EXAMPLE", "WAY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        warnings.simplefilter("ignore")
        print(json.dumps(measure(*arguments.measure)))
        return 0

    print("The same programs, run in different ways. Times include starting and stopping the workers.")
    times = [show(example, arguments.reference) for example in RUNS]
    if None in times:
        print("\nFAILED: not every way ran and gave the same result", file=sys.stderr)
        return 1
    conclude(times)
    return 0


if __name__ == "__main__":
    sys.exit(main())
