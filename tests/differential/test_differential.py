"""The same script under the reference implementation and under ours prints the same.

EXECUTORLIB_REFERENCE_PYTHON names the Python of an environment with the reference, `executorlib[all]==1.11.0`.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.py"))
REFERENCE = os.environ.get("EXECUTORLIB_REFERENCE_PYTHON")
#: The reference starts an interpreter for every call.
TIME_LIMIT = 120

pytestmark = [
    pytest.mark.timeout(2 * TIME_LIMIT + 10),
    pytest.mark.skipif(
        not REFERENCE,
        reason="EXECUTORLIB_REFERENCE_PYTHON does not name a Python that has executorlib[all]==1.11.0",
    ),
]

#: What may differ between two runs of one implementation.
NORMALISE = [
    (re.compile(r"0x[0-9a-f]+"), "0x..."),
    (re.compile(r"(?<=pid )\d+"), "..."),
]


def environment():
    """Neither side sees the other's package, nor variables that other tests have set."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "EXECUTORLIB"))}


def output(python, script, folder):
    folder.mkdir()
    # A folder of its own, since a script's folder is on its import path.
    script = shutil.copy(script, folder / "script.py")
    done = subprocess.run(
        [python, "-W", "ignore", str(script)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=TIME_LIMIT, cwd=folder, env=environment(),
    )  # fmt: skip
    text = done.stdout.replace(str(folder), "<folder>")
    for pattern, replacement in NORMALISE:
        text = pattern.sub(replacement, text)
    return text.splitlines(), done.returncode, done.stderr


@pytest.fixture(scope="session")
def reference():
    version = subprocess.run(
        [REFERENCE, "-W", "ignore", "-c", "import executorlib; print(executorlib.__version__)"],
        capture_output=True, text=True, timeout=TIME_LIMIT, env=environment(),
    )  # fmt: skip
    assert version.stdout.strip() == "1.11.0", version.stderr or version.stdout
    return REFERENCE


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_same_output(script, reference, tmp_path):
    expected, code, errors = output(reference, script, tmp_path / "reference")
    assert code == 0 and expected, f"the script must pass on the reference:\n{errors}"
    lines, code, errors = output(sys.executable, script, tmp_path / "ours")
    assert code == 0, errors
    assert lines == expected
