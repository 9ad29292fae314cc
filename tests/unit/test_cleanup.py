"""What is done when a program is killed, by the shell that outlives it."""

import os

import pytest
import support
from beds.waiting import until

from executorlib._cleanup import Cleanup
from executorlib._flux_queue import FluxQueue
from executorlib._slurm_queue import SlurmQueue

pytestmark = pytest.mark.timeout(60)

DRIVER = """
import os, sys
from executorlib._cleanup import Cleanup

cleanup = Cleanup(sys.argv[1], sys.argv[3])
cleanup.add_jobs(["12_0", "12_1"])
cleanup.add_jobs(["15"])
if sys.argv[2] == "done":
    cleanup.done()
if sys.argv[2] == "fork" and os.fork() == 0:
    sys.stdin.read()
print("ready")
sys.stdin.read()
"""


class Said:
    """What a scheduler's command is told to cancel jobs, which says that they have ended if it is Flux's."""

    def __init__(self, folder, queue, program, words, status):
        self.cancelling = queue.cancelling
        self._words = words
        self._told = folder / "told"
        script = folder / "bin" / program
        script.parent.mkdir()
        script.write_text(f'#!/bin/sh\necho "$@" >> {self._told}\nexit {status}\n')
        script.chmod(0o700)

    def is_nothing(self):
        return not self._told.exists()

    def is_about(self, jobs):
        return self._told.exists() and self._told.read_text() == f"{self._words}{jobs}\n"


@pytest.fixture(params=[(SlurmQueue, "scancel", "", 0), (FluxQueue, "flux", "job raise ", 1)], ids=["slurm", "flux"])
def said(request, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
    return Said(tmp_path, *request.param)


@pytest.mark.parametrize("how", ["killed", "fork"])
def test_a_killed_program_leaves_no_file_and_no_jobs(tmp_path, said, how):
    file = tmp_path / "key"
    file.touch()
    with support.Driver(tmp_path, DRIVER, file, how, said.cancelling, env=support.script_environment()) as driver:
        driver.expect("ready")
        assert file.exists() and said.is_nothing()
        driver.kill()
        until(lambda: said.is_about("12_0 12_1 15"), support.SOON, "the cancellation")
    assert not file.exists()


def test_nothing_is_done_once_all_is_done(tmp_path, said):
    file = tmp_path / "key"
    file.touch()
    with support.Driver(tmp_path, DRIVER, file, "done", said.cancelling, env=support.script_environment()) as driver:
        driver.expect("ready")
        assert support.children(driver.pid) == []
    assert file.exists() and said.is_nothing()


def test_it_can_be_left_to_the_shell(tmp_path, said):
    file = tmp_path / "key"
    file.touch()
    cleanup = Cleanup(str(file), said.cancelling)
    cleanup.add_jobs(["7"])
    cleanup.leave()
    assert cleanup._shell.wait(timeout=support.SOON) == 0
    assert said.is_about("7") and not file.exists()
