"""The MPI implementations that tests run on, and why one cannot be used here."""

import functools
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

#: Folders in which MPI and rank groups keep files, and how those are called.
FOLDERS = ("/dev/shm", "/tmp")
NAMES = ("executorlib-", "mpich_shm_", "ompi.", "vader_segment", "sm_segment", "openmpi-sessions", "pmix", "prte", "hydra")


@dataclass(frozen=True)
class Implementation:
    """One MPI: how mpi4py is told to use it, and who starts its ranks."""

    name: str
    vendor: str
    launchers: tuple

    def __str__(self):
        return self.name

    def launcher(self):
        places = (os.path.join(sys.prefix, "bin"), None)
        names = [(name, place) for place in places for name in self.launchers]
        return next(filter(None, (shutil.which(name, path=place) for name, place in names if self.owns(name, place))), None)

    def owns(self, name, place):
        path = shutil.which(name, path=place)
        return path is not None and self.vendor_of(path) == self.vendor

    @staticmethod
    @functools.cache
    def vendor_of(launcher):
        said = subprocess.run([launcher, "--version"], capture_output=True, text=True, timeout=30).stdout
        return "Open MPI" if "Open" in said else "MPICH" if "HYDRA" in said else "unknown"

    def environment(self):
        variables = {"MPI4PY_MPIABI": self.name, "EXECUTORLIB_MPIEXEC": self.launcher() or ""}
        if os.geteuid() == 0:
            variables |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        return variables

    @functools.cache
    def missing(self):
        """Why it cannot be used; None if it can."""
        if self.launcher() is None:
            return f"{self.vendor} has no launcher here: none of {', '.join(self.launchers)} is its"
        probe = "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; print(MPI.get_vendor()[0])"
        found = subprocess.run(
            [sys.executable, "-c", probe], capture_output=True, text=True, timeout=30,
            env={**os.environ, **self.environment()},
        )  # fmt: skip
        if found.stdout.strip() != self.vendor:
            said = found.stdout.strip() or (found.stderr.strip().splitlines() or ["nothing"])[-1]
            return f"mpi4py cannot use {self.vendor}: {said}"
        return None

    def use(self, monkeypatch):
        """Make this the MPI of the test and of all that it starts."""
        reason = self.missing()
        if reason:
            pytest.skip(reason)
        for name, value in self.environment().items():
            monkeypatch.setenv(name, value)


MPICH = Implementation("mpich", "MPICH", ("mpiexec", "mpiexec.mpich", "mpiexec.hydra"))
OPEN_MPI = Implementation("openmpi", "Open MPI", ("mpiexec.openmpi", "mpiexec"))
ALL = (MPICH, OPEN_MPI)


def other(implementation):
    return OPEN_MPI if implementation is MPICH else MPICH


def files():
    """Files of MPI and of rank groups, in all folders where they are kept."""
    return {str(path) for folder in FOLDERS for path in Path(folder).iterdir() if path.name.startswith(NAMES)}
