"""Which launcher starts MPI ranks: one of the MPI that mpi4py uses, or the ranks would each believe to be alone.

    mpi4py  -- a probe imports it, without starting MPI -->  library, its file
    file    -- next to it, next to the interpreter, PATH -->  mpiexec of the same family

Ranks of MPICH do without: they are forks that find each other through their parent. Its launcher is there for when that
fails, or is not wanted. Looked up once per environment; nothing of it runs in a worker.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

from executorlib import _core

_VARIABLE = "EXECUTORLIB_MPIEXEC"
_START = "EXECUTORLIB_MPI_START"
_LIMIT = 60  # seconds for a program that only says its version

_PROBE = """\
import sys
sys.path[:] = {path!r}
import mpi4py
mpi4py.rc.initialize = False
from mpi4py import MPI
file = next((line.split()[-1] for line in open("/proc/self/maps") if "/libmpi" in line), "")
version = " ".join(MPI.Get_library_version().split("\\n")[0].split(",")[0].strip("\\0").split())
print("executorlib", MPI.get_vendor()[0], version, file, sep="\\t")
"""

# What the launcher of a job that this process itself runs in says to its ranks: none of it is meant for ours.
_INHERITED = (
    "EXECUTORLIB_RANKS",
    "HYDI_",
    "HYDRA_",
    "MPI_LOCAL",
    "OMPI_APP_CTX_",
    "OMPI_ARGV",
    "OMPI_COMMAND",
    "OMPI_COMM_WORLD_",
    "OMPI_FILE_LOCATION",
    "OMPI_FIRST_RANKS",
    "OMPI_NUM_APP_CTX",
    "OMPI_UNIVERSE_",
    "PMI2_",
    "PMIX_",
    "PMI_",
    "PRTE_",
)
# Open MPI's launcher says the rest as parameters, which a user may also have set where there is no such job.
_INHERITED_PARAMETERS = tuple(
    "OMPI_MCA_" + name
    for name in (
        "btl_vader_backing_directory",
        "ess",
        "initial_wdir",
        "mpi_oversubscribe",
        "orte_",
        "pmix",
        "shmem_RUNTIME_QUERY_hint",
    )
)


def inherited() -> tuple[str, ...]:
    """Beginnings of the names of variables that are not passed on to ranks."""
    return of_a_job() if "OMPI_COMM_WORLD_RANK" in os.environ else _INHERITED


def of_a_job() -> tuple[str, ...]:
    """Beginnings of the names of all variables by which launchers speak to ranks."""
    return _INHERITED + _INHERITED_PARAMETERS


# Variables that say that this process runs in the job of a scheduler.
_JOBS = ("SLURM_JOB_ID", "FLUX_URI", "PBS_JOBID", "LSB_JOBID")

# Open MPI's parameters that keep it from asking the scheduler for hosts, and from starting ranks by it.
_ALONE = {"OMPI_MCA_ras": "^slurm,tm,lsf", "OMPI_MCA_plm": "isolated", "PRTE_MCA_ras": "^slurm", "PRTE_MCA_plm": "ssh"}

# Families whose launchers speak the same protocol to their ranks.
_HYDRA = frozenset({"MPICH", "Intel MPI", "MVAPICH", "MVAPICH2", "Cray MPI"})


class Launcher:
    """The program that starts ranks.

    Attributes:
        path (str): of mpiexec.
        family (str): "Open MPI" or "MPICH".
        forks (bool): whether ranks are to be forked without it.
        description (str): the family and the path, for error messages.
        library (str): what mpi4py says of its library.
    """

    __slots__ = ("description", "family", "forks", "library", "path")

    def __init__(self, path: str, family: str, library: str) -> None:
        self.path = path
        self.family = family
        # A user who names a launcher, or asks for one, wants its ranks.
        self.forks = family == "MPICH" and not os.environ.get(_VARIABLE) and os.environ.get(_START) != "mpiexec"
        self.library = library
        self.description = f"{path} of {family}"

    @property
    def environ(self) -> dict[str, str]:
        """Variables for the launcher alone.

        Hydra writes the node's topology to a file in /tmp for the ranks, and leaves it there when it is killed, unless
        it is told of one; ranks that find nothing in it look for themselves.
        """
        if self.family == "MPICH":
            return {"HWLOC_XMLFILE": os.devnull}
        return _ALONE if any(name in os.environ for name in _JOBS) else {}

    def command(self, ranks: int, oversubscribe: bool, cores: int | None = None) -> list[str]:
        """The command line up to the program that each rank runs, on a host of so many cores, by default this one."""
        cores = cores or _core.cpu_count()
        options = ["-n", str(ranks)]
        if self.family == "Open MPI":
            # Bound ranks of two calls would share the first cores; with hardware threads as slots, all cores count.
            slots = "--oversubscribe" if oversubscribe else "--use-hwthread-cpus"
            return [self.path, "--bind-to", "none", slots, *options]
        if ranks > cores and not oversubscribe:
            raise RuntimeError(
                f"{ranks} MPI ranks, but there are {cores} cores; openmpi_oversubscribe=True starts them anyway"
            )
        # In the job of a scheduler it would ask that where to start them.
        here = ["-hosts", "localhost"] if any(name in os.environ for name in _JOBS) else []
        return [self.path, "-launcher", "fork", *here, *options]


_launchers: dict[tuple, Launcher] = {}
_libraries: dict[tuple, tuple[str, str, str]] = {}


def launcher() -> Launcher:
    """The launcher for mpi4py as this process would import it now.

    Raises:
        ImportError: without mpi4py, or if it cannot load its library.
        FileNotFoundError: if there is no launcher.
        RuntimeError: if there is one, but not of mpi4py's MPI; the text names both.
    """
    key = _environment_key()
    known = _launchers.get(key)
    if known is None:
        known = _launchers[key] = _find(*_probed(key))
    return known


def library() -> tuple[str, str]:
    """The family of the MPI that mpi4py uses, "MPICH" or "Open MPI", and what it says of itself.

    Raises:
        ImportError: without mpi4py, or if it cannot load its library.
    """
    vendor, version, _ = _probed(_environment_key())
    return "MPICH" if vendor in _HYDRA else vendor, version


def _environment_key() -> tuple:
    names = ("PATH", "LD_LIBRARY_PATH", "MPI4PY_MPIABI", "MPI4PY_LIBMPI", _VARIABLE, _START)
    return sys.executable, tuple(sys.path), *map(os.environ.get, names)


def _probed(key: tuple) -> tuple[str, str, str]:
    if key not in _libraries:
        _libraries[key] = _probe()
    return _libraries[key]


def _environment() -> dict[str, str]:
    names = inherited()
    return {name: value for name, value in os.environ.items() if not name.startswith(names)}


def _ask(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a program that says something about itself, as if no MPI job surrounded it."""
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_LIMIT,
        env=_environment(),
        check=False,
    )


def _probe() -> tuple[str, str, str]:
    """Family, version and file of the library that mpi4py uses."""
    probe = _ask([sys.executable, "-c", _PROBE.format(path=sys.path)])
    for line in probe.stdout.splitlines():
        if line.startswith("executorlib\t"):
            _, vendor, version, file = line.split("\t")
            return vendor, version, file
    reason = (probe.stderr.strip().splitlines() or [f"exit status {probe.returncode}"])[-1]
    if "No module named 'mpi4py'" in reason:
        raise ModuleNotFoundError(
            "a call with cores > 1 runs as MPI ranks, which needs mpi4py: pip install 'executorlib[mpi]'", name="mpi4py"
        )
    raise ImportError(f"a call with cores > 1 runs as MPI ranks, but mpi4py cannot be imported: {reason}")


def _find(vendor: str, version: str, file: str) -> Launcher:
    wanted = "MPICH" if vendor in _HYDRA else vendor
    library = f"{version} ({file})" if file else version
    others = []
    for path in _candidates(file):
        family = _family(path)
        if family == wanted:
            return Launcher(path, family, library)
        others.append(f"{path} of {family}")
    if others:
        raise RuntimeError(
            f"mpi4py uses {library}, but the MPI launcher found is {', '.join(others)}: ranks would each believe to be "
            f"alone. Install the launcher of mpi4py's MPI, or an mpi4py for this one; {_VARIABLE} may name a launcher"
        )
    raise FileNotFoundError(
        f"a call with cores > 1 runs as MPI ranks, but there is no mpiexec: looked next to "
        f"{file or 'the MPI library'}, next to {sys.executable}, and in PATH; pip install mpich, or set {_VARIABLE}"
    )


def _candidates(file: str) -> Iterator[str]:
    """Launchers in the order in which they are to be tried, each once."""
    chosen = os.environ.get(_VARIABLE)
    if chosen:
        found = shutil.which(chosen)
        if found is None:
            raise FileNotFoundError(f"{_VARIABLE} is {chosen!r}, which is not a program")
        yield found
        return
    prefix = os.path.dirname(os.path.dirname(file)) if file else ""
    places = [os.path.join(prefix, "bin")] if prefix else []
    places += [os.path.join(sys.prefix, "bin"), os.path.dirname(sys.executable)]
    seen = set()
    for place in (*places, None):
        for name in ("mpiexec", "mpiexec.hydra", "mpiexec.openmpi", "mpiexec.mpich", "mpirun"):
            path = shutil.which(name, path=place)
            if path and os.path.realpath(path) not in seen:
                seen.add(os.path.realpath(path))
                yield path


def _family(path: str) -> str:
    try:
        said = _ask([path, "--version"]).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return f"an unknown MPI ({error})"
    if "OpenRTE" in said or "Open MPI" in said or "PRRTE" in said or "prte" in said.lower():
        return "Open MPI"
    if "HYDRA" in said or "Intel(R) MPI" in said or "MPICH" in said:
        return "MPICH"
    return "an unknown MPI"
