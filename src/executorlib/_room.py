"""Room for a module session where calls run elsewhere: a call of the executor holds it, and runs an agent in it.

    session  --hand-over file-->  call (has cores and GPUs, or is a batch job)  -->  agent  -->  the session's worker
    session  <============================= TLS =============================>  agent

So the room is found, limited and ended as that of any other call.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

from executorlib._errors import ResourceError
from executorlib._fleet import Fleet, Share, agent_command, write_privately
from executorlib._pool import PoolExecutor
from executorlib._trust import read_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future
    from typing import Any

    from executorlib import _core

# What the session's worker is made with; the other keys are for the call that holds its room …
_OF_WORKER = frozenset({"cores", "threads_per_core", "gpus_per_core", "openmpi_oversubscribe", "cwd", "error_log_file"})
# … but not these, which are of the calls of the session, or of none of both.
_OF_CALL = frozenset({"cache_key", "cwd", "error_log_file"})


def session_elsewhere(
    submit: Callable[[str], Future],
    init_function: Callable,
    resources: dict[str, Any],
    *,
    here: bool,
    allow_futures: bool,
    log_obj_size: bool = False,
    timeline: str | None = None,
) -> PoolExecutor:
    """An executor with one persistent worker, in the room that a call holds; see `Room` for the parameters."""
    return PoolExecutor(
        resources={key: value for key, value in resources.items() if key in _OF_WORKER},
        accepts=lambda _: None,
        persistent=True,
        max_workers=1,
        max_cores=None,
        init_function=init_function,
        restart_limit=0,
        allow_futures=allow_futures,
        log_obj_size=log_obj_size,
        info={},
        fleet=Room(submit, resources, here),
        timeline=timeline,
    )


class Room(Fleet):
    """One node with one agent, which a call brings there.

    Parameters:
        submit: submits that call, `hold` with these arguments; returns its future.
        resources: of the session's only worker.
        here: whether the call runs on this host.
    """

    def __init__(self, submit: Callable[[str], Future], resources: Mapping[str, Any], here: bool) -> None:
        width = resources.get("cores", 1) * resources.get("threads_per_core", 1)
        super().__init__((), [Share(width, 1)], room=[1], here=here)
        self._submit: Callable[[str], Future] | None = submit
        self.holder: Future | None = None

    def launch(self, pool: _core.Pool, setup: bytes, **settings: Any) -> None:
        assert self._submit is not None
        file = write_privately(self.hand_over(pool, setup, settings))
        try:
            self.holder = self._submit(file)
        except BaseException:
            os.unlink(file)
            raise
        self._submit = None  # it refers to the executor, which may be garbage before its sessions
        self.holder.add_done_callback(lambda holder: _room_is_gone(pool, holder, file))


def hold(file: str) -> int:
    """The call: be there for as long as the agent is, whose exit status it returns. Of several ranks the first does."""
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is not None and mpi.COMM_WORLD.rank > 0:
        return 0
    told = read_private(file)
    os.unlink(file)
    return subprocess.run([*agent_command("/dev/stdin"), "0"], input=told, text=True).returncode


def resources_of_holder(resources: Mapping[str, Any]) -> dict[str, Any]:
    """What the call asks for, so that all of it is on one node and none of it is told to MPI.

    Raises:
        ResourceError: for parts of GPUs that make no whole ones.
    """
    cores, gpus = resources.get("cores", 1), resources.get("gpus_per_core", 0)
    if isinstance(gpus, float) and cores > 1:
        if not (cores * gpus).is_integer():
            raise ResourceError(f"{cores} ranks with gpus_per_core={gpus} each need whole GPUs together")
        gpus = int(cores * gpus)
    elif cores > 1:
        gpus *= cores
    asked = {key: value for key, value in resources.items() if key not in _OF_CALL}
    asked |= {"cores": 1, "threads_per_core": cores * resources.get("threads_per_core", 1)}
    return {**asked, "gpus_per_core": gpus} if gpus else asked


def _room_is_gone(pool: _core.Pool, holder: Future, file: str) -> None:
    with suppress(OSError):
        os.unlink(file)
    if holder.cancelled():
        why = "its room was cancelled"
    elif (error := holder.exception()) is not None:
        why = f"there was no room for it: {error}"
    else:
        why = "its agent has ended"
    # What a launcher says last is what the session's calls fail with; those of an agent that was there have failed.
    with suppress(RuntimeError, OSError):
        pool.launch(["/bin/sh", "-c", 'printf %s "$0" >&2; exit 1', why], [], None)
