"""FluxJobExecutor and FluxClusterExecutor beside those of executorlib 1.11, inside one Flux instance.

    flux start python benchmarks/under_flux.py [python of the reference]

The reference's interpreter, which EXECUTORLIB_REFERENCE_PYTHON can name, too, needs Flux's Python module: its
PYTHONPATH is EXECUTORLIB_REFERENCE_PYTHONPATH. Each number is measured in a process of its own, in turns; the medians
are printed with their ratios.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

REPEATS = 3
# What is compared: calls of the reference, and of ours, since a rate needs a second or so of work.
CALLS = {"per call": (10, 200), "block": (100, 5000)}


def twenty(block):
    from executorlib import FluxJobExecutor

    began = time.perf_counter()
    with FluxJobExecutor(**({"block_allocation": True, "max_workers": 1} if block else {"max_cores": 1})) as exe:
        assert [f.result() for f in [exe.submit(sum, [i, i]) for i in range(20)]] == [2 * i for i in range(20)]
    return time.perf_counter() - began


def rate(block, calls):
    from executorlib import FluxJobExecutor

    with FluxJobExecutor(**({"block_allocation": True, "max_workers": 1} if block else {"max_cores": 1})) as exe:
        exe.submit(sum, [1, 1]).result()
        began = time.perf_counter()
        for future in [exe.submit(sum, [i, i]) for i in range(calls)]:
            future.result()
        return calls / (time.perf_counter() - began)


def serial_jobs():
    from executorlib import FluxClusterExecutor

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with FluxClusterExecutor(cache_directory=folder) as exe:
            for future in [exe.submit(sum, [i, i]) for i in range(20)]:
                future.result()
        return time.perf_counter() - began


def death(how):
    """Seconds from the end of a task to that of its future."""
    from executorlib import FluxClusterExecutor, FluxJobExecutor

    def tell_and_wait(path):
        with open(path + ".new", "w") as file:
            file.write(str(os.getpid()))
        os.rename(path + ".new", path)
        while not os.path.exists(path + ".go"):
            time.sleep(0.001)
        os._exit(7)

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "pid")
        exe = FluxJobExecutor(max_cores=1) if how.startswith("agent") else FluxClusterExecutor(cache_directory=folder)
        future = exe.submit(tell_and_wait, path, resource_dict={"run_time_max": 2} if "limit" in how else {})
        while not os.path.exists(path):
            time.sleep(0.001)
        began = time.perf_counter()
        with open(path) as file:
            pid = int(file.read())
        if "exit" in how:
            open(path + ".go", "w").close()
        elif "kill" in how:
            os.kill(pid, signal.SIGKILL)
        elif "cancel" in how:
            subprocess.run(["flux", "cancel", "--all", "--quiet"], check=True)
            began = time.perf_counter()
        elif "limit" in how:
            ended = os.pidfd_open(pid)
            import select

            select.select([ended], [], [])
            began = time.perf_counter()
        error = future.exception()
        took = time.perf_counter() - began
        exe.shutdown()
    print(f"    {how}: {type(error).__name__}: {str(error).splitlines()[0][:150]}", file=sys.stderr)
    return took


def measured(python, function, *arguments):
    """In a process of its own."""
    environ = dict(os.environ)
    if python != sys.executable:
        environ["PYTHONPATH"] = os.environ.get("EXECUTORLIB_REFERENCE_PYTHONPATH", "")
    with tempfile.TemporaryDirectory() as folder:
        command = [python, os.path.abspath(__file__), "--measure", json.dumps([function.__name__, *arguments])]
        done = subprocess.run(command, env=environ, cwd=folder, stdout=subprocess.PIPE, text=True, timeout=300)
    return float(done.stdout.split()[-1])


def compare(name, function, theirs, ours, reference, more_is_better, repeats=REPEATS):
    numbers = {reference: [], sys.executable: []}
    for _ in range(repeats):
        for python, arguments in ((reference, theirs), (sys.executable, ours)):
            numbers[python].append(measured(python, function, *arguments))
    before, now = (statistics.median(numbers[python]) for python in (reference, sys.executable))
    ratio = now / before if more_is_better else before / now
    print(f"{name:<48} {before:>10.2f} {now:>10.2f} {ratio:>8.1f} x", flush=True)


def main(reference):
    print(f"{'':<48} {'1.11.0':>10} {'here':>10}")
    for block, mode in enumerate(CALLS):
        compare(f"20 x sum, {mode}, start to end (s)", twenty, [block], [block], reference, False)
    for block, mode in enumerate(CALLS):
        theirs, ours = CALLS[mode]
        compare(f"calls per second, {mode}", rate, [block, theirs], [block, ours], reference, True)
    compare("20 serial calls, FluxClusterExecutor (s)", serial_jobs, [], [], reference, False, repeats=1)
    for how in ("agent: os._exit", "agent: kill -9", "agent: flux cancel", "job: os._exit", "job: kill -9",
                "job: flux cancel", "job: time limit"):  # fmt: skip
        print(
            f"{'a task dies, ' + how + ': noticed after (s)':<59} {measured(sys.executable, death, how):>10.2f}",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        name, *given = json.loads(sys.argv[2])
        print(globals()[name](*given))
    else:
        main(sys.argv[1] if len(sys.argv) > 1 else os.environ["EXECUTORLIB_REFERENCE_PYTHON"])
