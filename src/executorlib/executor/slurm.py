"""Executors for machines under Slurm."""

from __future__ import annotations

from executorlib._file_pool import FileExecutor
from executorlib._record import recorder_for
from executorlib._resources import check_open
from executorlib._unavailable import unavailable
from executorlib.executor.base import BaseExecutor
from executorlib.executor.recording import RecordingExecutor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


class SlurmJobExecutor(BaseExecutor):
    """Runs calls inside a Slurm allocation. In this release it shows graphs of calls, and runs none."""

    def __init__(
        self,
        max_workers: int | None = None,
        cache_directory: str | None = None,
        max_cores: int | None = None,
        resource_dict: Mapping[str, Any] | None = None,
        pmi_mode: str | None = None,
        hostname_localhost: bool | None = None,
        block_allocation: bool = False,
        init_function: Callable | None = None,
        disable_dependencies: bool = False,
        refresh_rate: float = 0.01,
        plot_dependency_graph: bool = False,
        plot_dependency_graph_filename: str | None = None,
        export_workflow_filename: str | None = None,
        log_obj_size: bool = False,
        wait: bool = True,
        restart_limit: int = 0,
        openmpi_oversubscribe: bool = False,
    ) -> None:
        recorder = recorder_for(
            plot_dependency_graph, plot_dependency_graph_filename, export_workflow_filename, disable_dependencies
        )
        if recorder is None:
            raise unavailable("SlurmJobExecutor")
        super().__init__(
            RecordingExecutor(
                recorder,
                template=False,
                resource_dict=resource_dict,
                max_workers=max_workers,
                max_cores=max_cores,
                block_allocation=block_allocation,
                openmpi_oversubscribe=openmpi_oversubscribe,
                cache_directory=cache_directory,
                hostname_localhost=hostname_localhost,
                log_obj_size=log_obj_size,
                pmi_mode=pmi_mode,
            )
        )


class SlurmClusterExecutor(BaseExecutor):
    """Submits each call to Slurm as a batch job of its own, with an input and an output file.

    Calls outlive the program: it may end once they are submitted, and the same call, submitted again by another
    program, finds its job, whether that waits or runs, or its result. Jobs are submitted before the calls they depend
    on have ended; Slurm starts them in order. Calls that are submitted in quick succession and need the same resources
    become one job array.

    The result of a call is in `<cache_directory>/<key>_o.h5`, whether it returned or raised. What it writes to stdout
    and stderr goes to `<cache_directory>/<key>/out.log` and `err.log`, which are removed if they stay empty. The
    cache directory must be one that this machine and the compute nodes share.

    A call whose job ends without a result fails with a `JobLostError`, which has Slurm's reason (`JobTimeoutError` at
    the time limit); a call whose job Slurm refuses, with `subprocess.CalledProcessError`. Either can be submitted
    again. While Slurm does not answer, calls wait.

    Parameters:
        max_workers (int | None): None; how many jobs run at once is for Slurm to decide.
        cache_directory (str | None): directory of the files, made if missing; "executorlib_cache" by default.
        max_cores (int | None): None, like `max_workers`.
        resource_dict (Mapping | None): what every call needs. `cores` (MPI ranks), `threads_per_core`, `gpus_per_core`,
            `exclusive`, `run_time_max` (in seconds; Slurm counts whole minutes), `priority`, `cwd` (by default the
            call's folder in the cache directory), `stdout_file`, `stderr_file`, `error_log_file`, `cache_key`,
            `cache_directory`. `slurm_cmd_args` is a list of further options for sbatch. `submission_template` is a
            batch script as a Jinja2 template, with the variables `command`, `cores` (ranks times threads),
            `run_time_max`, `dependency_list`, `job_name`, `working_directory`; it takes the place of the options that
            the other keys stand for. Other keys are given to the template, with a warning; without one, `partition`,
            `memory_max` (GB) and `job_name` have their meaning.
        pysqa_config_directory (str | None): configuration of pysqa, which then makes and submits the scripts.
        pmi_mode (str | None): has no effect: ranks of one node are started by the launcher of their MPI.
        hostname_localhost (bool | None): None; nothing is reached by a host name.
        block_allocation (bool): True, for lasting workers in batch jobs, is not available in this release.
        init_function (Callable | None): None; there are no lasting workers.
        disable_dependencies (bool): True to refuse futures as arguments; False by default.
        refresh_rate (float): seconds; has no effect: files are announced, and Slurm is asked ever less often, from
            one second to half a minute.
        plot_dependency_graph (bool), plot_dependency_graph_filename (path), export_workflow_filename (path): show how
            the calls depend on each other, instead of running them, as SingleNodeExecutor does.
        log_obj_size (bool): False; nothing is sent.
        wait (bool): True, the default, to wait for all calls at the end. With False, leaving a `with` block and
            `shutdown()` cancel the futures that are not done, and the jobs go on without the program;
            `get_future_from_cache()`, or the same call again, gives their results.
        openmpi_oversubscribe (bool): the default of that key in `resource_dict`.

    Raises:
        ResourceError: a ValueError and TypeError, for a resource of the wrong type or out of range.
        ValueError: for `max_workers`, `max_cores`, `init_function`, `hostname_localhost`, `log_obj_size`, and for
            `block_allocation` without a number of workers.
        NotImplementedError: for `num_nodes` above 1, and what is not available in this release.

    Warns:
        UserWarning: for unknown keys of `resource_dict`.

    Example:
        >>> from executorlib import SlurmClusterExecutor
        >>> with SlurmClusterExecutor(cache_directory="results", resource_dict={"run_time_max": 600}) as exe:
        ...     total = exe.submit(sum, [1, exe.submit(pow, 2, 3)])
        ...     print(total.result())
        9
    """

    def __init__(
        self,
        max_workers: int | None = None,
        cache_directory: str | None = None,
        max_cores: int | None = None,
        resource_dict: Mapping[str, Any] | None = None,
        pysqa_config_directory: str | None = None,
        pmi_mode: str | None = None,
        hostname_localhost: bool | None = None,
        block_allocation: bool = False,
        init_function: Callable | None = None,
        disable_dependencies: bool = False,
        refresh_rate: float = 0.01,
        plot_dependency_graph: bool = False,
        plot_dependency_graph_filename: str | None = None,
        export_workflow_filename: str | None = None,
        log_obj_size: bool = False,
        wait: bool = True,
        openmpi_oversubscribe: bool = False,
    ) -> None:
        _check_for_jobs(log_obj_size=log_obj_size or None)
        recorder = recorder_for(
            plot_dependency_graph, plot_dependency_graph_filename, export_workflow_filename, disable_dependencies
        )
        if recorder is not None:
            super().__init__(
                RecordingExecutor(
                    recorder,
                    template=True,
                    resource_dict=resource_dict,
                    max_workers=max_workers,
                    max_cores=max_cores,
                    block_allocation=block_allocation,
                    openmpi_oversubscribe=openmpi_oversubscribe,
                    cache_directory=cache_directory,
                    hostname_localhost=hostname_localhost,
                    log_obj_size=log_obj_size,
                    pmi_mode=pmi_mode,
                )
            )
            return
        if block_allocation:
            if max_workers is None and max_cores is None:
                raise ValueError("block_allocation=True needs max_workers or max_cores")
            raise unavailable("SlurmClusterExecutor with block_allocation=True")
        _check_for_jobs(
            max_workers=max_workers,
            max_cores=max_cores,
            init_function=init_function,
            hostname_localhost=hostname_localhost,
        )
        resources = check_open(resource_dict)
        if openmpi_oversubscribe:
            resources.setdefault("openmpi_oversubscribe", True)
        from executorlib import _sbatch
        from executorlib._slurm_queue import SlurmQueue

        super().__init__(
            FileExecutor(
                queue=SlurmQueue(pysqa_config_directory),
                resources=resources,
                cache_directory=cache_directory,
                limit=1,
                allow_futures=not disable_dependencies,
                wait=wait,
                info={
                    "disable_dependencies": disable_dependencies,
                    "refresh_rate": refresh_rate,
                    "pysqa_config_directory": pysqa_config_directory,
                    "backend": "slurm",
                    "pmi_mode": pmi_mode,
                },
                accepts=_sbatch.check,
            )
        )


def _check_for_jobs(**arguments: Any) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(f"{name} has no meaning here: every call is a job of its own, which Slurm starts")
