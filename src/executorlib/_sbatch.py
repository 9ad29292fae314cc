"""What `sbatch` is told about a call: options, and the script of its job.

    resources  -->  options of a plain job, or the user's template (Jinja2)  -->  script on stdin of sbatch

Calls with equal options go as one array: its script has a line with the files of each, and a task takes that of its
number.
"""

from __future__ import annotations

import os
import shlex

from executorlib._errors import ResourceError
from executorlib._job import ENDED, INPUT, LOGS, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# The command's status, if it is not 0, ends the script. Then, and when it is ended from outside, a mark tells the
# driver to ask the scheduler for the reason now.
_SCRIPT = """\
#!/bin/sh
{choose}
lost() {{ : > "$folder"{ended}; exit $1; }}
trap 'lost 143' TERM
{command} "$folder"{input}{logs} || lost $?
"""

_CHOOSE = """\
read_line() {{ sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" <<'END_OF_FOLDERS'
{folders}
END_OF_FOLDERS
}}
folder=$(read_line)
mkdir -p "$folder"
"""


def check(resources: dict[str, Any]) -> None:
    """Refuse what a batch job cannot give to a call.

    Raises:
        ResourceError: for a part of a GPU.
        NotImplementedError: for more than one node.
    """
    if resources.get("num_nodes", 1) > 1:
        raise NotImplementedError(
            f"num_nodes={resources['num_nodes']}: calls over several nodes are not available in this release; "
            "without num_nodes all ranks of a call run on one node"
        )
    if isinstance(resources.get("gpus_per_core"), float):
        raise ResourceError(f"gpus_per_core={resources['gpus_per_core']}: batch jobs have whole GPUs")


def options(resources: dict[str, Any]) -> list[str]:
    """Options of `sbatch` for what a call needs."""
    cores = resources["cores"]
    told = ["--nodes=1", f"--ntasks={cores}", f"--cpus-per-task={resources['threads_per_core']}"]
    if resources.get("gpus_per_core"):
        told.append(f"--gres=gpu:{cores * resources['gpus_per_core']}")
    if resources.get("exclusive"):
        told.append("--exclusive")
    if resources.get("run_time_max"):
        told.append(f"--time={_minutes(resources['run_time_max'])}")
    for key, option, unit in (("priority", "priority", ""), ("partition", "partition", ""), ("memory_max", "mem", "G")):
        if resources.get(key) is not None:
            told.append(f"--{option}={resources[key]}{unit if str(resources[key]).isdecimal() else ''}")
    return told


def script(folders: Sequence[str]) -> str:
    """The script of a job for one call, or of an array for several.

    Parameters:
        folders: of the calls: the paths of their files without endings.
    """
    several = len(folders) > 1
    choose = _CHOOSE.format(folders="\n".join(folders)) if several else f"folder={shlex.quote(folders[0])}"
    start = command("", queued=True)[:-1]
    out, err = LOGS
    logs = f' >> "$folder"/{out} 2>> "$folder"/{err}' if several else ""
    return _SCRIPT.format(choose=choose, command=shlex.join(start), input=INPUT, ended=ENDED, logs=logs)


def agent_script(command: Sequence[str], first: int) -> str:
    """The script of a job, or of an array, that runs `command` with a number, from `first` on, as last argument."""
    return f"#!/bin/sh\nexec {shlex.join(command)} $(({first} + ${{SLURM_ARRAY_TASK_ID:-0}}))\n"


def agent_variables(command: Sequence[str], directory: str, resources: dict[str, Any]) -> dict[str, Any]:
    """What a submission template may refer to where it is to start `command`, as `variables` says."""
    return variables(directory, directory, resources, ()) | {"command": shlex.join(command)}


def folders_of(text: str) -> list[str]:
    """The calls of a job with this script, as far as they can be told."""
    _, several, rest = text.partition("<<'END_OF_FOLDERS'\n")
    if several:
        return rest.partition("\nEND_OF_FOLDERS\n")[0].split("\n")
    for line in text.splitlines():
        if line.startswith("folder="):
            return shlex.split(line.removeprefix("folder="))
        if " --queued " in line:
            return [word.removesuffix(INPUT) for word in shlex.split(line) if word.endswith(INPUT)]
    return []


def output_options(folder: str, directory: str, resources: dict[str, Any]) -> list[str]:
    """Where a job of one call writes to."""
    files = output_files(folder, directory, resources)
    options = {"output": files["stdout"], "error": files["stderr"]}
    return ["--open-mode=append", *(f"--{option}={path.replace('%', '%%')}" for option, path in options.items())]


def output_files(folder: str, directory: str, resources: dict[str, Any]) -> dict[str, str]:
    """The files for "stdout" and "stderr" of a job of one call, in folders that are made if missing."""
    files = {}
    for stream, log in zip(("stdout", "stderr"), LOGS, strict=True):
        own = resources.get(f"{stream}_file")
        files[stream] = os.path.join(folder, log) if own is None else os.path.abspath(os.path.join(directory, own))
        os.makedirs(os.path.dirname(files[stream]), exist_ok=True)
    return files


def variables(folder: str, directory: str, resources: dict[str, Any], dependencies: Sequence[str]) -> dict[str, Any]:
    """What a submission template may refer to: these names, and all other keys of the call's resources."""
    return {
        **{key: value for key, value in resources.items() if key not in ("submission_template", "cwd")},
        "command": shlex.join(command(folder + INPUT, queued=True)),
        "cores": resources["cores"] * resources["threads_per_core"],
        "run_time_max": resources.get("run_time_max"),
        "dependency_list": list(dependencies),
        "job_name": resources.get("job_name") or os.path.basename(folder),
        "working_directory": directory,
    }


def render(template: str, values: dict[str, Any]) -> str:
    """The script that a template makes of these values."""
    try:
        import jinja2
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "submission_template needs Jinja2; install it with: pip install 'executorlib[cluster]'", name=missing.name
        ) from None
    return jinja2.Template(template, keep_trailing_newline=True).render(values)


def submit_by_pysqa(queue_type: str, config_directory: str, values: dict[str, Any], execute: Any) -> str:
    """Have pysqa make a script of these values, and submit it; returns the number of the job.

    Parameters:
        queue_type: "slurm" or "flux".
        config_directory: its configuration.
        values: made by `variables`, and `submission_template` if there is one.
        execute: runs a command.

    Raises:
        ModuleNotFoundError: without pysqa, or what it needs.
    """
    try:
        from pysqa import QueueAdapter
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            "pysqa_config_directory needs pysqa; install it with: pip install pysqa", name=missing.name
        ) from None
    unused = ("threads_per_core", "gpus_per_core", "openmpi_oversubscribe", "slurm_cmd_args")
    values = {key: value for key, value in values.items() if key not in unused}
    try:
        adapter = QueueAdapter(directory=config_directory, queue_type=queue_type, execute_command=execute)
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.split(".")[0] != "flux":
            raise
        raise ModuleNotFoundError(
            "pysqa needs Flux's own Python module, which was not found; where it fits this Python, put its folder on "
            "PYTHONPATH: `flux config builtin python_path` tells it. A submission_template needs neither",
            name=missing.name,
        ) from None
    return str(adapter.submit_job(**values))


def sets_output(text: str) -> bool:
    """Whether a script says itself where its output goes."""
    return any(
        word.startswith(("--output", "-o", "--error", "-e"))
        for line in text.splitlines()
        if line.startswith("#SBATCH")
        for word in line.split()[1:]
    )


def _minutes(seconds: float) -> int:
    return max(1, int(-(-seconds // 60)))
