"""The agents of an executor as tasks of Flux jobs: one job for all nodes of which equally much is used.

    nodes of the instance  -->  shares  -->  jobspecs  -->  _flux_launcher.py, which submits them  -->  jobs

Where others have what an executor needs, most of all other executors of the same program, its agents run beside them,
by `flux exec`: as a job it would wait for their end, maybe for ever.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from contextlib import suppress
from itertools import groupby

from executorlib import _flux
from executorlib._environment import interpreter
from executorlib._fleet import Fleet, Share, spread
from executorlib._slurm import check_room, shares

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from executorlib import _core

# A task of an agents' job is nobody's MPI rank, and the loss of one agent is no reason to end the others.
_OPTIONS = {"exit-timeout": "none", "pmi": "off", "mpi": "none"}


class FluxFleet(Fleet):
    """The nodes of a Flux instance on which an executor runs its calls.

    Parameters:
        nodes: what to reserve on each node.
        shares: what the executor may use of each, in the same order.
        room: with persistent workers, how many of them each node has room for.
        here: whether all nodes are this host.
        beside: whether to reserve nothing, but to share these nodes with the jobs on them.
        owner: whether the instance is this user's own.
        resources: of the executor: `cwd`, `exclusive`, and `priority`, which is the urgency of its jobs.
        flux_executor: a `flux.job.FluxExecutor` that submits the jobs; None to do so without.
        nesting: whether each worker that uses Flux has an instance of its own.
        log_files: whether Flux writes what the agents and their workers write into files, flux_0.out and flux_0.err
            in the working directory, and so on for further jobs.

    Raises:
        OSError: when the hand-over file cannot be written.
    """

    def __init__(
        self,
        nodes: Sequence[_flux.Node],
        shares: Sequence[Share],
        *,
        room: Sequence[int],
        here: bool,
        beside: bool = False,
        owner: bool,
        resources: dict[str, Any],
        flux_executor: Any = None,
        nesting: bool = False,
        log_files: bool = False,
    ) -> None:
        own = {"EXECUTORLIB_FLUX_NESTING": "1"} if nesting else {}
        super().__init__([], shares, room=room, environ={**_flux.environment(os.environ), **own}, here=here)
        self._nodes = nodes
        self._beside = beside
        self._owner = owner
        self._resources = resources
        self._flux_executor = flux_executor
        self._log_files = log_files
        self._door = ""

    def launch(self, pool: _core.Pool, setup: bytes, **settings: Any) -> None:
        """Start the agents of `pool`; returns when their jobs are in the queue, where the next executor sees them."""
        with socket.socket(socket.AF_UNIX) as door:
            door.bind("")
            door.listen(1)
            door.settimeout(_flux.LIMIT_S)
            self._door = door.getsockname()[1:].decode()
            super().launch(pool, setup, **settings)
            with suppress(TimeoutError):
                _await_end(door)

    def hand_over(self, pool: _core.Pool, setup: bytes, settings: dict[str, Any], **changes: Any) -> str:
        return super().hand_over(pool, setup, settings, flux=True, **changes)

    def _command(self, agent: list[str]) -> list[str]:
        """What starts the agents, and stands for them."""
        plan: dict[str, Any] = {
            "parent": os.getpid(), "door": self._door, "jobs": [], "specifications": [], "commands": []
        }  # fmt: skip
        urgency = self._resources.get("priority")
        plan["submit"] = _flux.submission(urgency, self._owner)
        if self._beside:
            plan["commands"] = [
                ["flux", "exec", "--noinput", f"--rank={node.rank}", *agent, str(number)]
                for number, node in enumerate(self._nodes)
            ]
        else:
            specifications = [self._jobspec(agent, number, *group) for number, group in enumerate(_alike(self._nodes))]
            if self._flux_executor is None:
                plan["specifications"] = specifications
            else:
                plan["jobs"] = [self._submit(specification, urgency) for specification in specifications]
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_flux_launcher.py")
        return [interpreter()[0], "-I", "-S", program, json.dumps(plan)]

    def _jobspec(self, agent: list[str], number: int, first: int, count: int, node: _flux.Node) -> dict[str, Any]:
        output = {}
        if self._log_files:
            directory = os.path.abspath(self._resources.get("cwd") or os.getcwd())
            os.makedirs(directory, exist_ok=True)
            output = {kind: os.path.join(directory, f"flux_{number}.{kind[3:]}") for kind in ("stdout", "stderr")}
        return _flux.jobspec(
            [*agent, f"+{first}"],
            cores=node.cores,
            gpus=node.gpus,
            nodes=count,
            tasks=count,
            exclusive=self._resources.get("exclusive", False),
            environ={},  # the launcher's
            cwd=os.getcwd(),
            name="executorlib",
            output=output,
            options=_OPTIONS,
        )

    def _submit(self, specification: dict[str, Any], urgency: int | None) -> str:
        """Have the user's object submit a job; returns its id."""
        specification["attributes"]["system"]["environment"] = self._environ
        chosen = {} if urgency is None else {"urgency": urgency}
        return str(int(self._flux_executor.submit(json.dumps(specification), **chosen).jobid()))


def fleet_for(
    resources: dict[str, Any],
    max_workers: int | None,
    max_cores: int | None,
    persistent: bool,
    localhost: bool | None,
    *,
    beside: bool = False,
    **options: Any,
) -> FluxFleet:
    """The nodes of an executor, with an agent to come on each, which holds no cores of the instance if `beside`.

    Raises:
        ModuleNotFoundError: if there is no command `flux`.
        FileNotFoundError: if there is no instance.
        ResourceError: for more workers than there is room for.
    """
    owner = _flux.check_instance("FluxJobExecutor")
    beside = beside and owner
    free = _flux.all_nodes() if beside else _flux.free_nodes()
    width = resources.get("cores", 1) * resources.get("threads_per_core", 1)
    wanted = (max_workers or 1) * width if persistent else min(width, max_cores or width)
    if not free or sum(_room(free, width, resources)) * width < wanted:
        free, beside = _flux.all_nodes(), owner
    # Jobs are given the nodes with most room first, so this is the order in which the agents come.
    free.sort(key=lambda node: (-node.cores, -node.gpus, node.rank))
    cores = [node.cores for node in free]
    room = _room(free, width, resources)
    if persistent:
        check_room(cores, room, max_workers or 1, width)
        counts = spread(room, max_workers or 1)
        nodes = [
            node._replace(cores=node.cores if resources.get("exclusive") else count * width)
            for node, count in zip(free, counts, strict=True)
            if count
        ]
        given = [Share(node.cores, count) for node, count in zip(free, counts, strict=True) if count]
        room = [room for room, count in zip(room, counts, strict=True) if count]
    else:
        given = shares(cores, max_cores=max_cores, max_calls=max_workers)
        nodes = [node._replace(cores=share.cores) for node, share in zip(free, given, strict=False) if share.cores]
        given = [share for share in given if share.cores]
        room = []
    here = bool(localhost) or _flux.is_one_host()
    fleet = FluxFleet(nodes, given, room=room, here=here, beside=beside, owner=owner, resources=resources, **options)
    if owner and not persistent:
        fleet.job = os.environ["FLUX_URI"], [str(node.rank) for node in free], cores
    return fleet


def _room(nodes: Sequence[_flux.Node], width: int, resources: dict[str, Any]) -> list[int]:
    """How many workers of this width each node has room for."""
    return [min(node.cores // width, 1 if resources.get("exclusive") else node.cores) for node in nodes]


def _await_end(door: socket.socket) -> None:
    """Until the process of this user that connects is done with that; a name without a file is open to everybody.

    Raises:
        TimeoutError: if there is none within the socket's limit.
    """
    while True:
        caller, _ = door.accept()
        with caller:
            _, user, _ = struct.unpack("3i", caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if user == os.geteuid():
                caller.recv(1)
                return


def _alike(nodes: Sequence[_flux.Node]) -> list[tuple[int, int, _flux.Node]]:
    """Runs of nodes of which equally much is used: index of the first, how many, and what is used of each."""
    found, first = [], 0
    for node, run in groupby(node._replace(rank=0) for node in nodes):
        count = len(list(run))
        found.append((first, count, node))
        first += count
    return found
