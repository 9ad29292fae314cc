"""Where the calls of an executor under a scheduler go: to the agents of its nodes, or to ranks that this one starts."""

from __future__ import annotations

from executorlib._errors import ResourceError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from executorlib._steps import Step

    Hosts = tuple[str, list[str], list[int]]


# Of the engine: all cores of a node.
_WHOLE_NODE = 2**32 - 1


class Places:
    """The nodes of an executor, as far as they decide how a scheduler starts a call.

    Parameters:
        cpus: cores of each node; none where nobody knows.

    Attributes:
        all_steps (bool): whether each call is a step of its own; there are no agents then.
        widest (int | None): cores that a call may have on one node; None if nobody knows.
        limit (int | None): cores that all calls may occupy together, where the user does not say.
    """

    #: Who starts the ranks, and what has the nodes, for messages.
    who: str
    whole: str

    def __init__(self, cpus: list[int]) -> None:
        self._cpus = cpus
        self.all_steps = False
        self._has_agents = False
        self.widest: int | None = max(cpus, default=None)
        self.limit: int | None = None

    @property
    def cpus(self) -> list[int]:
        """Cores of each node; none where nobody knows."""
        return self._cpus

    def decide(self, resources: dict[str, Any]) -> bool:
        """Whether all calls are steps, since they need `resources` unless they say otherwise.

        Raises:
            ResourceError: if the nodes cannot give them.
        """
        self.all_steps = self.step(resources) is not None
        self._has_agents = not self.all_steps
        if self.all_steps and self.cpus:
            self.limit = sum(self.cpus)
        return self.all_steps

    def step(self, resources: dict[str, Any]) -> tuple[Step, int, int] | None:
        """How the scheduler starts a call with these resources, how many cores it occupies, and on each node; None if
        an agent does.

        Raises:
            ResourceError: if the nodes cannot give them.
        """
        if not self._needs_step(resources):
            return None
        ranks, threads = resources.get("cores", 1), resources.get("threads_per_core", 1)
        gpus = resources.get("gpus_per_core", 0)
        if isinstance(gpus, float):
            raise ResourceError(f"gpus_per_core={gpus}: {self.who}, which starts this call, shares no GPUs")
        nodes = self._nodes(ranks, threads, resources.get("num_nodes"))
        step = self._step(resources, nodes, gpus)
        if step.exclusive and self.cpus:
            return step, sum(sorted(self.cpus)[-nodes:]), _WHOLE_NODE
        each = -(-ranks // max(nodes, 1)) * threads
        return step, max(nodes, 1) * each, each

    def hosts(self) -> Hosts | None:
        """A name for all nodes together, and names and cores of each; None where nobody can say."""
        raise NotImplementedError

    def _step(self, resources: dict[str, Any], nodes: int, gpus: int) -> Step:
        raise NotImplementedError

    def _needs_step(self, resources: dict[str, Any]) -> bool:
        width = resources.get("cores", 1) * resources.get("threads_per_core", 1)
        too_wide = self.widest is not None and width > self.widest
        return self.all_steps or too_wide or resources.get("num_nodes", 1) > 1

    def _nodes(self, ranks: int, threads: int, wanted: int | None) -> int:
        """On how many nodes so many ranks run, evenly spread; 0 leaves it to the scheduler."""
        if wanted is not None:
            wanted = min(wanted, ranks)  # as srun does
        if not self.cpus:
            return wanted or 0
        for nodes in [wanted] if wanted is not None else range(1, min(len(self.cpus), ranks) + 1):
            if self._room(ranks, threads, nodes):
                return nodes
        where = "" if wanted is None else f" on {wanted} node{'s' * (wanted > 1)}"
        raise ResourceError(
            f"a call needs {ranks * threads} cores{where}, {threads} for each of {ranks} ranks, but this executor has "
            f"{', '.join(map(str, self.cpus))} on its nodes: at most {max(self.cpus)} on one node"
        )

    def _room(self, ranks: int, threads: int, nodes: int) -> int:
        """How many calls like this there is room for at once, each on so many nodes."""
        width = -(-ranks // nodes) * threads
        slots = [cpus // width for cpus in self.cpus]
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
        if not self.cpus:
            return
        if workers > self.workers(resources):
            ranks, threads = resources.get("cores", 1), resources.get("threads_per_core", 1)
            raise ResourceError(
                f"{workers} workers of {ranks * threads} cores each need more than {self.whole} has: "
                f"{', '.join(map(str, self.cpus))} cores on its nodes"
            )
