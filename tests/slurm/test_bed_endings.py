"""Nothing of a bed is left, however the process ends that started it."""

import os
import signal

import pytest
import support
from beds import network
from beds.slurm import missing
from beds.waiting import until

OWNER = """
import signal, sys
from beds.slurm import SlurmBed

with SlurmBed(networked=sys.argv[1] == "networked") as bed:
    # One that daemonizes, and one in a step.
    job = bed.sbatch("setsid sleep 1000 & srun sleep 1000", "-N2", "--ntasks-per-node=1")
    bed.wait_job(job, "RUNNING")
    print(bed.pid, bed.folder, bed.network._interface if bed.network else "-", flush=True)
    signal.pause()
"""


@pytest.mark.parametrize(
    ("kind", "signal_number"),
    [("plain", signal.SIGINT), ("plain", signal.SIGKILL), ("networked", signal.SIGKILL)],
    ids=lambda value: getattr(value, "name", value),
)
def test_nothing_is_left(tmp_path, kind, signal_number):
    if reason := missing() or (kind == "networked" and network.missing()):
        pytest.skip(reason)
    with support.Driver(tmp_path, OWNER, kind) as owner:
        keeper, folder, interface = owner.line().split()

        def sleepers():
            return [pid for pid in support.descendants(int(keeper)) if "sleep 1000" in support.describe(pid)]

        until(lambda: len(sleepers()) >= 2, support.SOON, "the job's processes")
        processes = [int(keeper), *support.descendants(int(keeper))]
        os.kill(owner.pid, signal_number)
        owner.process.wait(timeout=support.SOON)
        assert support.alive_after(processes, support.SOON) == []
    assert not os.path.exists(folder)
    interface_file = f"/sys/class/net/{interface}"
    until(lambda: not os.path.exists(interface_file), support.SOON, "the kernel to remove the network")
