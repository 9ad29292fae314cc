"""Calls that Flux starts: each is a job, on one node or several, which is submitted when the call begins.

    head  --  _flux_launcher.py  --jobspec-->  job: the shell of each node, which wires MPI  -->  ranks

Flux's scheduler decides where a job runs. Only where agents of this program hold the cores, as the job that they are
tasks of, would it wait for ever: there the job takes its cores from them, by Flux's plugin `alloc-bypass`, and the
ledger of the program (sched/hosts.h) keeps both apart.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from weakref import WeakSet

from executorlib import _flux
from executorlib._environment import interpreter
from executorlib._errors import ResourceError
from executorlib._places import Places
from executorlib._steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from executorlib._places import Hosts
    from executorlib._pool import PoolExecutor
    from executorlib._resources import Request

_PLUGIN = "alloc-bypass.so"

# The head ends the others when a rank has gone, and says which. Flux does it later, for a rank that never came to its
# head: at once, the head might hear of the others' end first. stdin is nobody's; each rank has GPUs of its own.
_OPTIONS: dict[str, Any] = {
    "exit-timeout": "10s",
    "gpu-affinity": "per-task",
    "input": {"stdin": {"type": "file", "path": os.devnull}},
}
_BATCH_TIMEOUT_S = 0.1  # by default output is collected for half a second

# Seconds from the start of a job to that of its call, and from the end of the call's time to its own, at most. Flux
# then ends what this program did not.
_MARGIN = 60


# What tells a rank of its job, once MPI has started.
_OF_THE_JOB = ("FLUX_JOB", "FLUX_TASK", "FLUX_KVS_NAMESPACE", "FLUX_TERMINUS")


@dataclass(frozen=True)
class FluxStep(Step):
    """One job.

    Attributes:
        urgency (int | None): of the job; None is Flux's default.
        duration (float): seconds after which Flux ends it; 0 for no limit.
        owner (bool): whether the instance is this user's own.
        beside (bool): whether it shares the cores of its nodes with jobs there.
        log_directory (str | None): of files for what its ranks write.
    """

    urgency: int | None
    duration: float
    owner: bool
    beside: bool
    log_directory: str | None

    name = "the Flux job"
    nodelist = (4, "--ranks=")
    ending_ms = 10_000  # killed before it has cancelled the job, it would leave that in the queue

    def setup(self, request: Request, rank: Sequence[str]) -> dict[str, Any]:
        told = super().setup(request, rank)
        return {**told, "flux": True, "job": (*told["job"], *_OF_THE_JOB)}

    def command(self, request: Request) -> list[str]:
        if request.ranks > 1:
            from executorlib._mpi import library

            library()
        plan: dict[str, Any] = {
            "submit": _flux.submission(self.urgency, self.owner),
            "specifications": [self.jobspec(request)],
        }
        if self.beside:
            each = -(-request.ranks // self.nodes)
            plan["beside"] = {"cores": each * request.threads, "gpus": each * self.gpus}
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_flux_launcher.py")
        return [interpreter()[0], "-I", "-S", program, json.dumps(plan)]

    def jobspec(self, request: Request) -> dict[str, Any]:
        """The specification of the job; command and environment are the launcher's."""
        options: dict[str, Any] = {**_OPTIONS, "output": self._output()}
        if request.ranks == 1:
            options["pmi"] = "off"
        elif self.mpi is not None:
            options["pmi"] = self.mpi
        if self.beside:
            options["cpu-affinity"] = "off"  # which cores it has is for the kernel to say
        return _flux.jobspec(
            [],
            cores=request.threads,
            gpus=self.gpus,
            nodes=self.nodes,
            tasks=request.ranks,
            exclusive=self.exclusive,
            environ={},
            cwd=request.cwd or os.getcwd(),
            name="executorlib",
            duration=self.duration,
            options=options,
        )

    def _output(self) -> dict[str, Any]:
        if self.log_directory is None:
            return {"batch-timeout": _BATCH_TIMEOUT_S}
        path = os.path.join(self.log_directory, "flux_").replace("{{", "{{{{") + "{{id.f58plain}}"
        return {
            "mode": "append",
            "stdout": {"type": "file", "path": path + ".out"},
            "stderr": {"type": "file", "path": path + ".err"},
        }

    def describe(self, request: Request) -> str:
        return f"Flux, whose shell was to tell them of each other by pmi={self.mpi or 'simple'} (pmi_mode),"

    def unwanted(self) -> tuple[str, ...]:
        return _flux.OF_ANOTHER_JOB


class FluxPlaces(Places):
    """The nodes of an executor in a Flux instance.

    Parameters:
        pmi_mode: option `pmi` of Flux's shell, or None.
        localhost: whether all nodes are this host.
        persistent: whether ranks stay for many calls.
        log_files: whether Flux writes what ranks write into files.
    """

    who = "Flux"
    whole = "the Flux instance"

    def __init__(self, pmi_mode: str | None, localhost: bool | None, *, persistent: bool, log_files: bool) -> None:
        super().__init__([])
        self._owner = _flux.check_instance("FluxJobExecutor")
        self._pmi_mode = pmi_mode
        self._here = bool(localhost)
        self._persistent = persistent
        self._log_files = log_files
        self._nodes_there: list[_flux.Node] | None = None
        self._beside = False

    @property
    def nodes_there(self) -> list[_flux.Node]:
        """The nodes of the instance, which are asked for when a call first needs them."""
        if self._nodes_there is None:
            self._nodes_there = _flux.all_nodes()
        return self._nodes_there

    @property
    def cpus(self) -> list[int]:
        return [node.cores for node in self.nodes_there]

    def decide(self, resources: dict[str, Any]) -> bool:
        if resources.get("cores", 1) * resources.get("threads_per_core", 1) > 1:
            self.widest = max(self.cpus)
        if super().decide(resources):
            self._beside = self._owner and (_any_with_agents() or not self._fits_now(resources))
        else:
            self._beside = True
        if self.all_steps and self._beside:
            _load_plugin()
        return self.all_steps

    def step(self, resources: dict[str, Any]) -> tuple[Step, int, int] | None:
        found = super().step(resources)
        if found is not None and self._has_agents:
            _load_plugin()
        return found

    def hosts(self) -> Hosts | None:
        if not self._owner:
            return None
        return os.environ["FLUX_URI"], [str(node.rank) for node in self.nodes_there], self.cpus

    def _fits_now(self, resources: dict[str, Any]) -> bool:
        """Whether a call has room beside what runs in the instance."""
        ranks, threads = resources.get("cores", 1), resources.get("threads_per_core", 1)
        nodes = self._nodes(ranks, threads, resources.get("num_nodes"))
        each = -(-ranks // nodes) * threads
        return sum(node.cores >= each for node in _flux.free_nodes()) >= nodes

    def _step(self, resources: dict[str, Any], nodes: int, gpus: int) -> FluxStep:
        if self._has_agents and not self._owner:
            raise ResourceError(
                "in an instance of another user, the cores of this executor are its agents' alone: for calls over "
                "several nodes, say so in the resource_dict of the executor, or use it in a job (flux alloc)"
            )
        if not 0 <= resources.get("priority", 16) <= 31:
            raise ResourceError(f"priority is Flux's urgency, from 0 to 31, not {resources['priority']}")
        each = -(-resources.get("cores", 1) // nodes) * gpus
        few = min(self.nodes_there, key=lambda node: node.gpus)
        if self._beside and few.gpus < each:
            raise ResourceError(
                f"a call needs {each} GPUs on each node, but Flux has {few.gpus} on that of rank {few.rank}"
            )
        return FluxStep(
            nodes=nodes,
            gpus=gpus,
            # Nobody counts the GPUs of a node together with its agents.
            exclusive=resources.get("exclusive", False) or bool(self._beside and gpus),
            mpi=self._pmi_mode,
            here=self._here,
            urgency=resources.get("priority"),
            duration=0 if self._owner or self._persistent else self._duration(resources),
            owner=self._owner,
            beside=self._beside,
            log_directory=self._log_directory(resources) if self._log_files else None,
        )

    def _duration(self, resources: dict[str, Any]) -> float:
        limit = resources.get("run_time_max", 0)
        return limit and limit + _MARGIN

    def _log_directory(self, resources: dict[str, Any]) -> str:
        directory = os.path.abspath(resources.get("cwd") or os.getcwd())
        os.makedirs(directory, exist_ok=True)
        return directory


# ---- the executors of this program ----

_executors: WeakSet[PoolExecutor] = WeakSet()


def register(executor: PoolExecutor) -> None:
    """Let later executors of this program know of this one."""
    _executors.add(executor)


def any_with_jobs() -> bool:
    """Whether another executor's calls are jobs: agents that come now are not to hold the cores that those wait for."""
    return any(executor.all_steps for executor in _executors if executor.info is not None)


def _any_with_agents() -> bool:
    return any(not executor.all_steps for executor in _executors if executor.info is not None)


_loaded: set[str] = set()


def _load_plugin() -> None:
    """Have this user's instance take jobs that say which cores they have."""
    uri = os.environ.get("FLUX_URI", "")
    if uri in _loaded:
        return
    try:
        _flux.run("jobtap", "load", _PLUGIN)
    except subprocess.CalledProcessError as error:
        if "already loaded" not in error.output:
            raise ResourceError(
                f"calls over several nodes, beside the agents of an executor, need Flux's plugin {_PLUGIN}, which "
                f"cannot be loaded: {error.output.strip()}. Say in the resource_dict of the executor what calls need"
            ) from None
    _loaded.add(uri)
