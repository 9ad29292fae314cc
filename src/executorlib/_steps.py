"""Calls that Slurm starts: each through one srun, as a step of the allocation, on one node or several.

    head (a process of this host)  --srun-->  ranks on their nodes  ==TLS==>  head

The head is that of every group of MPI ranks (ARCHITECTURE.md); here srun is its launcher.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from typing import NamedTuple

from executorlib._slurm import launcher_environ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from executorlib._resources import Request

_LIMIT = 60  # seconds for a question to Slurm

# How srun can tell ranks of each other, the best first, by the family of their MPI.
_PROTOCOLS = {"MPICH": ("pmi2", "pmix"), "Open MPI": ("pmix", "pmi2")}

# srun started a second, all programs of a user on a host together, and how many at once before that counts.
_RATE, _BURST = 25.0, 16
_RATE_VARIABLE = "EXECUTORLIB_SRUN_RATE"

# A rank that ends early ends the step, and no other does for its sake alone; stdin is nobody's.
_ALWAYS = ("--kill-on-bad-exit=1", "--wait=0", "--input=none", "--export=ALL", "--job-name=executorlib")


class Step(NamedTuple):
    """What srun is told besides cores: a call that has one is run by it.

    Attributes:
        nodes (int): on how many nodes; 0 leaves it to Slurm.
        gpus (int): GPUs of each rank.
        exclusive (bool): whether the nodes are the call's alone.
        mpi (str | None): value of srun's option --mpi, None for what the ranks' MPI speaks.
        arguments (tuple[str, ...]): further options of the user's.
        here (bool): whether all nodes are this host.
        inside (bool): whether there is an allocation; else each srun asks for one.
    """

    nodes: int
    gpus: int
    exclusive: bool
    mpi: str | None
    arguments: tuple[str, ...]
    here: bool
    inside: bool

    def setup(self, request: Request, rank: Sequence[str]) -> dict[str, Any]:
        """The part of a setup that is about ranks, each of which runs the command `rank`."""
        from executorlib._mpi import of_a_job

        command = self.command(request)
        unwanted = [name for name in os.environ if name not in launcher_environ(os.environ)]
        return {
            "ranks": request.ranks,
            "launch": [*command, *rank],
            "launch_environ": {},
            "launcher": " ".join(part for part in command if part == command[0] or part.startswith("--mpi")),
            "forks": False,
            "inherited": (*of_a_job(), *unwanted),
            "job": of_a_job(),
            "step": self._door(),
        }

    def command(self, request: Request) -> list[str]:
        """srun with its options."""
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
        return [program, *options, f"--mpi={self._protocol(request.ranks)}", *_ALWAYS, *self.arguments]

    def _protocol(self, ranks: int) -> str:
        if self.mpi is not None:
            return self.mpi
        return "none" if ranks == 1 else protocol()

    def _door(self) -> tuple[bytes, bytes, bytes, int, int]:
        from executorlib._fleet import addresses, private_directory

        found = [] if self.here else addresses()
        rate = float(os.environ.get(_RATE_VARIABLE) or _RATE)
        runtime = os.environ.get("XDG_RUNTIME_DIR") or ""
        place = runtime if os.path.isdir(runtime) else tempfile.gettempdir()
        return (
            " ".join(found).encode(),
            os.fsencode(private_directory()),
            os.fsencode(os.path.join(place, f"executorlib-{os.getuid()}.srun")),
            max(1, int(1000 / rate)),
            _BURST,
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
