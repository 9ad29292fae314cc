"""Slurm as a queue of jobs: submissions by sbatch, states by one squeue for all, ends by scontrol or sacct.

A job is named by its queue id: "123", or "123_4" for a task of an array. All functions wait for Slurm's commands.
"""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import suppress

from executorlib import _sbatch
from executorlib._refusal import CommandError
from executorlib._scheduler import Ending, Outage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Sequence
    from typing import Any

_ENDED = frozenset(
    {
        "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
        "PREEMPTED", "RECONFIG_FAIL", "REVOKED", "TIMEOUT",
    }
)  # fmt: skip

# Of the variables of a job that this process runs in, a job of its own inherits none but these.
_KEPT = frozenset({"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_TIME_FORMAT"})

_OUTAGE = re.compile(
    r"Unable to contact slurm controller|Socket timed out|Connection (refused|timed out|reset)|Zero Bytes were|"
    r"controller is not responding|backup controller in standby|temporarily unable to accept|No route to host",
    re.IGNORECASE,
)
_UNKNOWN_JOB = re.compile(r"Invalid job id", re.IGNORECASE)
_LIMIT_S = 300.0  # for one command
_COMMENT = "executorlib"  # of our jobs, by which they are found

_USUAL_MAX_ARRAY_SIZE = 1001


class SlurmQueue:
    """Jobs of Slurm.

    Parameters:
        config_directory (str | None): configuration of pysqa, which then makes and submits the scripts.
    """

    kind = "slurm"
    holds = True
    longest_pause_s, pause_share = 30.0, 20
    cancelling = "scancel $jobs"

    def __init__(self, config_directory: str | None = None) -> None:
        self.config_directory = config_directory
        self._array_limit = 0

    def __reduce__(self) -> tuple:
        return SlurmQueue, (self.config_directory,)

    # ---- submission ----

    def group(self, resources: dict[str, Any]) -> Hashable:
        """Calls for which this is equal, and not None, can be submitted as one array."""
        own = ("submission_template", "stdout_file", "stderr_file", "job_name")
        if self.config_directory is not None or any(resources.get(key) is not None for key in own):
            return None
        return (*_sbatch.options(resources), *resources.get("slurm_cmd_args", ()))

    def array_limit(self) -> int:
        """How many tasks an array can have; 1 where there are no arrays."""
        if not self._array_limit:
            told = re.search(r"^MaxArraySize\s*=\s*(\d+)", _run(["scontrol", "show", "config"]), re.MULTILINE)
            self._array_limit = max(1, (int(told[1]) if told else _USUAL_MAX_ARRAY_SIZE) - 1)
        return self._array_limit

    def submit(self, folders: Sequence[str], resources: dict[str, Any], dependencies: Sequence[str] = ()) -> list[str]:
        """Submit one call, or several of one group as an array; returns the queue id of each.

        Parameters:
            folders: of the calls: the paths of their files without endings.
            resources: of each call.
            dependencies: queue ids of jobs that must have succeeded before it starts.

        Raises:
            subprocess.CalledProcessError: if Slurm refuses it; `output` has its words.
            Outage: if Slurm does not answer.
            FileNotFoundError: if there is no sbatch.
            ModuleNotFoundError: if Jinja2 or pysqa is needed and missing.
        """
        directory = resources.get("cwd") or folders[0]
        os.makedirs(directory, exist_ok=True)
        values = _sbatch.variables(folders[0], directory, resources, dependencies)
        template = resources.get("submission_template")
        if self.config_directory is not None:
            return [self._submit_by_pysqa(values, template)]
        fixed = self._fixed()
        if dependencies:
            fixed += ["--dependency=afterok:" + ":".join(dependencies), "--kill-on-invalid-dep=yes"]
        chosen = []
        if template:
            script = _sbatch.render(template, values)
            if not _sbatch.sets_output(script):
                chosen = _sbatch.output_options(folders[0], directory, resources)
        else:
            script = _sbatch.script(folders)
            chosen = _sbatch.options(resources)
            if len(folders) > 1:
                chosen += [f"--job-name={values['job_name']}", f"--array=0-{len(folders) - 1}", "--output=/dev/null"]
            else:
                chosen += [f"--job-name={values['job_name']}", f"--chdir={directory}"]
                chosen += _sbatch.output_options(folders[0], directory, resources)
        if len(folders) == 1:  # to be looked at, and submitted again by hand
            os.makedirs(folders[0], exist_ok=True)
            with open(os.path.join(folders[0], "run_queue.sh"), "w") as file:
                file.write(script)
        number = _number(_run([*fixed, *chosen, *resources.get("slurm_cmd_args", ())], directory, script))
        return [number] if len(folders) == 1 else [f"{number}_{task}" for task in range(len(folders))]

    def submit_agents(
        self, command: Sequence[str], numbers: Sequence[int], directory: str, resources: dict[str, Any]
    ) -> list[str]:
        """Submit a job for each of these numbers, which its command gets as last argument; returns their queue ids.

        Parameters:
            command: that each job runs.
            numbers: without gaps, and no more than an array can have.
            directory: of the logs, which are named by the queue id.
            resources: of each job.

        Raises:
            As `submit`.
        """
        template = resources.get("submission_template")
        if template or self.config_directory is not None:
            return [self._submit_agent([*command, str(number)], number, directory, resources) for number in numbers]
        array = [f"--array=0-{len(numbers) - 1}"] if len(numbers) > 1 else []
        script = _sbatch.agent_script(command, numbers[0])
        chosen = [*_sbatch.options(resources), f"--job-name={resources.get('job_name') or _COMMENT}"]
        log = os.path.join(directory.replace("%", "%%"), "%A_%a.log" if array else "%j.log")
        arguments = [*self._fixed(), *chosen, *array, f"--output={log}", *resources.get("slurm_cmd_args", ())]
        number = _number(_run(arguments, resources.get("cwd"), script))
        return [f"{number}_{task}" for task in range(len(numbers))] if array else [number]

    def _submit_agent(self, command: Sequence[str], number: int, directory: str, resources: dict[str, Any]) -> str:
        """By the user's template, or pysqa."""
        folder = os.path.join(directory, str(number))
        os.makedirs(folder, exist_ok=True)
        values = _sbatch.agent_variables(command, folder, resources)
        if self.config_directory is not None:
            return self._submit_by_pysqa(values, resources.get("submission_template"))
        script = _sbatch.render(resources["submission_template"], values)
        log = os.path.join(directory.replace("%", "%%"), "%j.log")
        chosen = [] if _sbatch.sets_output(script) else [f"--output={log}"]
        arguments = [*self._fixed(), *chosen, *resources.get("slurm_cmd_args", ())]
        return _number(_run(arguments, folder, script))

    @staticmethod
    def _fixed() -> list[str]:
        return ["sbatch", "--parsable", "--no-requeue", f"--comment={_COMMENT}"]

    def _submit_by_pysqa(self, values: dict[str, Any], template: str | None) -> str:
        values |= {"submission_template": template} if template else {}
        return _sbatch.submit_by_pysqa("slurm", self.config_directory or "", values, _for_pysqa)

    def find(self, folders: Collection[str]) -> dict[str, str]:
        """The queue ids of those of these calls that wait or run, by what is in their scripts.

        Raises:
            Outage: if Slurm does not answer.
        """
        found: dict[str, str] = {}
        masters = {
            line.split("|")[0]
            for line in _run(["squeue", "--noheader", "--me", "--format=%F|%k"]).splitlines()
            if line.endswith("|" + _COMMENT)
        }
        for master in masters:
            with suppress(subprocess.CalledProcessError):  # it has ended meanwhile
                listed = _sbatch.folders_of(_run(["scontrol", "write", "batch_script", master, "-"]))
                places = {folder: place for place, folder in enumerate(listed)}
                for folder in folders:
                    if folder in places:
                        found[folder] = master if len(listed) == 1 else f"{master}_{places[folder]}"
        return found

    # ---- later ----

    def cancel(self, queue_ids: Iterable[str]) -> None:
        """End these jobs, or take them out of the queue; those that have ended are left alone.

        Raises:
            Outage: if Slurm does not answer.
        """
        waiting = list(queue_ids)
        for start in range(0, len(waiting), 1000):
            with suppress(subprocess.CalledProcessError):
                _run(["scancel", *waiting[start : start + 1000]])

    def states(self, queue_ids: Iterable[str]) -> dict[str, str]:
        """The states of these jobs in Slurm's words, without those that it does not know any more.

        Raises:
            Outage: if Slurm does not answer.
        """
        masters = ",".join(sorted({queue_id.partition("_")[0] for queue_id in queue_ids}))
        query = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%A|%T", f"--jobs={masters}"]
        try:
            lines = _run(query).splitlines()
        except subprocess.CalledProcessError as error:
            if _UNKNOWN_JOB.search(error.output):  # it says so of a single one only
                return {}
            raise Outage(error.output) from None
        found = {}
        for line in lines:
            number, own, state = line.split("|")
            found[number] = found[own] = state
        return found

    def has_ended(self, state: str) -> bool:
        return state in _ENDED

    def endings(self, queue_ids: Iterable[str]) -> dict[str, Ending]:
        """How these jobs have ended, without those that have not.

        Raises:
            Outage: if Slurm does not answer.
        """
        told: dict[str, Ending] = {}
        wanted = list(queue_ids)
        for master in dict.fromkeys(queue_id.partition("_")[0] for queue_id in wanted):
            told |= _shown(master)
        for queue_id in wanted:
            if queue_id not in told:
                told[queue_id] = _accounted(queue_id)
        return {queue_id: told[queue_id] for queue_id in wanted if told[queue_id].state in (*_ENDED, "UNKNOWN")}


def _shown(master: str) -> dict[str, Ending]:
    """What the controller says of a job, or of all tasks of an array."""
    try:
        lines = _run(["scontrol", "--oneliner", "show", "job", master]).splitlines()
    except subprocess.CalledProcessError as error:
        if _UNKNOWN_JOB.search(error.output):
            return {}
        raise Outage(error.output) from None
    told = {}
    for line in lines:
        fields = dict(re.findall(r"(\w+)=(\S*)", line))
        if "JobId" not in fields:
            continue
        status, _, number = fields.get("ExitCode", "0:0").partition(":")
        nodes = fields.get("NodeList", "").replace("(null)", "")
        log = re.search(r" StdErr=(.*?)(?: \w+=|$)", line)
        path = log[1].strip() if log and log[1].strip() != os.devnull else ""
        ending = Ending(fields["JobState"], fields.get("Reason", ""), int(status), int(number or 0), nodes, path)
        told[fields["JobId"]] = ending
        for task in _tasks(fields.get("ArrayTaskId", "")):
            told[f"{fields['ArrayJobId']}_{task}"] = ending
    return told


def _tasks(text: str) -> Iterable[int]:
    """The numbers of array tasks in "3" or "0-4,7%2"."""
    for part in text.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        if first.isdecimal():
            yield from range(int(first), int(last or first) + 1)


def _accounted(queue_id: str) -> Ending:
    """What the accounting, if there is one, says of a job that the controller has forgotten."""
    with suppress(subprocess.CalledProcessError, FileNotFoundError):
        query = ["sacct", "--noheader", "--parsable2", "--allocations", "--format=State,ExitCode,NodeList"]
        for line in _run([*query, f"--jobs={queue_id}"]).splitlines():
            state, code, nodes = line.split("|")
            status, _, number = code.partition(":")
            return Ending(state.split()[0], "", int(status), int(number or 0), nodes, "")
    return Ending("UNKNOWN", "", 0, 0, "", "")


def _number(told: str) -> str:
    """The number of a job in what `sbatch --parsable` says."""
    return told.split()[-1].split(";")[0]


def _for_pysqa(commands: Any, working_directory: str | None = None, split_output: bool = True, **_: Any) -> Any:
    text = _run(commands if isinstance(commands, list) else ["sh", "-c", commands], working_directory)
    return text.split("\n") if split_output else text


def _run(command: list[str], directory: str | None = None, text: str = "") -> str:
    """What a command of Slurm writes.

    Raises:
        subprocess.CalledProcessError: if it fails; `output` has both of its outputs.
        Outage: if Slurm does not answer.
        FileNotFoundError: if there is no such command.
    """
    environ = {key: value for key, value in os.environ.items() if key in _KEPT or not key.startswith("SLURM_")}
    try:
        done = subprocess.run(
            command, cwd=directory, env=environ, input=text, capture_output=True, text=True, timeout=_LIMIT_S
        )
    except FileNotFoundError as missing:
        if missing.filename == directory:
            raise
        raise FileNotFoundError(2, "SlurmClusterExecutor needs Slurm's commands, which are not in PATH", command[0])
    except subprocess.TimeoutExpired as late:
        raise Outage(str(late)) from None
    if done.returncode == 0:
        return done.stdout
    if _OUTAGE.search(done.stderr):
        raise Outage(done.stderr)
    raise CommandError(done.returncode, command, done.stdout + done.stderr, done.stderr)
