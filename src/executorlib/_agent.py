"""An agent: what runs on each node for an executor elsewhere. `python -m executorlib._agent FILE`, once per node.

It reads the hand-over file, makes a pool of its own as an executor here would, and lets the driver use it until there
is nothing to do any more. See ARCHITECTURE.md.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from typing import Any, NoReturn

# What the launcher has told this process about its own step: nobody's business in a call, which may start steps itself.
_OF_THE_STEP = ("SLURM_STEP", "SLURM_SRUN", "SLURM_LAUNCH", "SLURM_UMASK", "PMI_", "PMI2_", "PMIX_", "FLUX_TASK")
_OF_THE_STEP_EXACTLY = frozenset(
    {"SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_TASK_PID", "SLURM_GTIDS", "SLURM_TASKS_PER_NODE",
     "SLURM_NTASKS", "SLURM_NPROCS", "SLURM_NTASKS_PER_NODE", "SLURM_DISTRIBUTION", "SLURM_CPU_BIND"}
)  # fmt: skip


def main(arguments: list[str]) -> NoReturn:
    """Serve until the driver has no more use for this agent; ends the process."""
    with open(arguments[0], encoding="utf-8") as file:
        told = json.load(file)
    index = _index(arguments[1:])
    _forget_step()
    why = _serve(told, index)
    if why:
        print(f"executorlib agent {index} on {os.uname().nodename}: {why}", file=sys.stderr, flush=True)
    # Whatever still runs is of no use to anybody, and ends with this process.
    os._exit(1 if why else 0)


def _index(arguments: list[str]) -> int:
    for text in (*arguments, os.environ.get("SLURM_PROCID"), os.environ.get("FLUX_TASK_RANK")):
        if text is not None:
            return int(text)
    raise SystemExit("an agent is started by srun or flux run, which tells it its number; there is none here")


def _forget_step() -> None:
    for name in list(os.environ):
        if name.startswith(_OF_THE_STEP) or name in _OF_THE_STEP_EXACTLY:
            del os.environ[name]


def _serve(told: dict[str, Any], index: int) -> str:
    from executorlib import _core, _tls
    from executorlib._environment import zygote
    from executorlib._gpus import inventory

    _core.provide_tls(_tls.api)
    cores, workers = told["shares"][index]
    settings = told["settings"]
    settings["needs"] = tuple(settings["needs"])
    pool = _core.Pool(
        zygote=zygote().spec,
        max_cores=0 if workers else cores,
        max_workers=workers,
        setup=base64.b64decode(told["setup"]),
        **settings,
    )
    gpus = inventory()
    if gpus.names:
        pool.set_gpus(gpus.variable, gpus.names)
    why = _core.serve(
        pool,
        told["addresses"],
        port=told["port"],
        name=told["name"],
        key=bytes.fromhex(told["key"]),
        index=index,
        grace_ms=told["grace_ms"],
        cores=workers or cores,
        gpus=len(gpus.names),
    )
    if not why:
        pool.shutdown(wait=True)
    return why


if __name__ == "__main__":
    main(sys.argv[1:])
