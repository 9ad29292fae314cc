"""The real Flux instance of two nodes around the tests: `flux start --test-size=2 make test-flux`."""

import json
import os
import shutil
import subprocess

import pytest
import support


def require():
    """Skip the test, or fail it where Flux was promised, unless there is such an instance."""
    if reason := missing():
        (pytest.fail if os.environ.get("EXECUTORLIB_TEST_FLUX") else pytest.skip)(reason)


def missing():
    """Why these tests cannot run here, if so."""
    if shutil.which("flux") is None:
        return "needs Flux, whose command flux is not in PATH"
    asked = subprocess.run(["flux", "getattr", "size"], capture_output=True, text=True)
    if asked.returncode != 0 or int(asked.stdout) < 2:
        return "needs a Flux instance of two nodes: flux start --test-size=2 make test-flux"
    return None


class Instance:
    """The Flux instance around the tests: two nodes."""

    def __init__(self):
        # What a test does to its own environment is of no matter here.
        self._program, self._environ = shutil.which("flux"), dict(os.environ)
        nodes = json.loads(self.run("kvs", "get", "resource.R"))["execution"]["R_lite"]
        assert nodes[0]["rank"] == "0-1"
        first, _, last = nodes[0]["children"]["core"].partition("-")
        #: How many each node has.
        self.cores = int(last or first) + 1

    def run(self, *arguments, **options):
        return self._done(*arguments, check=True, **options).stdout

    def _done(self, *arguments, **options):
        return subprocess.run(
            [self._program, *arguments], env=self._environ, capture_output=True, text=True, timeout=60, **options
        )

    def configure(self, text="{}"):
        """Have this configuration, in JSON, from now on."""
        self.run("config", "load", input=text)

    def jobs(self):
        """{number: what Flux says of it} of those that wait or run."""
        listed = self.run("job", "list", "--count=0").splitlines()
        return {job["id"]: job for job in map(json.loads, listed)}

    def specification(self, job):
        return json.loads(self.run("job", "info", str(job), "jobspec"))

    def cancel_all(self):
        if jobs := self.jobs():
            self._done("job", "raise", *map(str, jobs))

    def agents(self):
        """{rank of the node: pid} of the agents of all executors."""
        found = {}
        for name in os.listdir("/proc"):
            if name.isdecimal() and (agent := _agent(name)) is not None:
                found[agent] = int(name)
        return found


def _agent(pid):
    """The number of the agent that this process is, if it is one, and not the keeper, a fork of one."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = file.read()
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = dict(entry.partition(b"=")[::2] for entry in file.read().split(b"\0"))
        if b"executorlib._agent" not in command or support.is_zombie(pid):
            return None
        parent = support.status(pid)["PPid"]
        with open(f"/proc/{parent}/cmdline", "rb") as file:
            if b"executorlib._agent" in file.read():
                return None
        return int(variables[b"FLUX_TASK_RANK"])
    except (OSError, KeyError):
        return None
