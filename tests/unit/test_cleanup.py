"""What is done when a program is killed, by the shell that outlives it."""

import os

import pytest
import support
from beds.waiting import until

from executorlib._cleanup import Cleanup

pytestmark = pytest.mark.timeout(60)

DRIVER = """
import os, sys
from executorlib._cleanup import Cleanup

cleanup = Cleanup(sys.argv[1], "scancel $jobs")
cleanup.add_jobs(["12_0", "12_1"])
cleanup.add_jobs(["15"])
if sys.argv[2] == "done":
    cleanup.done()
if sys.argv[2] == "fork" and os.fork() == 0:
    sys.stdin.read()
print("ready")
sys.stdin.read()
"""


@pytest.fixture
def said(tmp_path, monkeypatch):
    """What scancel is told."""
    script = tmp_path / "bin" / "scancel"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/said\n')
    script.chmod(0o700)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "said"


@pytest.mark.parametrize("how", ["killed", "fork"])
def test_a_killed_program_leaves_no_file_and_no_jobs(tmp_path, said, how):
    file = tmp_path / "key"
    file.touch()
    with support.Driver(tmp_path, DRIVER, file, how, env=support.script_environment()) as driver:
        driver.expect("ready")
        assert file.exists() and not said.exists()
        driver.kill()
        until(lambda: said.exists() and said.read_text() == "12_0 12_1 15\n", support.SOON, "scancel")
    assert not file.exists()


def test_nothing_is_done_once_all_is_done(tmp_path, said):
    file = tmp_path / "key"
    file.touch()
    with support.Driver(tmp_path, DRIVER, file, "done", env=support.script_environment()) as driver:
        driver.expect("ready")
        assert support.children(driver.pid) == []
    assert file.exists() and not said.exists()


def test_it_can_be_left_to_the_shell(tmp_path, said):
    file = tmp_path / "key"
    file.touch()
    cleanup = Cleanup(str(file), "scancel $jobs")
    cleanup.add_jobs(["7"])
    cleanup.leave()
    assert cleanup._shell.wait(timeout=support.SOON) == 0
    assert said.read_text() == "7\n" and not file.exists()
