"""The executors, by the places where they run: what the suite needs to know of each."""

import contextlib
import dataclasses
import os

import pytest
from beds.slurm import SlurmBed, missing
from flux_instance import instance

import executorlib
import executorlib.api


@dataclasses.dataclass(frozen=True)
class Kind:
    """One class, in one mode.

    Attributes:
        name: of the class.
        place: what it needs around it: nothing, a Slurm, an allocation of it, or a Flux.
        block: whether workers are persistent.
    """

    name: str
    place: str | None = None
    block: bool = False

    def __str__(self):
        return self.name.removesuffix("Executor") + ("-block" if self.block else "")

    @property
    def by_files(self):
        """Whether each call is a job with files, which others can find."""
        return "Cluster" in self.name and not self.block

    @property
    def executor_class(self):
        return getattr(executorlib, self.name, None) or getattr(executorlib.api, self.name)

    def arguments(self, workers):
        """Those of an executor with so many calls at once."""
        return {"max_workers": workers, **({"block_allocation": True} if self.block else {})}


KINDS = [
    Kind("SingleNodeExecutor"),
    Kind("SingleNodeExecutor", block=True),
    Kind("TestClusterExecutor"),
    Kind("SlurmJobExecutor", "allocation"),
    Kind("SlurmJobExecutor", "allocation", block=True),
    Kind("SlurmClusterExecutor", "slurm"),
    Kind("SlurmClusterExecutor", "slurm", block=True),
    Kind("FluxJobExecutor", "flux"),
    Kind("FluxJobExecutor", "flux", block=True),
    Kind("FluxClusterExecutor", "flux"),
    Kind("FluxClusterExecutor", "flux", block=True),
]
if os.environ.get("EXECUTORLIB_TEST_FLUX"):  # of `make test-flux`, which is about these
    KINDS = [kind for kind in KINDS if kind.place == "flux"]


@contextlib.contextmanager
def placed(kind, monkeypatch, folder):
    """Have around this process what *kind* needs; skips the test where that is missing."""
    monkeypatch.setenv("EXECUTORLIB_AGENT_DIRECTORY", str(folder / "agents"))
    with contextlib.ExitStack() as stack:
        if kind.place == "flux":
            instance.require()
        elif kind.place is not None:
            if reason := missing():
                pytest.skip(reason)
            bed = stack.enter_context(SlurmBed())
            variables = bed.variables
            if kind.place == "allocation":
                from slurm.nodes import Job

                variables = {**variables, **Job(bed).variables}
            for name, value in variables.items():
                monkeypatch.setenv(name, value)
        yield
