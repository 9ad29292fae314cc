"""Every script in examples/ checks its own results: each must end well, within its time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TIME_FACTOR = float(os.environ.get("EXECUTORLIB_TEST_TIME_FACTOR", "1"))
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py") if path.name != "demo.py")


@pytest.mark.parametrize("script", SCRIPTS)
def test_example(script, tmp_path):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200 * TIME_FACTOR,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.strip()


def test_all_examples_are_found():
    assert {"emcee_sampling.py", "pipefunc_map.py", "single_node_tour.py"} <= set(SCRIPTS)
