"""Flux as a queue of jobs: what `_slurm_queue.py` does for Slurm. A job is named by its number, in decimal.

A job is one task, without an instance of its own; `_flux_nest.py` makes one for a call that uses Flux.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from contextlib import suppress

from executorlib import _flux, _sbatch
from executorlib._errors import ResourceError
from executorlib._job import job_number
from executorlib._refusal import CommandError
from executorlib._scheduler import NEVER, Ending, Outage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from typing import Any

_WHO = "FluxClusterExecutor"
_NOTE = "executorlib"  # the attribute of a job that names its call
_MANY = 1000  # ids in one command

# Of the states and results that Flux numbers (RFC 21, `flux_job_state_t` and `flux_job_result_t`).
_INACTIVE = 64
_STATES = {16: "RUNNING", 32: "COMPLETING"}
_RESULTS = {1: "COMPLETED", 2: "FAILED", 4: "CANCELLED", 8: "TIMEOUT"}
_EXCEPTIONS = {"cancel": "CANCELLED", "timeout": "TIMEOUT", "node-failure": "NODE_FAIL", "dependency": "CANCELLED"}

_NO_CONNECTION = re.compile(r"flux_open|Unable to connect", re.IGNORECASE)


def check(resources: dict[str, Any]) -> None:
    """Refuse what a Flux job cannot give to a call.

    Raises:
        ResourceError: for a part of a GPU, more ranks than cores, or an urgency that there is not.
        NotImplementedError: for more than one node.
    """
    _sbatch.check(resources)
    if resources.get("openmpi_oversubscribe"):
        raise ResourceError("openmpi_oversubscribe: Flux gives no core to two ranks")
    if not 0 <= resources.get("priority", 16) <= 31:
        raise ResourceError(f"priority is Flux's urgency, from 0 to 31, not {resources['priority']}")


class FluxQueue:
    """Jobs of Flux.

    Parameters:
        config_directory (str | None): configuration of pysqa, which then makes and submits the scripts.
    """

    kind = "flux"
    holds = True
    longest_pause_s, pause_share = 0.5, 2  # a query takes milliseconds
    cancelling = "flux job raise $jobs || :"  # it fails for those that have ended

    def __init__(self, config_directory: str | None = None) -> None:
        self.config_directory = config_directory
        self._owner: bool | None = None

    def __reduce__(self) -> tuple:
        return FluxQueue, (self.config_directory,)

    # ---- submission ----

    def _check_instance(self) -> None:
        if self._owner is None:
            self._owner = _flux.check_instance(_WHO)

    def group(self, resources: dict[str, Any]) -> None:
        """There are no arrays: each call is a job of its own."""

    def array_limit(self) -> int:
        return 1

    def submit(self, folders: Sequence[str], resources: dict[str, Any], dependencies: Sequence[str] = ()) -> list[str]:
        """Submit one call; returns the id of its job.

        Parameters:
            folders: the path of the call's files without endings, as the only item.
            resources: of the call.
            dependencies: ids of jobs that must have succeeded before it starts.

        Raises:
            subprocess.CalledProcessError: if Flux refuses it; `output` has its words.
            Outage: if Flux does not answer.
            ModuleNotFoundError: if Flux is missing, or Jinja2 or pysqa where they are needed.
            FileNotFoundError: if there is no instance.
        """
        (folder,) = folders
        self._check_instance()
        directory = resources.get("cwd") or folder
        os.makedirs(directory, exist_ok=True)
        values = _sbatch.variables(folder, directory, resources, dependencies)
        template = resources.get("submission_template")
        if self.config_directory is not None:
            return [self._submit_by_pysqa(values, template)]
        files = _sbatch.output_files(folder, directory, {} if template else resources)
        if template:
            script = _sbatch.render(template, values)
            chosen = [f"--dependency=afterok:{job}" for job in dependencies]
            chosen += [f"--setattr=user.{_NOTE}={json.dumps(folder)}"]
            _keep_script(folder, script)
            return [self._submit_script(script, directory, files, *chosen)]
        script = _sbatch.script([folder])
        _keep_script(folder, script)
        number = self._submit_command(
            ["/bin/sh", "-c", script],
            resources,
            cwd=directory,
            name=values["job_name"],
            output=files,
            dependencies=dependencies,
            notes={_NOTE: folder},
        )
        return [number]

    def submit_agents(
        self, command: Sequence[str], numbers: Sequence[int], directory: str, resources: dict[str, Any]
    ) -> list[str]:
        """Submit a job for each of these numbers, which its command gets as last argument; returns their ids.

        Parameters:
            command: that each job runs.
            numbers: any.
            directory: of the logs, which are named by the id.
            resources: of each job.

        Raises:
            As `submit`.
        """
        self._check_instance()
        return [self._submit_agent([*command, str(number)], number, directory, resources) for number in numbers]

    def _submit_agent(self, command: Sequence[str], number: int, directory: str, resources: dict[str, Any]) -> str:
        output = {"stdout": os.path.join(directory, "{{id.dec}}.log")}
        template = resources.get("submission_template")
        if template or self.config_directory is not None:
            folder = os.path.join(directory, str(number))
            os.makedirs(folder, exist_ok=True)
            values = _sbatch.agent_variables(command, folder, resources)
            if self.config_directory is not None:
                return self._submit_by_pysqa(values, template)
            return self._submit_script(_sbatch.render(str(template), values), folder, output)
        cwd = resources.get("cwd") or os.getcwd()
        name = resources.get("job_name") or _NOTE
        return self._submit_command(command, resources, cwd=cwd, name=name, output=output)

    def _submit_command(self, command: Sequence[str], resources: dict[str, Any], **chosen: Any) -> str:
        width = resources["cores"]
        specification = _flux.jobspec(
            command,
            cores=width * resources["threads_per_core"],
            gpus=width * resources.get("gpus_per_core", 0),
            exclusive=resources.get("exclusive", False),
            environ=_flux.environment(os.environ),
            duration=resources.get("run_time_max") or 0,
            queue=resources.get("partition"),
            options={"pmi": "off", "mpi": "none"},
            **chosen,
        )
        submission = _flux.submission(resources.get("priority"), bool(self._owner))
        return _number(_run(*submission, text=json.dumps(specification)))

    def _submit_script(self, script: str, directory: str, output: dict[str, str], *chosen: str) -> str:
        """By `flux batch`, which makes an instance for the script."""
        options = [f"--cwd={directory}", *chosen]
        if not re.search(r"^#\s*(?:flux|FLUX):.*--(?:output|error)", script, re.MULTILINE):
            names = {"stdout": "output", "stderr": "error"}
            options += [f"--{names[stream]}={path}" for stream, path in output.items()]
        return _number(_run("batch", *options, text=script))

    def _submit_by_pysqa(self, values: dict[str, Any], template: str | None) -> str:
        values |= {"submission_template": template} if template else {}
        return _number(_sbatch.submit_by_pysqa("flux", self.config_directory or "", values, _for_pysqa))

    def find(self, folders: Collection[str]) -> dict[str, str]:
        """The ids of the jobs of those of these calls that wait or run, by what is noted in their specifications.

        Raises:
            Outage: if Flux does not answer.
        """
        names = {os.path.basename(folder) for folder in folders}
        found = {}
        for job in _records(_run("job", "list", "--count=0")):
            with suppress(subprocess.CalledProcessError):  # it has ended meanwhile
                # A job may have a name of its own.
                specification = json.loads(_run("job", "info", str(job["id"]), "jobspec"))
                folder = specification["attributes"].get("user", {}).get(_NOTE)
                if folder in folders and os.path.basename(folder) in names:
                    found[folder] = str(job["id"])
        return found

    # ---- later ----

    def cancel(self, queue_ids: Iterable[str]) -> None:
        """End these jobs, or take them out of the queue; those that have ended are left alone.

        Raises:
            Outage: if Flux does not answer.
        """
        waiting = list(queue_ids)
        for start in range(0, len(waiting), _MANY):
            with suppress(subprocess.CalledProcessError):
                _run("job", "raise", *waiting[start : start + _MANY])

    def states(self, queue_ids: Iterable[str]) -> dict[str, str]:
        """The states of these jobs: PENDING, RUNNING, COMPLETING, or how they ended; without those that are unknown.

        Raises:
            Outage: if Flux does not answer.
        """
        return {str(job["id"]): _state(job) for job in _listed(queue_ids)}

    def has_ended(self, state: str) -> bool:
        return state not in ("PENDING", *_STATES.values())

    def endings(self, queue_ids: Iterable[str]) -> dict[str, Ending]:
        """How these jobs have ended, without those that have not.

        Raises:
            Outage: if Flux does not answer.
        """
        wanted = list(queue_ids)
        told = {str(job["id"]): job for job in _listed(wanted)}
        gone = Ending("UNKNOWN", "Flux knows nothing of it any more, or its instance has ended", 0, 0, "", "")
        return {
            queue_id: _ending(told[queue_id]) if queue_id in told else gone
            for queue_id in wanted
            if queue_id not in told or told[queue_id]["state"] == _INACTIVE
        }


def _keep_script(folder: str, script: str) -> None:
    """Write a job's script, to be looked at."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "run_queue.sh"), "w") as file:
        file.write(script)


def _number(told: str) -> str:
    """The id, in decimal, of the job that a command has submitted."""
    return str(job_number(told))


def _state(job: dict[str, Any]) -> str:
    if job["state"] != _INACTIVE:
        return _STATES.get(job["state"], "PENDING")
    if job.get("exception_occurred"):
        if job.get("exception_type") == "exec" and "node failure" in job.get("exception_note", ""):
            return "NODE_FAIL"
        return _EXCEPTIONS.get(job.get("exception_type", ""), "FAILED")
    return _RESULTS.get(job.get("result", 0), "FAILED")


def _ending(job: dict[str, Any]) -> Ending:
    """What Flux says of a job that has ended: its exception, which comes before what that did to the tasks."""
    status = os.waitstatus_to_exitcode(job.get("waitstatus", 0))
    number = -status if status < 0 else status - 128 if 128 < status < 128 + signal.NSIG else 0
    kind = job.get("exception_type", "")
    note = NEVER if kind == "dependency" else ": ".join(filter(None, (kind, job.get("exception_note"))))
    return Ending(_state(job), note, max(status, 0), number, job.get("nodelist", ""), "")


def _listed(queue_ids: Iterable[str]) -> Iterator[dict[str, Any]]:
    """What Flux says of these jobs, without those that it does not know any more."""
    wanted = list(queue_ids)
    for start in range(0, len(wanted), _MANY):
        try:
            told = _run("job", "list-ids", *wanted[start : start + _MANY])
        except subprocess.CalledProcessError as error:  # one is unknown; the others are told of
            told = error.output
        except FileNotFoundError:  # the instance has ended, and its jobs with it
            return
        yield from _records(told)


def _records(text: str) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in text.splitlines() if line.startswith("{"))


def _for_pysqa(commands: Any, working_directory: str | None = None, split_output: bool = True, **_: Any) -> Any:
    command = commands if isinstance(commands, list) else ["sh", "-c", commands]
    done = subprocess.run(command, cwd=working_directory, capture_output=True, text=True)
    if done.returncode != 0:
        raise CommandError(done.returncode, command, done.stdout + done.stderr)
    return done.stdout.split("\n") if split_output else done.stdout


def _run(*arguments: str, text: str = "") -> str:
    """What a command of Flux writes.

    Raises:
        subprocess.CalledProcessError: if it fails.
        Outage: if Flux does not answer.
        FileNotFoundError: if the instance of this process has ended.
    """
    try:
        return _flux.run(*arguments, text=text)
    except subprocess.TimeoutExpired as late:
        raise Outage(str(late)) from None
    except subprocess.CalledProcessError as error:
        raise _meant(error) from None


def _meant(error: subprocess.CalledProcessError) -> Exception:
    """What an error of a command means."""
    if not _NO_CONNECTION.search(error.output):
        return error
    uri = os.environ.get("FLUX_URI", "")
    if uri.startswith("local://") and not os.path.exists(uri.removeprefix("local://")):
        return FileNotFoundError(2, f"the Flux instance of this program, FLUX_URI={uri}, has ended")
    return Outage(error.output)
