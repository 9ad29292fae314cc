"""The bed itself: what tests of executors take for granted, and the words in which Slurm says how a job ended."""

import signal
import subprocess

import pytest
from beds.slurm import MEMORY_CGROUPS, BedError, SlurmBed, missing, missing_memory_cgroups
from beds.waiting import until

from slurm.conftest import FOREVER

NAMES = ["n1", "n2", "n3"]


# It takes half a minute until test_time_limit.py can see the end of this job, so it begins here.
pytestmark = pytest.mark.usefixtures("expiring", "expiring_calls")


def states(bed, *job_ids):
    """[(job, state, reason)] as one squeue tells them, in the order of the jobs."""
    command = ["squeue", "--noheader", "--states=all", "--format=%i %T %r", "--sort=i", f"--jobs={','.join(job_ids)}"]
    return [tuple(line.split()) for line in bed.run(*command).stdout.splitlines()]


def test_missing_program_is_named(monkeypatch):
    monkeypatch.setattr("beds.slurm.PROGRAMS", ("srun-nonesuch",))
    assert "'srun-nonesuch'" in missing()


def test_three_nodes_are_idle(slurm):
    assert slurm.node_states() == dict.fromkeys(NAMES, "IDLE")


def test_variables_are_those_of_this_process(slurm):
    nodes = subprocess.run(["sinfo", "-h", "-o", "%D"], capture_output=True, text=True, timeout=30).stdout
    assert nodes.strip() == "3"


def test_srun_on_all_nodes(slurm):
    said = slurm.run("srun", "-N3", "printenv", "SLURMD_NODENAME").stdout
    assert sorted(said.split()) == NAMES


def test_steps_inside_an_allocation(slurm):
    steps = "srun -N3 printenv SLURMD_NODENAME; srun --gres=gpu:1 -N1 -n1 printenv CUDA_VISIBLE_DEVICES"
    said = slurm.run("salloc", "-N3", "--gres=gpu:2", "sh", "-c", steps).stdout.split()
    assert (sorted(said[:3]), said[3:]) == (NAMES, ["0"])


def test_how_batch_jobs_end(slurm):
    scripts = {"echo here": "COMPLETED", "exit 3": "FAILED", "kill -9 $$": "FAILED"}
    jobs = [slurm.sbatch(script) for script in scripts]
    codes = [slurm.wait_job(job, state)["ExitCode"] for job, state in zip(jobs, scripts.values())]
    assert codes == ["0:0", "3:0", "0:9"]
    assert states(slurm, *jobs) == [
        (jobs[0], "COMPLETED", "None"),
        (jobs[1], "FAILED", "NonZeroExitCode"),
        (jobs[2], "FAILED", "JobLaunchFailure"),
    ]
    assert (slurm.folder / f"job-{jobs[0]}.out").read_text() == "here\n"
    listing = ["sacct", "--completion", "--noheader", "--parsable2", f"--jobs={jobs[1]}", "--format=jobid,state"]
    until(lambda: slurm.run(*listing).stdout.split() == [f"{jobs[1]}|FAILED"], 60, "the job in the completion log")


def test_job_array(slurm):
    job = slurm.sbatch("exit $SLURM_ARRAY_TASK_ID", "--array=0-2")
    for task, state in enumerate(["COMPLETED", "FAILED", "FAILED"]):
        assert slurm.wait_job(f"{job}_{task}", state)["ExitCode"] == f"{task}:0"
    assert sorted(states(slurm, job))[0] == (f"{job}_0", "COMPLETED", "None")


def test_dependencies(slurm):
    first = slurm.sbatch("exit 3")
    after_any = slurm.sbatch("exit 0", f"--dependency=afterany:{first}")
    after_ok = slurm.sbatch("exit 0", f"--dependency=afterok:{first}")
    gone = slurm.sbatch("exit 0", f"--dependency=afterok:{first}", "--kill-on-invalid-dep=yes")
    slurm.wait_job(after_any, "COMPLETED")
    assert slurm.wait_job(gone, "CANCELLED")["Reason"] == "DependencyNeverSatisfied"
    assert states(slurm, after_ok) == [(after_ok, "PENDING", "DependencyNeverSatisfied")]


def test_cancelled_jobs(slurm):
    running, held = slurm.sbatch(FOREVER), slurm.sbatch(FOREVER, "--hold")
    slurm.wait_begun(running)
    slurm.run("scancel", running, held)
    assert slurm.wait_job(running, "CANCELLED")["ExitCode"] == "0:15"
    assert slurm.wait_job(held, "CANCELLED")["ExitCode"] == "0:0"


def test_preempted_job(slurm):
    low = slurm.sbatch(FOREVER, "-N3", "--ntasks-per-node=4")
    slurm.wait_begun(low)
    urgent = slurm.sbatch("exit 0", "-N3", "--partition=urgent")
    assert slurm.wait_job(low, "PREEMPTED")["ExitCode"] == "0:15"
    slurm.wait_job(urgent, "COMPLETED")


def test_job_over_its_memory():
    if reason := missing() or missing_memory_cgroups():
        pytest.skip(reason)
    with SlurmBed(memory_cgroups=True) as bed:
        job = bed.sbatch("python3 -c 'import time; x = bytearray(300 << 20); time.sleep(100)'", "--mem=50")
        running = bed.sbatch(FOREVER)
        assert bed.wait_job(job, "OUT_OF_MEMORY")["ExitCode"] == "0:125"
        bed.wait_begun(running)
    assert list(MEMORY_CGROUPS.glob("slurm_n*")) == []


def test_killed_slurmd_is_noticed(impatient):
    job = impatient.sbatch(FOREVER, "--nodelist=n2", "--no-requeue")
    impatient.wait_begun(job)
    impatient.kill_slurmd(2)
    assert impatient.wait_job(job, "NODE_FAIL")["Reason"] == "NodeDown"
    assert impatient.node_states()["n2"] == "DOWN*"
    impatient.restart_slurmd(2)
    assert impatient.run("srun", "--nodelist=n2", "printenv", "SLURMD_NODENAME").stdout == "n2\n"


def test_failed_node_loses_or_requeues_its_jobs(slurm):
    lost = slurm.sbatch(FOREVER, "--nodelist=n2", "--no-requeue")
    requeued = slurm.sbatch(FOREVER, "--nodelist=n2")
    slurm.wait_begun(lost, requeued)
    slurm.fail_node(2)
    slurm.wait_job(lost, "NODE_FAIL")
    assert slurm.wait_job(requeued, "PENDING")["Restarts"] == "1"


def test_jobs_survive_a_restart_of_the_controller(slurm):
    running, held = slurm.sbatch(FOREVER), slurm.sbatch("exit 0", "--hold")
    slurm.wait_begun(running)
    # Commands that find no controller give up after this many seconds.
    slurm.configure(MessageTimeout=2)
    slurm.stop_slurmctld()
    assert "Unable to contact" in slurm.run("squeue", check=False).stderr
    slurm.start_slurmctld()
    assert [state for _, state, _ in states(slurm, running, held)] == ["RUNNING", "PENDING"]
    slurm.run("scontrol", "release", held)
    slurm.wait_job(held, "COMPLETED")


def test_options_of_the_site(slurm):
    # The task that would sleep goes with the one that fails.
    step = ["srun", "-n2", "sh", "-c", "test $SLURM_PROCID = 1 && exit 3; exec sleep 1000"]
    slurm.configure(KillOnBadExit=1)
    assert slurm.run(*step, check=False).returncode in (137, 143)


def test_reset_mends_everything(slurm):
    slurm.sbatch(FOREVER, "-N3")
    slurm.configure(KillOnBadExit=1)
    slurm.kill_slurmd(1)
    slurm.fail_node(3)
    slurm.stop_slurmctld(signal.SIGKILL)
    slurm.reset()
    assert slurm.node_states() == dict.fromkeys(NAMES, "IDLE")
    assert slurm.run("squeue", "--noheader").stdout == ""
    assert "KillOnBadExit           = 0" in slurm.run("scontrol", "show", "config").stdout


def test_two_beds_know_nothing_of_each_other(slurm):
    job = slurm.sbatch(FOREVER)
    with SlurmBed() as other:
        assert other.run("squeue", "--noheader").stdout == ""
        assert other.run("srun", "-N3", "printenv", "SLURM_CONF").stdout.split() == 3 * [
            str(other.folder / "slurm.conf")
        ]
    slurm.wait_job(job, "RUNNING")


def test_bed_that_cannot_start_says_why_and_leaves_nothing(slurm):
    bed = SlurmBed(SelectType="select/nonesuch")
    with pytest.raises(BedError, match="select/nonesuch"):
        bed.start()
    assert not bed.folder.exists()
