"""The MPI implementations that tests run on, and why one cannot be used here."""

import contextlib
import functools
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import support

#: Folders in which MPI and rank groups keep files, and how those are called.
FOLDERS = ("/dev/shm", "/tmp")
NAMES = (
    # that of the ranks' head: see rank_directory.c
    f"executorlib-{os.stat('/proc/self/ns/pid').st_ino}-",
    "mpich_shm_",
    "ompi.",
    "vader_segment",
    "sm_segment",
    "openmpi-sessions",
    "pmix",
    "prte",
    "hydra",
)


#: Containers run tests as root, which Open MPI wants to be told is meant.
AS_ROOT = {f"OMPI_ALLOW_RUN_AS_ROOT{suffix}": "1" for suffix in ("", "_CONFIRM") if os.geteuid() == 0}


@dataclass(frozen=True)
class Implementation:
    """One MPI: how mpi4py is told to use it, and who starts its ranks."""

    name: str
    vendor: str
    launchers: tuple
    forks: bool = False  # ranks are forked, not started by a launcher

    def __str__(self):
        return self.name if self.forks or self.vendor != "MPICH" else f"{self.name}-mpiexec"

    def launcher(self):
        places = (os.path.join(sys.prefix, "bin"), None)
        names = [(name, place) for place in places for name in self.launchers]
        return next(
            filter(None, (shutil.which(name, path=place) for name, place in names if self.owns(name, place))), None
        )

    def owns(self, name, place):
        path = shutil.which(name, path=place)
        return path is not None and self.vendor_of(path) == self.vendor

    @staticmethod
    @functools.cache
    def vendor_of(launcher):
        said = subprocess.run([launcher, "--version"], capture_output=True, text=True, timeout=30).stdout
        return "Open MPI" if "Open" in said else "MPICH" if "HYDRA" in said else "unknown"

    @functools.cache  # noqa: B019 - there are two of them, for good
    def chosen(self):
        """Variables that make mpi4py use it, None for those that must not be set; or a text: why there are none."""
        launcher = self.launcher()
        if launcher is None:
            return f"{self.vendor} has no launcher here: none of {', '.join(self.launchers)} is its"
        # A wheel of mpi4py finds a library that pip installed only where it is not told which to take.
        for abi in (None, self.name):
            variables = {
                "MPI4PY_MPIABI": abi,
                "MPI4PY_LIBMPI": None,
                "EXECUTORLIB_MPIEXEC": None if self.forks else launcher,
                "EXECUTORLIB_MPI_START": None,
            }
            found = _vendor_in(
                {name: value for name, value in {**os.environ, **variables}.items() if value is not None}
            )
            if found == self.vendor:
                return variables
        return f"mpi4py cannot use {self.vendor}: {found}"

    def use(self, monkeypatch):
        """Make this the MPI of the test and of all that it starts; skips where it cannot be had."""
        chosen = self.chosen()
        if isinstance(chosen, str):
            pytest.skip(chosen)
        for name, value in {**chosen, **AS_ROOT}.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)


def _vendor_in(environ):
    """Of the library that mpi4py loads; else what it says instead."""
    probe = "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; print(MPI.get_vendor()[0])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=200, env=environ)
    return done.stdout.strip() or (done.stderr.strip().splitlines() or ["nothing"])[-1]


MPICH = Implementation("mpich", "MPICH", ("mpiexec", "mpiexec.mpich", "mpiexec.hydra"), forks=True)
MPICH_LAUNCHED = Implementation("mpich", "MPICH", MPICH.launchers)
OPEN_MPI = Implementation("openmpi", "Open MPI", ("mpiexec.openmpi", "mpiexec"))
#: Most cases run with the first one only, unless EXECUTORLIB_TEST_ALL_MPI is set: see conftest.py.
ALL = (MPICH, pytest.param(OPEN_MPI, marks=pytest.mark.second_mpi))


def other(implementation):
    return OPEN_MPI if implementation is MPICH else MPICH


def files():
    """Files of MPI and of rank groups, in all folders where they are kept, but not those of groups that live."""
    paths = (path for folder in FOLDERS for path in Path(folder).iterdir() if path.name.startswith(NAMES))
    return {str(path) for path in paths if not _has_owner(path)}


@contextlib.contextmanager
def no_files_left():
    before = files()
    yield
    left = files() - before - _mapped_by_others()
    deadline = time.monotonic() + support.SOON
    # Other programs on this machine have files of MPI as well, which go when those are done with them.
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = left & files() - _mapped_by_others()
    assert not left, f"files left behind: {sorted(left)}"


def _mapped_by_others():
    """The files in shared memory that processes have mapped which this one has not started."""
    found = set()
    ours = {os.getpid(), *support.descendants(os.getpid())}
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) not in ours:
            with contextlib.suppress(OSError):
                found.update(re.findall(r"/dev/shm/\S+", (process / "maps").read_text()))
    return found


def _has_owner(path):
    """Whether the folder is that of the head of a rank group that lives; its name ends in -<pid>-<random>."""
    pid = path.name.split("-")[-2:-1]
    return path.name.startswith("executorlib-") and bool(pid) and Path("/proc", *pid).exists()
