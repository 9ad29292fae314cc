"""An agent: what runs on each node for an executor elsewhere; started once per node, with the hand-over file.

It reads the hand-over file, makes a pool of its own as an executor here would, and lets the driver use it until there
is nothing to do any more. See ARCHITECTURE.md.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import time
from array import array
from typing import Any, NoReturn

from executorlib._trust import read_private

# What tells a process that it is a task of a step: nobody's business in a call, which may start steps itself.
_OF_A_TASK = (
    "SLURM_STEP", "SLURM_SRUN", "SLURM_LAUNCH", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_TASK_PID",
    "SLURM_GTIDS", "SLURM_CPU_BIND", "SRUN_", "PMI_", "PMI2_", "PMIX_", "FLUX_TASK",
)  # fmt: skip

# What a launcher changes to tell of the step and not of the job: calls have these as the driver has them.
_OF_THE_STEP = frozenset(
    {"SLURM_CPUS_PER_TASK", "SLURM_DISTRIBUTION", "SLURM_JOB_NAME", "SLURM_KILL_BAD_EXIT", "SLURM_MPI_TYPE",
     "SLURM_NNODES", "SLURM_NPROCS", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_SUBMIT_DIR",
     "SLURM_TASKS_PER_NODE", "SLURM_UMASK", "SLURM_WAIT"}
)  # fmt: skip


def main(arguments: list[str]) -> NoReturn:
    """Serve until the driver has no more use for this agent; ends the process."""
    try:
        told = json.loads(read_private(arguments[0]))
    except FileNotFoundError:
        raise SystemExit("the program that this executorlib agent was started for has ended") from None
    except PermissionError as error:
        raise SystemExit(f"this executorlib agent does not trust its hand-over file: {error}") from None
    index = _index(arguments[1:])
    share = told["shares"][0 if told["pilot"] else index]
    _forget_step(told["environ"], in_step=not told["pilot"])
    ends = _end_of_job() if told["asks"] else told["ends"]
    node = os.environ.get("SLURMD_NODENAME")
    if told.get("flux"):
        from executorlib._flux import rank

        node = rank()
    if "FLUX_URI" in os.environ:
        from executorlib import _flux_nest

        _flux_nest.open_here(share[0])
    why = _serve(told, index, share, ends, arguments[0], node)
    if why:
        print(f"executorlib agent {index} on {os.uname().nodename}: {why}", file=sys.stderr, flush=True)
    # Whatever still runs is of no use to anybody, and ends with this process.
    os._exit(1 if why else 0)


def _index(arguments: list[str]) -> int:
    if arguments and arguments[0].startswith("+"):  # of several jobs of Flux, each counts its tasks from 0
        return int(arguments[0]) + int(os.environ["FLUX_TASK_RANK"])
    for text in (*arguments, os.environ.get("SLURM_PROCID"), os.environ.get("FLUX_TASK_RANK")):
        if text is not None:
            return int(text)
    raise SystemExit("an agent is started by srun or flux run, which tells it its number; there is none here")


def _forget_step(environ: dict[str, str], in_step: bool) -> None:
    """Make this environment that of the driver, whose variables of Slurm and Flux are given, on this node."""
    for name in list(os.environ):
        if name.startswith(_OF_A_TASK) or (in_step and name in _OF_THE_STEP):
            del os.environ[name]
    for name, value in environ.items():
        if not name.startswith(_OF_A_TASK):
            os.environ.setdefault(name, value)


def _end_of_job() -> float | None:
    """When the job around this process ends, in seconds since the epoch; None if nobody knows."""
    from executorlib import _slurm

    known = [_slurm.end_of(os.environ.get("SLURM_JOB_ID"))]
    if "FLUX_URI" in os.environ:
        from executorlib import _flux

        known.append(_flux.end_of_job())
    return min((end for end in known if end is not None), default=None)


def _serve(
    told: dict[str, Any], index: int, share: tuple[int, int], ends: float | None, file: str, node: str | None
) -> str:
    from executorlib import _core, _tls
    from executorlib._environment import zygote
    from executorlib._gpus import inventory

    _core.provide_tls(_tls.api)
    cores, calls = share
    settings = told["settings"]
    settings["needs"] = tuple(settings["needs"])
    if settings["persistent"]:
        cores = 0
    pool = _core.Pool(
        zygote=zygote().spec,
        max_cores=cores,
        max_workers=calls,
        setup=base64.b64decode(told["setup"]),
        **settings,
    )
    if settings["persistent"]:
        pool.number_workers(array("I", [index] if told["pilot"] else told["workers"][index]).tobytes())
    gpus = inventory()
    if gpus.names:
        pool.set_gpus(gpus.variable, gpus.names)
    if told["pilot"]:

        def prepare_for_end(*_: Any) -> None:
            """What has begun goes on as long as it can, and nothing else begins."""
            if not os.path.exists(file):  # the executor has ended
                os._exit(0)
            pool.set_end(0)

        for number in (signal.SIGTERM, signal.SIGALRM):  # at the time limit Flux sends the latter
            signal.signal(number, prepare_for_end)
    if ends is not None:
        pool.set_end(ends - time.time())
    why = _core.serve(
        pool,
        told["addresses"],
        port=told["port"],
        name=told["name"],
        key=bytes.fromhex(told["key"]),
        index=index,
        grace_ms=told["grace_ms"],
        cores=cores,
        calls=calls,
        gpus=len(gpus.names),
        all_cores=int(os.environ.get("SLURM_CPUS_ON_NODE", 0)),
        node=node,
    )
    if not why:
        pool.shutdown(wait=True)
    return why
