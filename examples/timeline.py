"""A timeline of what really ran: log a small workflow, read its figures, draw a Gantt chart if matplotlib is there."""

import json
import subprocess
import sys
from pathlib import Path

from executorlib import SingleNodeExecutor


def simulate(steps):
    return sum(i * i for i in range(steps))


def average(*values):
    return sum(values) / len(values)


with SingleNodeExecutor(max_workers=2, block_allocation=True, timeline="run.jsonl") as exe:
    runs = [exe.submit(simulate, 1000 * n) for n in range(1, 9)]
    mean = exe.submit(average, *runs)  # waits for all of them
    expected = average(*(simulate(1000 * n) for n in range(1, 9)))
    assert mean.result() == expected


def report(*options):
    command = [Path(sys.executable).with_name("executorlib"), "report", "run.jsonl", *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


print(report())
figures = json.loads(report("--json"))
assert figures["calls"]["finished"] == 9
assert figures["wait_for_arguments"]["count"] <= 1
assert {entry["function"]: entry["count"] for entry in figures["functions"]} == {"simulate": 8, "average": 1}

try:
    import matplotlib  # noqa: F401
except ImportError:
    print("for a picture: pip install 'executorlib[report]'")
else:
    report("--gantt", "run.svg", "--trace", "run.json")
    print("drawn in run.svg; run.json is for https://ui.perfetto.dev")
