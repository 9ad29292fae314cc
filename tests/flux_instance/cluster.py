"""Flux as tests that go for all schedulers see it."""

import contextlib

import pytest

from executorlib import FluxClusterExecutor

_ALL = "--states=depend,priority,sched,run,cleanup,inactive"
_RUN = 16  # of the states that Flux numbers


class FluxCluster:
    """The instance of two nodes around the tests."""

    executor_class = FluxClusterExecutor
    kind = "flux"
    nodes = 2
    #: Resources of a job that does not start before it is released.
    held = {"priority": 0}

    def __init__(self, instance):
        self.instance = instance
        self.cores = instance.cores
        self._others = set()

    def jobs(self):
        """{number: state} of those that wait or run."""
        jobs = self.instance.jobs().items()
        return {
            str(job): "PENDING" if told["state"] < _RUN else "RUNNING" for job, told in jobs if job not in self._others
        }

    def require_pysqa(self):
        pytest.importorskip("pysqa")
        pytest.importorskip("flux.job", reason="pysqa needs Flux's own Python module in PYTHONPATH")

    def submitted(self):
        """How many jobs there have been."""
        return len(self.instance.run("job", "list", "--count=0", _ALL).splitlines())

    def cancel(self, *jobs):
        self.instance.run("job", "raise", *jobs)

    def release(self, job):
        self.instance.run("job", "urgency", job, "16")

    def give_time_to_end(self):
        """From now on a job that is told to end is not killed soon."""
        self.instance.configure('{"exec": {"kill-timeout": "60s"}}')

    @contextlib.contextmanager
    def closed(self):
        """No job starts here."""
        self.instance.run("submit", "-N2", "--exclusive", "sleep", "1000")
        self._others = set(self.instance.jobs())
        try:
            yield
        finally:
            self.instance.run("job", "raise", *map(str, self._others))
