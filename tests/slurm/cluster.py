"""Slurm as tests that go for all schedulers see it."""

import contextlib
import re

import pytest

from executorlib import SlurmClusterExecutor


class SlurmCluster:
    """A bed of three nodes of four cores."""

    executor_class = SlurmClusterExecutor
    kind = "slurm"
    nodes, cores = 3, 4
    #: Resources of a job that does not start before it is released.
    held = {"slurm_cmd_args": ["--hold"]}

    def __init__(self, bed):
        self.bed = bed

    def jobs(self):
        """{number: state} of those that wait or run."""
        lines = self.bed.run("squeue", "--noheader", "--array", "--format=%i %T").stdout.splitlines()
        return dict(line.split() for line in lines)

    def require_pysqa(self):
        pytest.importorskip("pysqa")

    def submitted(self):
        """How many jobs there have been; an array is one."""
        log = (self.bed.folder / "slurmctld.log").read_text()
        return len(set(re.findall(r"_slurm_rpc_submit_batch_job: JobId=(\d+)", log)))

    def cancel(self, *jobs):
        self.bed.run("scancel", *jobs)

    def release(self, job):
        self.bed.run("scontrol", "release", job)

    def give_time_to_end(self):
        """From now on a job that is told to end is not killed soon."""
        self.bed.configure(KillWait=60)

    @contextlib.contextmanager
    def closed(self):
        """No job starts here."""
        self.bed.run("scontrol", "update", "PartitionName=main", "State=DOWN")
        try:
            yield
        finally:
            self.bed.run("scontrol", "update", "PartitionName=main", "State=UP")
