"""What TestClusterExecutor of one implementation has computed, that of the other finds in its files."""

import os
import subprocess
import sys

import pytest

from .test_differential import REFERENCE, TIME_LIMIT, environment, pytestmark  # noqa: F401

SCRIPT = """
import os, sys
from executorlib.api import TestClusterExecutor

def work(a, b=0):
    with open("ran", "a") as ledger:
        ledger.write("x")
    return a + b

if __name__ == "__main__":
    with TestClusterExecutor(cache_directory=os.path.abspath("cache"), resource_dict={"cwd": os.getcwd()}) as exe:
        first = exe.submit(work, 1, b=2)
        second = exe.submit(work, first, b=3)
        third = exe.submit(work, first, b=first)
        print([future.result() for future in (first, second, third)])
"""


@pytest.mark.parametrize("order", ["theirs first", "ours first"])
def test_both_find_each_others_results(tmp_path, order):
    (tmp_path / "script.py").write_text(SCRIPT)
    pythons = [REFERENCE, sys.executable] if order == "theirs first" else [sys.executable, REFERENCE]
    for python in pythons:
        done = subprocess.run(
            [python, "-W", "ignore", "script.py"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=TIME_LIMIT, cwd=tmp_path, env=environment(), check=False,
        )  # fmt: skip
        assert done.stdout == "[3, 6, 6]\n", done.stderr
        assert (tmp_path / "ran").read_text() == "xxx"
        assert len(os.listdir(tmp_path / "cache")) == 3
