"""An allocation that a test has for itself, and what runs there of an executor."""

import contextlib
import os
import re
import signal
from pathlib import Path

import support

NAMES = ["n1", "n2", "n3"]


class Job:
    """All cores of a bed: three nodes of four. *variables* are what a batch script there would find."""

    def __init__(self, bed):
        self.bed = bed
        granted = bed.run("salloc", "--no-shell", "-N3", "--ntasks-per-node=4").stderr
        self.id = re.search(r"Granted job allocation (\d+)", granted)[1]
        self.variables = {
            "SLURM_JOB_ID": self.id,
            "SLURM_JOB_CPUS_PER_NODE": "4(x3)",
            "SLURM_NNODES": "3",
            "SLURM_NTASKS": "12",
            "SLURM_NTASKS_PER_NODE": "4",
            "SLURM_CPUS_PER_TASK": "1",
        }

    def processes(self):
        """Pids of agents and of all they have started."""
        agents = self.agents().values()
        return [*agents, *(pid for agent in agents for pid in support.descendants(agent))]

    def agents(self):
        """{node: pid}"""
        found = {}
        for pid in support.descendants(self.bed.pid):
            if "executorlib._agent" in _command(pid) and not support.is_zombie(pid):
                found[node_of(pid)] = pid
        return found

    def kill_agent(self, node):
        os.kill(self.agents()[node], signal.SIGKILL)

    def steps(self):
        """Ids of the steps that it has had."""
        logs = "".join(log.read_text() for log in self.bed.folder.glob("slurmd.*.log"))
        return set(re.findall(rf"launch task StepId=({self.id}\.\d+)", logs))


def node_of(pid):
    """The node on which a process runs."""
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if entry.startswith(b"SLURMD_NODENAME="):
                return entry.partition(b"=")[2].decode()
    return None


def by_node(executor, gate, count=3):
    """Submit a call for each node, which waits at the gate; {node: future}."""
    futures = {}
    for _ in range(count):
        future = gate.submit(executor)
        (pid,) = gate.arrival()
        futures[node_of(pid)] = future
    return futures


def _command(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""
