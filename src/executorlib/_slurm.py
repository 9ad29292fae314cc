"""Slurm as an executor inside an allocation sees it: which nodes there are, and how an agent comes to each of them.

Names and formats of variables are those of `man srun`, "OUTPUT ENVIRONMENT VARIABLES".
"""

from __future__ import annotations

import os
import re
import shutil
from typing import NamedTuple

from executorlib._errors import ResourceError
from executorlib._fleet import Share

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


def shares(cpus: Sequence[int], *, width: int, max_cores: int | None, workers: int | None) -> list[Share]:
    """What an executor uses of each node.

    Parameters:
        cpus: processors of each node.
        width: cores that each worker has.
        max_cores: cores to use together; None for all.
        workers: workers that stay, on all nodes together; None for one process per call.

    Returns:
        One share per node; nodes at the end that get nothing are left out.

    Raises:
        ResourceError: if a worker does not fit on any node, or all of them do not fit together.
    """
    if workers is not None:
        return _with_workers(cpus, width, workers)
    found, left = [], sum(cpus) if max_cores is None else max_cores
    for count in cpus:
        found.append(Share(min(count, left)))
        left -= found[-1].cores
    return _trimmed(found)


def _with_workers(cpus: Sequence[int], width: int, workers: int) -> list[Share]:
    room = [count // width for count in cpus]
    if sum(room) < workers:
        raise ResourceError(
            f"{workers} workers of {width} cores each need more than the allocation has: {', '.join(map(str, cpus))} "
            "cores on its nodes"
        )
    # Nodes are filled evenly, so that each has its share of memory and network.
    given = [0] * len(room)
    while sum(given) < workers:
        emptiest = min((i for i in range(len(room)) if given[i] < room[i]), key=lambda i: given[i] / room[i])
        given[emptiest] += 1
    return _trimmed([Share(count * width, count) for count in given])


def _trimmed(found: list[Share]) -> list[Share]:
    """Without the nodes at the end that get nothing. One in the middle has its agent: agents are counted by node."""
    while found and not found[-1].cores:
        found.pop()
    return found


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
