"""Calls that Slurm starts, each through one srun, as a step of the allocation."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass

from executorlib import _slurm
from executorlib._errors import ResourceError
from executorlib._places import Places
from executorlib._slurm import launcher_environ
from executorlib._steps import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from executorlib._places import Hosts
    from executorlib._resources import Request

_LIMIT = 60  # seconds for a question to Slurm

# How srun can tell ranks of each other, the best first, by the family of their MPI.
_PROTOCOLS = {"MPICH": ("pmi2", "pmix"), "Open MPI": ("pmix", "pmi2")}

# srun started a second, all programs of a user on a host together, and how many at once before that counts.
_RATE, _BURST = 25.0, 16
_RATE_VARIABLE = "EXECUTORLIB_SRUN_RATE"

# A rank that ends early ends the step, and no other does for its sake alone; stdin is nobody's.
_ALWAYS = ("--kill-on-bad-exit=1", "--wait=0", "--input=none", "--export=ALL", "--job-name=executorlib")


@dataclass(frozen=True)
class SlurmStep(Step):
    """One srun.

    Attributes:
        arguments (tuple[str, ...]): further options of the user's.
        inside (bool): whether there is an allocation; else each srun asks for one.
    """

    arguments: tuple[str, ...]
    inside: bool

    name = "srun"

    def command(self, request: Request) -> list[str]:
        program = shutil.which("srun")
        if program is None:
            raise FileNotFoundError(
                "Slurm's srun was not found in PATH: is this a machine under Slurm, and its module loaded?"
            )
        options = [f"--ntasks={request.ranks}", f"--cpus-per-task={request.threads}"]
        if self.nodes:
            options += [f"--nodes={self.nodes}", f"--ntasks-per-node={-(-request.ranks // self.nodes)}"]
        if self.gpus:
            options.append(f"--gpus-per-task={self.gpus}")
        if self.exclusive:
            options.append("--exclusive")
        elif self.inside:
            options.append("--exact")  # and not --overlap: steps that do not share have cores of their own
        if request.oversubscribe:
            options.append("--overcommit")
        return [program, *options, f"--mpi={self._protocol(request)}", *_ALWAYS, *self.arguments]

    def describe(self, request: Request) -> str:
        return f"srun --mpi={self._protocol(request)}"

    def unwanted(self) -> list[str]:
        return [name for name in os.environ if name not in launcher_environ(os.environ)]

    def pace(self) -> tuple[bytes, int, int]:
        rate = float(os.environ.get(_RATE_VARIABLE) or _RATE)
        runtime = os.environ.get("XDG_RUNTIME_DIR") or ""
        place = runtime if os.path.isdir(runtime) else tempfile.gettempdir()
        file = os.path.join(place, f"executorlib-{os.getuid()}.srun")
        return os.fsencode(file), max(1, int(1000 / rate)), _BURST

    def _protocol(self, request: Request) -> str:
        if self.mpi is not None:
            return self.mpi
        return "none" if request.ranks == 1 else protocol()


class SlurmPlaces(Places):
    """The nodes of an executor in a Slurm job.

    Parameters:
        cpus: processors of each node of the allocation; none without an allocation.
        arguments: options for the srun of the agents.
        pmi_mode: the user's `--mpi` for ranks, or None.
        here: whether all nodes are this host.
    """

    who = "srun"
    whole = "the allocation"

    def __init__(
        self, cpus: list[int], arguments: Sequence[str] = (), pmi_mode: str | None = None, here: bool = False
    ) -> None:
        super().__init__(cpus)
        self._arguments = list(arguments)
        self._pmi_mode = pmi_mode
        self._here = here

    @classmethod
    def of_job(
        cls, resources: dict[str, Any], pmi_mode: str | None, localhost: bool | None, *, limited: bool
    ) -> SlurmPlaces:
        """For an executor whose calls need `resources` unless they say otherwise, in the allocation if there is one.

        Raises:
            ResourceError: if the allocation cannot give them.
            ValueError: without an allocation, if there is no limit either.
        """
        job = _slurm.allocation()
        cpus = [] if job is None else job.cpus
        here = bool(localhost) or (len(cpus) == 1 and "SLURMD_NODENAME" in os.environ)
        places = cls(cpus, resources.get("slurm_cmd_args", []), pmi_mode, here)
        if places.decide(resources) and job is None and not limited:
            raise ValueError(
                "SlurmJobExecutor needs max_cores or max_workers where there is no allocation, to know how much to ask "
                "srun for; in a job (sbatch, salloc) it uses all of it"
            )
        return places

    def hosts(self) -> Hosts | None:
        job = _slurm.allocation()
        names = [] if job is None else _slurm.node_names()
        return (job.job, names, job.cpus) if job is not None and names and len(names) == len(job.cpus) else None

    def _needs_step(self, resources: dict[str, Any]) -> bool:
        several = resources.get("cores", 1) > 1 and self._pmi_mode is not None
        return (
            super()._needs_step(resources)
            or (several and not (self._has_agents and not self.cpus))
            or resources.get("slurm_cmd_args", []) != self._arguments
        )

    def _step(self, resources: dict[str, Any], nodes: int, gpus: int) -> SlurmStep:
        if self._has_agents and not self.cpus:
            raise ResourceError(
                "without an allocation, the nodes of this executor are its agents' alone: for calls over several "
                "nodes or with slurm_cmd_args of their own, say so in the resource_dict of the executor, or use it in "
                "a job (sbatch, salloc)"
            )
        return SlurmStep(
            nodes=nodes,
            gpus=gpus,
            exclusive=resources.get("exclusive", False),
            mpi=self._pmi_mode,
            here=self._here,
            arguments=tuple(resources.get("slurm_cmd_args", [])),
            inside=bool(self.cpus),
        )


def protocol() -> str:
    """How srun tells ranks of the MPI that mpi4py uses of each other.

    Raises:
        ImportError: without mpi4py.
        RuntimeError: if this Slurm has no way that this MPI knows.
    """
    from executorlib._mpi import library

    family, version = library()
    offered = _offered(shutil.which("srun") or "srun")
    for name in _PROTOCOLS.get(family, ()):
        if name in offered:
            return name
    raise RuntimeError(
        f"srun cannot start MPI ranks of {version}, which mpi4py uses: it offers {', '.join(offered) or 'nothing'}, "
        "and "
        f"{' or '.join(_PROTOCOLS.get(family, ())) or 'what that MPI needs is not known'} is needed. Use an mpi4py for "
        "another MPI, or name a way by pmi_mode"
    )


_known: dict[str, list[str]] = {}


def _offered(srun: str) -> list[str]:
    if srun not in _known:
        said = subprocess.run(
            [srun, "--mpi=list"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LIMIT, check=False
        )
        words = (said.stdout + said.stderr).replace("srun:", " ").replace(",", " ").split()
        _known[srun] = [word for word in words if word.startswith("pm")]
    return _known[srun]
