"""Flux as seen from here: its commands, the nodes of the instance around this process, and how agents come to them.

All is done with the commands of Flux that are written in C, which start in milliseconds and serve any Python. Formats
are those of the RFCs of flux-framework.readthedocs.io: 14 (jobspec), 19 (job ids), 20 (resource sets).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from typing import NamedTuple

from executorlib._flux_sets import numbers
from executorlib._refusal import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

LIMIT_S = 60.0  # for one command
_UNLIMITED_S = (1 << 32) - 1

# What a job's environment tells of the job that this process runs in, and of the Slurm step around its instance.
OF_ANOTHER_JOB = (
    "FLUX_JOB", "FLUX_TASK", "FLUX_KVS_NAMESPACE", "FLUX_LOCAL", "FLUX_PMI", "PMI_", "PMIX_", "SLURM_STEP",
    "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_TASK_PID", "SLURM_GTIDS",
)  # fmt: skip


class Node(NamedTuple):
    """A node of an instance.

    Attributes:
        rank (int): of its broker.
        cores (int): how many it has.
        gpus (int): how many it has.
    """

    rank: int
    cores: int
    gpus: int


# ---- commands ----


def program(who: str) -> str:
    """The path of the command `flux`.

    Parameters:
        who: needs it.

    Raises:
        ModuleNotFoundError: if there is none.
    """
    found = shutil.which("flux")
    if found is None:
        raise ModuleNotFoundError(
            f"{who} needs Flux, whose command `flux` was not found in PATH. On a cluster a module may have it; "
            "install it with: conda install -c conda-forge flux-core",
            name="flux",
        )
    return found


def check_instance(who: str) -> bool:
    """Refuse a place where no Flux answers; returns whether the instance is this user's own, not the system's.

    Raises:
        ModuleNotFoundError: if there is no command `flux`.
        FileNotFoundError: if there is no instance.
    """
    program(who)
    try:
        return is_owner()
    except subprocess.CalledProcessError as error:
        uri = os.environ.get("FLUX_URI")
        looked = f"FLUX_URI={uri}, of which it says" if uri else "FLUX_URI is not set, and of a system instance it says"
        raise FileNotFoundError(
            2, f"{who} runs inside a Flux instance, and none answers: {looked}: {error.output.strip()}. Start the "
            "program with `flux start`, in a job of `flux alloc` or `flux batch`, or with `srun flux start`"
        ) from None  # fmt: skip


def run(*arguments: str, text: str = "") -> str:
    """What a command of Flux writes.

    Raises:
        subprocess.CalledProcessError: if it fails; `output` has both of its outputs.
        subprocess.TimeoutExpired: if Flux does not answer.
        FileNotFoundError: without Flux.
    """
    done = subprocess.run(["flux", *arguments], input=text, capture_output=True, text=True, timeout=LIMIT_S)
    if done.returncode != 0:
        raise CommandError(done.returncode, ["flux", *arguments], done.stdout + done.stderr)
    return done.stdout


# ---- what there is ----


def free_nodes() -> list[Node]:
    """The nodes of the instance with what is free of them, without those on which nothing is."""
    return read_resources(_unused() or run("resource", "R", "--states=free"))


def all_nodes() -> list[Node]:
    """The nodes of the instance that are up, with all that they have."""
    return read_resources(_sound() or run("resource", "R", "--states=up"))


def rank() -> str:
    """The rank of the broker of this node."""
    return run("getattr", "rank").strip()


def is_owner() -> bool:
    """Whether the instance is this user's own, as in an allocation, and not the system's."""
    return run("getattr", "security.owner").strip() == str(os.getuid())


def _unused() -> str:
    """The resources of an instance in which nothing runs and all is well; else nothing."""
    try:
        return "" if run("job", "list", "--user=all", "--states=sched,run,cleanup") else _sound()
    except subprocess.CalledProcessError:  # another user's instance does not tell
        return ""


def _sound() -> str:
    """The resources of an instance in which all is well; else nothing.

    The command that tells of any other is written in Python, and takes longer than the start of all agents.
    """
    try:
        if run("overlay", "status", "--summary").strip() != "full":
            return ""
        if " drain " in run("kvs", "eventlog", "get", "resource.eventlog"):
            return ""
        return run("kvs", "get", "resource.R")
    except subprocess.CalledProcessError:  # another user's instance does not tell
        return ""


def is_one_host() -> bool:
    """Whether all nodes of the instance are this host."""
    # Flux abbreviates names with numbers, which says as well that they are several.
    return set(run("getattr", "hostlist").strip().split(",")) == {socket.gethostname()}


def end_of_job() -> float | None:
    """When the time of the job, or instance, around this process is over, in seconds since the epoch; None for never,
    or if nobody knows."""
    try:
        left = int(run("job", "timeleft"))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return None if left >= _UNLIMITED_S else time.time() + left


def read_resources(text: str) -> list[Node]:
    """The nodes of a resource set, by rank; those without a core are left out."""
    execution = json.loads(text)["execution"]
    found = {}
    for entry in execution["R_lite"]:
        counts = {kind: len(list(numbers(ids))) for kind, ids in entry["children"].items()}
        for rank in numbers(entry["rank"]):
            found[rank] = Node(rank, counts.get("core", 0), counts.get("gpu", 0))
    return [found[rank] for rank in sorted(found) if found[rank].cores]


# ---- jobs ----


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a job inherits of this environment: nothing of another job."""
    return {name: value for name, value in environ.items() if not name.startswith(OF_ANOTHER_JOB)}


def submission(urgency: int | None, owner: bool) -> list[str]:
    """The command, after `flux`, that submits the job whose specification is its input, and writes the job's id.

    Parameters:
        urgency: from 0, to hold it, to 31; None is 16.
        owner: whether the instance is this user's own, which then need not start its validator, a Python program.
    """
    return [
        "job", "submit",
        *(["--flags=novalidate"] if owner else []),
        *([] if urgency is None else [f"--urgency={urgency}"]),
    ]  # fmt: skip


def jobspec(
    command: Sequence[str],
    *,
    cores: int,
    gpus: int = 0,
    nodes: int = 0,
    tasks: int = 1,
    exclusive: bool = False,
    environ: Mapping[str, str],
    cwd: str,
    name: str,
    duration: float = 0,
    queue: str | None = None,
    output: Mapping[str, str] | None = None,
    dependencies: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The specification of a job.

    Parameters:
        command: what each task runs.
        cores: of each task.
        gpus: of each task.
        nodes: on how many nodes there is a task, or as many as `tasks` says together; 0 to leave it to Flux.
        tasks: how many there are, on several nodes as evenly as they go, the first ones on the first node.
        exclusive: whether it has its nodes for itself.
        environ: of the tasks.
        cwd: directory in which they start.
        name: of the job.
        duration: in seconds, after which Flux ends it; 0 for no limit.
        queue: of the instance; None for its default.
        output: files for "stdout" and "stderr", which get what comes further, or one "stdout" for both; without, Flux
            keeps it. "{{id.dec}}" in their names is the job's number.
        dependencies: ids of jobs that must have succeeded before it starts.
        options: of the job's shell.
        notes: kept with the job, for who made it.
    """
    parts: list[dict[str, Any]] = [{"type": "core", "count": cores}]
    if gpus:
        parts.append({"type": "gpu", "count": gpus})
    each = -(-tasks // nodes) if nodes else tasks
    even = not nodes or each * nodes == tasks
    resources: dict[str, Any] = {"type": "slot", "count": each, "with": parts, "label": "task"}
    if nodes or exclusive:
        resources = {"type": "node", "count": nodes or 1, "with": [resources]}
        if exclusive:
            resources["exclusive"] = True
    shell: dict[str, Any] = dict(options or {})
    if output:
        shell["output"] = {
            "mode": "append",
            **{stream: {"type": "file", "path": path} for stream, path in output.items()},
        }
    system: dict[str, Any] = {
        "duration": duration,
        "cwd": cwd,
        "environment": dict(environ),
        "job": {"name": name},
        "shell": {"options": shell},
    }
    if queue:
        system["queue"] = queue
    if dependencies:
        system["dependencies"] = [{"scheme": "afterok", "value": value} for value in dependencies]
    attributes = {"system": system, **({"user": dict(notes)} if notes else {})}
    return {
        "version": 1,
        "resources": [resources],
        "tasks": [{"command": list(command), "slot": "task", "count": {"per_slot": 1} if even else {"total": tasks}}],
        "attributes": attributes,
    }
