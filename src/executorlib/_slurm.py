"""Slurm as an executor inside an allocation sees it: which nodes there are, and how an agent comes to each of them.

Names and formats of variables are those of `man srun`, "OUTPUT ENVIRONMENT VARIABLES".
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import time
from typing import NamedTuple

from executorlib._errors import ResourceError
from executorlib._fleet import Share, spread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LIMIT = 60  # seconds for a question to Slurm
_SOON = 3  # … for one without whose answer an executor is of use

# Variables of this process in which srun finds options: ours are said in the command line, and these would come on top
# (a number of processors per task makes a step exclusive, for one).
_OPTIONS_OF_SRUN = (
    "SLURM_CPUS_PER_TASK", "SLURM_DISTRIBUTION", "SLURM_EXACT", "SLURM_EXCLUSIVE", "SLURM_GPUS_PER_TASK",
    "SLURM_NPROCS", "SLURM_NTASKS", "SLURM_NTASKS_PER_CORE", "SLURM_NTASKS_PER_NODE", "SLURM_NTASKS_PER_SOCKET",
    "SLURM_OVERLAP", "SLURM_SPREAD_JOB", "SLURM_THREADS_PER_CORE", "SLURM_THREAD_SPEC", "SLURM_TRES_PER_TASK",
    "SLURM_WORKING_DIR", "SLURM_STEP_", "SLURM_PROCID", "SLURM_LOCALID", "SRUN_",
)  # fmt: skip

# One step with one agent on each node. It shares the allocation with all other steps (--overlap), reads no stdin, and
# takes no part in MPI. The loss of one agent is ours to deal with, whatever the site thinks: neither a node that fails,
# nor an agent that ends with an error, nor one that ends early ends the others.
_AGENTS = (
    "--ntasks-per-node=1",
    "--overlap",
    "--no-kill",
    "--kill-on-bad-exit=0",
    "--wait=0",
    "--mpi=none",
    "--input=none",
    "--cpu-bind=none",
    "--distribution=block",
    "--job-name=executorlib",
    "--export=ALL",
)


class Allocation(NamedTuple):
    """The job that this process is part of.

    Attributes:
        job (str): its id.
        cpus (list[int]): processors of the job on each of its nodes, in Slurm's order.
    """

    job: str
    cpus: list[int]


def allocation(environ: Mapping[str, str] | None = None) -> Allocation | None:
    """The allocation around this process, or None."""
    environ = os.environ if environ is None else environ
    job = environ.get("SLURM_JOB_ID")
    per_node = environ.get("SLURM_JOB_CPUS_PER_NODE")
    return Allocation(job, repeated(per_node)) if job and per_node else None


def node_names() -> list[str]:
    """Names of the allocation's nodes, in the order of their processors; none where Slurm does not say."""
    nodes = os.environ.get("SLURM_JOB_NODELIST") or _said(
        "squeue", "--noheader", "--format=%N", "--jobs=" + os.environ["SLURM_JOB_ID"]
    )
    return _said("scontrol", "show", "hostnames", nodes.strip()).split() if nodes.strip() else []


def _said(name: str, *arguments: str) -> str:
    try:
        return subprocess.run(
            [name, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LIMIT, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def repeated(text: str) -> list[int]:
    """Numbers in Slurm's notation.

    Example:
        >>> repeated("4(x3),2")
        [4, 4, 4, 2]
    """
    numbers = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
        if match is None:
            raise ValueError(f"{text!r} is not a list of numbers as Slurm writes it")
        numbers += [int(match[1])] * int(match[2] or 1)
    return numbers


def shares(cpus: Sequence[int], *, max_cores: int | None, max_calls: int | None) -> list[Share]:
    """What an executor with one process per call uses of each node.

    Parameters:
        cpus: processors of each node.
        max_cores: cores to use together; None for all.
        max_calls: calls to run at once, on all nodes together; None for as many as there are cores for.

    Returns:
        One share per node; nodes at the end that get nothing are left out.
    """
    cores, left = [], sum(cpus) if max_cores is None else max_cores
    for count in cpus:
        cores.append(min(count, left))
        left -= cores[-1]
    calls = [0] * len(cores)
    if max_calls is not None and max_calls < sum(cores):
        calls = spread(cores, max_calls)
        cores = [count if some else 0 for count, some in zip(cores, calls, strict=True)]
    found = [Share(*share) for share in zip(cores, calls, strict=True)]
    # One in the middle that gets nothing has its agent: agents are counted by node.
    while found and not found[-1].cores:
        found.pop()
    return found


def check_room(cpus: Sequence[int], room: Sequence[int], workers: int, width: int) -> None:
    """Refuse more persistent workers than there is room for."""
    if workers > sum(room):
        raise ResourceError(
            f"{workers} workers of {width} cores each need more than the allocation has: {', '.join(map(str, cpus))} "
            "cores on its nodes"
        )


def nodes_for(cores: int, width: int, per_node: int | None) -> list[int]:
    """What to ask Slurm for: processors on each of as many nodes as it takes.

    Parameters:
        cores: processors together.
        width: how many of them a call has, all on one node.
        per_node: how many a node has; None if nobody knows.

    Example:
        >>> nodes_for(9, 2, 4)
        [4, 4, 4]
    """
    most = cores if per_node is None else max(per_node // width, 1) * width
    nodes = -(-cores // most)
    even = -(-cores // nodes)
    return [min(-(-even // width) * width, most)] * nodes


def agent_launcher(nodes: int, *, inside: bool, cores: int = 0, arguments: Sequence[str] = ()) -> list[str]:
    """The command that starts one agent on each of so many nodes.

    Parameters:
        nodes: how many.
        inside: whether there is an allocation; else srun asks for one, with `cores` processors on each node.
        arguments: of the user's, for srun.

    Raises:
        FileNotFoundError: without srun.
    """
    program = shutil.which("srun")
    if program is None:
        raise FileNotFoundError(
            "Slurm's srun was not found in PATH: is this a machine under Slurm, and its module loaded?"
        )
    command = [program, f"--nodes={nodes}", f"--ntasks={nodes}", *_AGENTS]
    if not inside:
        command.remove("--overlap")
        command.append(f"--cpus-per-task={cores}")
    return [*command, *arguments]


def launcher_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for srun when it starts agents: without what concerns this process as a task, or its tasks."""
    return {name: value for name, value in environ.items() if not name.startswith(_OPTIONS_OF_SRUN)}


def cores_per_node(arguments: Sequence[str]) -> int | None:
    """Processors that each node has where srun would go without an allocation: the fewest; None if nobody knows.

    Parameters:
        arguments: of the user's, for srun; a partition among them counts.
    """
    program = shutil.which("sinfo")
    if program is None:
        return None
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-p", "--partition", default=os.environ.get("SLURM_PARTITION"))
    partition = parser.parse_known_args(list(arguments))[0].partition
    command = [program, "--noheader", "--exact", "--format=%c %P"]
    try:
        said = subprocess.run(
            command + ([f"--partition={partition}"] if partition else []),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LIMIT, check=True,
        ).stdout  # fmt: skip
        counts = [line.split() for line in said.splitlines()]
        return min(int(count) for count, name in counts if partition or name.endswith("*"))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def end_of(job: str | None) -> float | None:
    """When the job around this process reaches its time limit, in seconds since the epoch; None if nobody knows."""
    told = os.environ.get("SLURM_JOB_END_TIME", "")  # of later releases
    if told.isdecimal():
        return float(told)
    program = shutil.which("squeue")
    if program is None or not job:
        return None
    try:
        said = subprocess.run(
            [program, "--noheader", "--format=%L", f"--jobs={job}"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SOON, check=True,
        ).stdout  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    left = seconds(said.strip())
    return None if left is None else time.time() + left


def seconds(text: str) -> float | None:
    """A duration in Slurm's notation; None for "UNLIMITED" and the like.

    Example:
        >>> seconds("1-02:03:04")
        93784.0
    """
    match = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)", text)
    if match is None:
        return None
    days, hours, minutes, rest = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + rest)
