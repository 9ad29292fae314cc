"""Drivers and jobs that are killed, and disks that refuse: what is in the files is right, and computed once."""

import os
import shutil
import signal
import subprocess
import sys

import pytest
import support
from campaign import Campaign
from support import SOON

from executorlib.api import TestClusterExecutor, WorkerLostError

DRIVER = """
    import sys, functions
    from executorlib.api import TestClusterExecutor
    exe = TestClusterExecutor(cache_directory="cache")
    future = exe.submit(functions.pass_gate, sys.argv[1], "value", resource_dict={"cache_key": "k"})
    print("submitted", flush=True)
    print("result", future.result(), flush=True)
"""


@pytest.mark.orphans
@pytest.mark.timeout(300)
def test_a_campaign_survives_ten_kills(tmp_path):
    campaign = Campaign(tmp_path, count=60, seed=1)
    campaign.run(kills=10, longest=0.8 * support.TIME_FACTOR)
    assert campaign.kills > 0


@pytest.mark.soak
@pytest.mark.orphans
@pytest.mark.timeout(3600)
def test_campaigns_survive_two_hundred_kills(tmp_path):
    kills = 0
    for seed in range(1000):
        folder = tmp_path / str(seed)
        folder.mkdir()
        campaign = Campaign(folder, count=500, seed=seed)
        campaign.run(kills=200 - kills, longest=2.0 * support.TIME_FACTOR)
        kills += campaign.kills
        if kills >= 200:
            return
    pytest.fail(f"only {kills} kills")


@pytest.mark.orphans
def test_a_later_driver_gets_the_running_job(tmp_path, gate):
    with support.Driver(tmp_path, DRIVER, gate.folder) as first:
        first.expect("submitted")
        gate.arrival()
        first.kill()
    with support.Driver(tmp_path, DRIVER, gate.folder) as second:
        second.expect("submitted")
        with pytest.raises(TimeoutError):
            gate.arrival(timeout=0.3)
        gate.open()
        assert second.expect("result") == "value"


@pytest.mark.orphans
def test_a_job_that_died_unseen_is_submitted_again(tmp_path, gate):
    with support.Driver(tmp_path, DRIVER, gate.folder) as first:
        first.expect("submitted")
        (pid,) = gate.arrival()
        first.kill()
        support.kill_quietly([pid])
        assert support.alive_after([pid], SOON) == []
    with support.Driver(tmp_path, DRIVER, gate.folder) as second:
        gate.arrival()
        gate.open()
        assert second.expect("result") == "value"


@pytest.mark.orphans
def test_a_running_job_that_dies_under_a_later_driver_is_submitted_again(tmp_path, gate):
    with support.Driver(tmp_path, DRIVER, gate.folder) as first:
        first.expect("submitted")
        (pid,) = gate.arrival()
        first.kill()
    with support.Driver(tmp_path, DRIVER, gate.folder) as second:
        second.expect("submitted")
        support.kill_quietly([pid])
        gate.arrival()
        gate.open()
        assert second.expect("result") == "value"


def test_drivers_at_the_same_time_compute_once(tmp_path):
    script = support.write_script(
        tmp_path,
        """
        import sys, file_functions
        from executorlib.api import TestClusterExecutor
        with TestClusterExecutor(cache_directory="cache") as exe:
            futures = [exe.submit(file_functions.note, "../ledger", i, 0.05) for i in range(5)]
            assert [future.result() for future in futures] == [i * i for i in range(5)]
        """,
    )
    drivers = [
        subprocess.Popen([sys.executable, str(script)], cwd=tmp_path, env=support.script_environment())
        for _ in range(4)
    ]
    assert [driver.wait(60) for driver in drivers] == [0] * 4
    begun = [line.split()[0] for line in (tmp_path / "ledger").read_text().splitlines()]
    assert sorted(begun) == list("01234")


def test_a_claim_from_elsewhere_is_respected(tmp_path):
    folder = tmp_path / "cache" / "k"
    folder.mkdir(parents=True)
    os.symlink("12 34 56 another-boot another-host", folder / "claim.1")
    exe = TestClusterExecutor(cache_directory=tmp_path / "cache")
    future = exe.submit(abs, -1, resource_dict={"cache_key": "k"})
    with pytest.raises(TimeoutError):
        future.result(0.3)
    assert future.running()
    assert TestClusterExecutor(cache_directory=tmp_path / "other").submit(abs, -2).result(SOON) == 2
    exe.shutdown(cancel_futures=True)
    assert os.listdir(folder) == ["claim.1"]


def test_a_folder_that_cannot_be_written_is_an_error_of_the_calls_concerned(tmp_path):
    (tmp_path / "file").write_text("")
    with TestClusterExecutor(cache_directory=tmp_path / "cache") as exe:
        bad = exe.submit(abs, -1, resource_dict={"cache_directory": tmp_path / "file" / "below"})
        with pytest.raises(OSError, match="file"):
            bad.result(SOON)
        assert exe.submit(abs, -2).result(SOON) == 2


MOUNTED = """
    import os, signal, subprocess, sys
    import file_functions
    from executorlib.api import TestClusterExecutor
    os.makedirs("disk")
    os.makedirs("sealed")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", "disk"], check=True)
    with TestClusterExecutor(cache_directory="disk") as exe:
        assert exe.submit(abs, -1).result() == 1
        large = exe.submit(file_functions.make_array, 1 << 20)
        print("result:", large.exception())
        assert exe.submit(abs, -2).result() == 2
        print("argument:", exe.submit(len, b"x" * (1 << 20)).exception())
        assert exe.submit(abs, -3).result() == 3
        subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", "sealed"], check=True)
        print("read-only:", exe.submit(abs, -4, resource_dict={"cache_directory": "sealed"}).exception())
        assert exe.submit(abs, -3).result() == 3
        assert exe.submit(abs, -5, resource_dict={"cache_directory": "cache"}).result() == 5
    left = [name for name in os.listdir("disk") if not name.endswith("_o.h5")]
    print("left:", left)
"""


def _can_mount():
    command = ["unshare", "--map-root-user", "--mount", "true"]
    return shutil.which("unshare") and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _can_mount(), reason="needs a mount namespace")
def test_a_full_and_a_read_only_disk(tmp_path):
    script = support.write_script(tmp_path, MOUNTED)
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", sys.executable, str(script)],
        cwd=tmp_path, env=support.script_environment(), capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert "No space left on device" in said["result"]
    assert "No space left on device" in said["argument"]
    assert "Read-only file system" in said["read-only"]
    assert "_o.h5" in said["result"]
    assert "_i.h5" in said["argument"]


def test_an_idle_executor_wakes_nobody(tmp_path):
    with TestClusterExecutor(cache_directory=tmp_path / "cache") as exe:
        assert exe.submit(abs, -1).result(SOON) == 1
        thread = exe._task_scheduler._jobs._thread
        # The end of the job's process comes after its result.
        while exe._task_scheduler._jobs._by_base:
            thread.join(0.01)
        before = switches(thread)
        thread.join(0.5)
        assert switches(thread) - before <= 2


def switches(thread):
    with open(f"/proc/self/task/{thread.native_id}/status") as lines:
        return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


def test_a_job_killed_by_the_kernel_names_its_log(tmp_path):
    import file_functions

    with TestClusterExecutor(cache_directory=tmp_path / "cache") as exe:
        future = exe.submit(file_functions.end_by_signal, int(signal.SIGKILL), resource_dict={"cache_key": "k"})
        with pytest.raises(WorkerLostError, match="k_o.h5") as caught:
            future.result(SOON)
    assert "cause of death" in str(caught.value)
    assert (tmp_path / "cache" / "k" / "err.log").read_text() == "cause of death\n"
    assert (tmp_path / "cache" / "k" / "out.log").read_text() == "last words\n"
