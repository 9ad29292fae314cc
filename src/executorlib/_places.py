"""Where calls in a Slurm job go: to the agents of its nodes, or through an srun of their own."""

from __future__ import annotations

import os

from executorlib import _slurm
from executorlib._errors import ResourceError
from executorlib._steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Hosts = tuple[str, list[str], list[int]]


# Of the engine: all cores of a node.
_WHOLE_NODE = 2**32 - 1


class Places:
    """The nodes of an executor, as far as they decide how Slurm starts a call.

    Parameters:
        cpus: processors of each node of the allocation; none without an allocation.
        arguments: options for the srun of the agents.
        pmi_mode: the user's `--mpi` for ranks, or None.
        here: whether all nodes are this host.

    Attributes:
        all_steps (bool): whether each call is a step of its own; there are no agents then.
        widest (int | None): cores that a call may have on one node; None if nobody knows.
        limit (int | None): cores that all calls may occupy together, where the user does not say.
    """

    def __init__(
        self, cpus: list[int], arguments: Sequence[str] = (), pmi_mode: str | None = None, here: bool = False
    ) -> None:
        self._cpus = cpus
        self._arguments = list(arguments)
        self._pmi_mode = pmi_mode
        self._here = here
        self.all_steps = False
        self._has_agents = False
        self.widest: int | None = max(cpus, default=None)
        self.limit: int | None = None

    @classmethod
    def of_job(
        cls, resources: dict[str, Any], pmi_mode: str | None, localhost: bool | None, *, limited: bool
    ) -> Places:
        """For an executor whose calls need `resources` unless they say otherwise, in the allocation if there is one.

        Raises:
            ResourceError: if the allocation cannot give them.
            ValueError: without an allocation, if there is no limit either.
        """
        job = _slurm.allocation()
        cpus = [] if job is None else job.cpus
        here = bool(localhost) or (len(cpus) == 1 and "SLURMD_NODENAME" in os.environ)
        places = cls(cpus, resources.get("slurm_cmd_args", []), pmi_mode, here)
        places.all_steps = places.step(resources) is not None
        if not places.all_steps:
            places._has_agents = True
            return places
        if job is not None:
            places.limit = sum(cpus)
        elif not limited:
            raise ValueError(
                "SlurmJobExecutor needs max_cores or max_workers where there is no allocation, to know how much to ask "
                "srun for; in a job (sbatch, salloc) it uses all of it"
            )
        return places

    def step(self, resources: dict[str, Any]) -> tuple[Step, int, int] | None:
        """How srun starts a call with these resources, how many cores it occupies, and on each node; None if an agent
        does.

        Raises:
            ResourceError: if the nodes cannot give them.
        """
        if not self._needs_step(resources):
            return None
        if self._has_agents and not self._cpus:
            raise ResourceError(
                "without an allocation, the nodes of this executor are its agents' alone: for calls over several "
                "nodes or with slurm_cmd_args of their own, say so in the resource_dict of the executor, or use it in "
                "a job (sbatch, salloc)"
            )
        ranks, threads = resources.get("cores", 1), resources.get("threads_per_core", 1)
        nodes = self._nodes(ranks, threads, resources.get("num_nodes"))
        gpus = resources.get("gpus_per_core", 0)
        if isinstance(gpus, float):
            raise ResourceError(f"gpus_per_core={gpus}: srun, which starts this call, shares no GPUs")
        exclusive = resources.get("exclusive", False)
        step = Step(
            nodes=nodes,
            gpus=gpus,
            exclusive=exclusive,
            mpi=self._pmi_mode,
            arguments=tuple(resources.get("slurm_cmd_args", [])),
            here=self._here,
            inside=bool(self._cpus),
        )
        if exclusive and self._cpus:
            return step, sum(sorted(self._cpus)[-nodes:]), _WHOLE_NODE
        each = -(-ranks // max(nodes, 1)) * threads
        return step, max(nodes, 1) * each, each

    def hosts(self) -> Hosts | None:
        """The allocation's id, and names and cores of its nodes; None where nobody can say."""
        job = _slurm.allocation()
        names = [] if job is None else _slurm.node_names()
        return (job.job, names, job.cpus) if job is not None and names and len(names) == len(job.cpus) else None

    def _needs_step(self, resources: dict[str, Any]) -> bool:
        ranks = resources.get("cores", 1)
        too_wide = self.widest is not None and ranks * resources.get("threads_per_core", 1) > self.widest
        return (
            self.all_steps
            or too_wide
            or resources.get("num_nodes", 1) > 1
            or (ranks > 1 and self._pmi_mode is not None and not (self._has_agents and not self._cpus))
            or resources.get("slurm_cmd_args", []) != self._arguments
        )

    def _nodes(self, ranks: int, threads: int, wanted: int | None) -> int:
        """On how many nodes so many ranks run, evenly spread; 0 leaves it to Slurm."""
        if wanted is not None:
            wanted = min(wanted, ranks)  # as srun does
        if not self._cpus:
            return wanted or 0
        for nodes in [wanted] if wanted is not None else range(1, min(len(self._cpus), ranks) + 1):
            if self._room(ranks, threads, nodes):
                return nodes
        where = "" if wanted is None else f" on {wanted} node{'s' * (wanted > 1)}"
        raise ResourceError(
            f"a call needs {ranks * threads} cores{where}, {threads} for each of {ranks} ranks, but this executor has "
            f"{', '.join(map(str, self._cpus))} on its nodes: at most {max(self._cpus)} on one node"
        )

    def _room(self, ranks: int, threads: int, nodes: int) -> int:
        """How many calls like this there is room for at once, each on so many nodes."""
        width = -(-ranks // nodes) * threads
        slots = [cpus // width for cpus in self._cpus]
        calls = 0
        while sum(min(each, calls + 1) for each in slots) >= (calls + 1) * nodes:
            calls += 1
        return calls

    def workers(self, resources: dict[str, Any]) -> int:
        """How many persistent groups there is room for."""
        ranks, threads = resources.get("cores", 1), resources.get("threads_per_core", 1)
        return self._room(ranks, threads, self._nodes(ranks, threads, resources.get("num_nodes")))

    def check_workers(self, resources: dict[str, Any], workers: int) -> None:
        """Refuse more persistent groups than there is room for."""
        if not self._cpus:
            return
        if workers > self.workers(resources):
            ranks, threads = resources.get("cores", 1), resources.get("threads_per_core", 1)
            raise ResourceError(
                f"{workers} workers of {ranks * threads} cores each need more than the allocation has: "
                f"{', '.join(map(str, self._cpus))} cores on its nodes"
            )
