"""Executors for machines under Slurm."""

from __future__ import annotations

import os
import warnings

from executorlib._errors import ResourceError
from executorlib._file_pool import FileExecutor
from executorlib._pool import PoolExecutor
from executorlib._resources import check_limit, check_open
from executorlib.executor.base import BaseExecutor
from executorlib.executor.recording import recording_executor
from executorlib.executor.settings import (
    PoolSettings,
    add_cache,
    check_lasting_workers,
    check_restart_limit,
    workers_within,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from executorlib._fleet import Fleet
    from executorlib._steps import Step

_NO_SIZE = "block_allocation=True needs max_workers or max_cores: how many workers there are to be"


class SlurmJobExecutor(PoolExecutor):
    """Runs Python functions on the nodes of a Slurm allocation.

    Use it in a batch script or under salloc: one srun starts an agent on each node, which lives as long as the
    executor, and calls go to the agents. So calls may be short and many, and none of them costs a job step, but for
    those that srun must start (`num_nodes`, `pmi_mode` and `slurm_cmd_args` below). Without an allocation srun asks for
    one, and calls wait until it is granted. Otherwise it does what `SingleNodeExecutor` does on one machine. Several
    executors of one program share the cores of the allocation.

    Agents speak with the program over TLS 1.3, with a key made for this executor that only they are told, through a
    file that only this user can read, in ~/.executorlib or the directory that the variable
    EXECUTORLIB_AGENT_DIRECTORY names; all nodes must see it. The program is reached at the addresses of its host, or
    the one that the variable EXECUTORLIB_DRIVER_ADDRESS names. A node may be out of reach for a minute; when it, or
    its agent, is lost for good, so are the calls there, and the others go on.

    Parameters:
        max_workers (int | None): how many calls run at once, on all nodes together; with block allocation, how many
            workers there are, which are spread evenly over the nodes.
        cache_directory (str | None): directory where results are kept, see `SingleNodeExecutor`.
        max_cores (int | None): how many cores the running calls occupy together. With block allocation and without
            `max_workers` there are `max_cores // cores` workers. If neither limit is given, these are all cores of the
            allocation, and as many workers as it has room for; one of them is needed where there is no allocation.
        resource_dict (Mapping | None): what every call needs, with the keys that `SingleNodeExecutor` explains. Here
            these differ:

            - gpus_per_core (int or float): which GPUs a node has, its agent finds out as `SingleNodeExecutor` does.
            - num_nodes (int): on how many nodes the ranks of a call are spread evenly; by default on as few as have
              room for them. Ranks on several nodes are started by srun, as a step of their own, which takes a good part
              of a second; with block allocation once for each worker. The result is the list over ranks.
            - exclusive (bool): whether a call has its nodes for itself, as far as executors of this program go.
            - run_time_max (int or float): a call that could not have so many seconds before the allocation ends fails
              at once, with a `StartError`.
            - slurm_cmd_args (list[str]): further options for srun. Those of the executor are for the srun that starts
              the agents; a call with others is started by an srun of its own, with these options.

            Without an allocation, calls that need srun go only with an executor all of whose calls do, by its own
            `resource_dict`.
        pmi_mode (str | None): what srun is to tell MPI ranks of each other by, its option `--mpi`: "pmi2", "pmix", …
            All calls of several ranks are then started by srun. By default those on one node are not, and for others
            what fits the MPI of mpi4py is chosen. At most 25 times a second srun is started, or as often as the
            variable EXECUTORLIB_SRUN_RATE says.
        hostname_localhost (bool | None): True if all nodes are this host: the program then listens to nobody outside.
        block_allocation (bool): whether workers stay and serve one call after the other; False by default.
        init_function (Callable | None): see `SingleNodeExecutor`. The numbers of workers, `executorlib_worker_id`, go
            from 0 on over all nodes.
        disable_dependencies (bool): True to refuse futures as arguments; False by default.
        refresh_rate (float): seconds; has no effect, since nothing polls. Only the default, 0.01, goes with
            `disable_dependencies`.
        plot_dependency_graph (bool), plot_dependency_graph_filename (path), export_workflow_filename (path): show how
            calls depend on each other instead of running them, see `SingleNodeExecutor`. No Slurm is needed then.
        log_obj_size (bool): whether to log, by the logger "executorlib" as warnings, the size in bytes of what
            each call sends and receives; False by default.
        wait (bool): True; only Cluster executors can leave calls behind.
        restart_limit (int): how often a call whose worker or node was lost is tried again, with block allocation;
            0 by default.
        openmpi_oversubscribe (bool): the default of that key in `resource_dict`.

    Raises:
        ResourceError: a ValueError and TypeError, for a resource or limit that is unknown, of the wrong type, out of
            range, or more than the allocation or one of its nodes has.
        ValueError: for neither `max_workers` nor `max_cores` without an allocation; a `pmi_mode` that is none;
            `init_function` or `restart_limit` without block allocation, `wait=False`, or a `refresh_rate` or plot
            together with `disable_dependencies`.
        FileNotFoundError: without Slurm's srun.
        NotImplementedError: for what is not available in this release.

    Warns:
        UserWarning: if a block allocation gets its number of workers from the allocation.

    Example:
        >>> with SlurmJobExecutor(max_cores=64) as exe:  # in a job
        ...     squares = exe.map(pow, range(1000), [2] * 1000)
        ...     print(sum(squares))
        332833500
    """

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
        settings = PoolSettings(
            max_workers=max_workers,
            cache_directory=cache_directory,
            max_cores=max_cores,
            resource_dict=resource_dict,
            hostname_localhost=hostname_localhost,
            block_allocation=block_allocation,
            init_function=init_function,
            disable_dependencies=disable_dependencies,
            refresh_rate=refresh_rate,
            plot_dependency_graph=plot_dependency_graph,
            plot_dependency_graph_filename=plot_dependency_graph_filename,
            export_workflow_filename=export_workflow_filename,
            log_obj_size=log_obj_size,
            wait=wait,
            restart_limit=restart_limit,
            openmpi_oversubscribe=openmpi_oversubscribe,
        )
        _check_pmi_mode(pmi_mode)
        resources = settings.resources
        if settings.persistent:
            settings.max_workers = _worker_count(settings.max_workers, settings.max_cores, resources)
        fleet = places = None
        if settings.recorder is None:
            from executorlib._srun import SlurmPlaces

            add_cache(resources, cache_directory)
            places = SlurmPlaces.of_job(
                resources,
                pmi_mode,
                hostname_localhost,
                limited=not (settings.max_workers is None and settings.max_cores is None),
            )
            if not places.all_steps:
                fleet = _fleet(settings, hostname_localhost)
                places.widest = fleet.widest
            elif settings.persistent:
                places.check_workers(resources, settings.max_workers or 1)
        info = settings.info(
            {"cores": 1, "threads_per_core": 1, "gpus_per_core": 0, "cwd": None, "slurm_cmd_args": []},
            pmi_mode=pmi_mode,
        )
        if places is not None and settings.max_cores is None:
            settings.max_cores = places.limit

        def accepts(resources: dict[str, Any]) -> tuple[Step, int, int] | None:
            if "submission_template" in resources:
                raise ResourceError("submission_template needs one of the Cluster executors")
            return None if places is None else places.step(resources)

        super().__init__(
            accepts=accepts,
            info=info,
            fleet=fleet,
            steps=places is not None and places.all_steps,
            hosts=None if places is None else places.hosts,
            **settings.for_pool(),
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

    With `block_allocation=True` each worker is an agent in a batch job of its own, and this program, say on a login
    node, sends the calls to those that run; they end with the program. It is as with `SlurmJobExecutor`, including
    what may be set by EXECUTORLIB_DRIVER_ADDRESS, except that:

    - `run_time_max` of the executor is the time limit of the jobs, that of a call is the call's. A call starts only
      where it can have its time; else it waits for the next job.
    - a job that ends is replaced as soon as calls wait. The call that it ran fails with a `JobLostError` that has
      Slurm's reason, or starts again (`restart_limit`). Before a time limit, scancel or preemption kills, a call that
      runs may end in the time that Slurm gives, and nothing else starts.
    - when three jobs in a row end before their workers have come, calls that wait fail with the reason of the last.
    - `max_workers` may be changed at any time: jobs are submitted, or end when their calls have.
    - `shutdown()` returns when no job is left. A program that is killed leaves none behind, either.
    - logs with what workers write are in `<cache_directory>/pilots-*/<job>.log`, and go if they are empty. There is
      the key, too, in a file that only this user can read. Results are kept only if `cache_directory` is given.

    Parameters:
        max_workers (int | None): with block allocation, how many workers there are. Else how many cores the jobs that
            wait or run in Slurm's queue ask for together; for compatibility with the standard library. `max_cores` is
            the same.
        cache_directory (str | None): directory of the files, made if missing; "executorlib_cache" by default.
        max_cores (int | None): how many cores the jobs that wait or run in Slurm's queue ask for together, a call
            occupying `cores * threads_per_core`; by default that is for Slurm to decide. A call that needs more is
            submitted alone. Calls that are held back are submitted as others end, so the program has to stay; when it
            leaves with `wait=False`, a process of its own sees to them.
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
        hostname_localhost (bool | None): None without block allocation, where nothing is reached by a host name; with
            it, True if all nodes are this host.
        block_allocation (bool): True for `max_workers` (or `max_cores` divided by `cores`) workers that stay and serve
            one call after the other, see below; False by default.
        init_function (Callable | None): with block allocation, see `SingleNodeExecutor`.
        disable_dependencies (bool): True to refuse futures as arguments; False by default.
        refresh_rate (float): seconds; has no effect: files are announced, and Slurm is asked ever less often, from
            one second to half a minute.
        plot_dependency_graph (bool), plot_dependency_graph_filename (path), export_workflow_filename (path): show how
            the calls depend on each other, instead of running them, as SingleNodeExecutor does.
        log_obj_size (bool): with block allocation, whether to log the sizes of what is sent and received; else False.
        wait (bool): True, the default, to wait for all calls at the end. With False, leaving a `with` block and
            `shutdown()` cancel the futures that are not done, and the jobs go on without the program;
            `get_future_from_cache()`, or the same call again, gives their results.
        openmpi_oversubscribe (bool): the default of that key in `resource_dict`.
        restart_limit (int): how often a call whose worker or job was lost is tried again, with block allocation;
            0 by default.

    Raises:
        ResourceError: a ValueError and TypeError, for a resource of the wrong type or out of range.
        ValueError: without block allocation for `init_function`, `hostname_localhost`, `log_obj_size`,
            `restart_limit`; with it without a number of workers, or with `wait=False`.
        subprocess.CalledProcessError: if Slurm refuses the jobs of a block allocation; `output` has its words.
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
        restart_limit: int = 0,
    ) -> None:
        if not block_allocation:
            _check_for_jobs(log_obj_size=log_obj_size or None)
        check_restart_limit(restart_limit, block_allocation)
        recording = recording_executor(
            plot_dependency_graph,
            plot_dependency_graph_filename,
            export_workflow_filename,
            disable_dependencies,
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
        if recording is not None:
            super().__init__(recording)
            return
        from executorlib import _sbatch
        from executorlib._slurm_queue import SlurmQueue

        resources = check_open(resource_dict)
        if openmpi_oversubscribe:
            resources.setdefault("openmpi_oversubscribe", True)
        _sbatch.check(resources)
        queue = SlurmQueue(pysqa_config_directory)
        if block_allocation:
            check_lasting_workers(
                init_function, cache_directory, disable_dependencies, refresh_rate, plot_dependency_graph, wait
            )
            from executorlib.executor.pilots import pilot_executor

            max_workers = check_limit("max_workers", max_workers)
            max_cores = check_limit("max_cores", max_cores)
            if max_workers is None and max_cores is None:
                raise ValueError(_NO_SIZE)
            pilots = pilot_executor(
                queue,
                resources,
                cache_directory,
                workers=_worker_count(max_workers, max_cores, resources),
                max_cores=max_cores,
                accepts=_sbatch.check,
                init_function=init_function,
                restart_limit=restart_limit,
                allow_futures=not disable_dependencies,
                log_obj_size=log_obj_size,
                here=bool(hostname_localhost),
                info={
                    "slurm_cmd_args": resources.get("slurm_cmd_args", []),
                    "hostname_localhost": hostname_localhost,
                    "pysqa_config_directory": pysqa_config_directory,
                    "pmi_mode": pmi_mode,
                },
            )
            super().__init__(pilots)
            return
        max_workers = check_limit("max_workers", max_workers)
        max_cores = check_limit("max_cores", max_cores)
        _check_for_jobs(init_function=init_function, hostname_localhost=hostname_localhost)
        super().__init__(
            FileExecutor(
                queue=queue,
                resources=resources,
                cache_directory=cache_directory,
                limit=max_cores or max_workers or 0,
                allow_futures=not disable_dependencies,
                wait=wait,
                info={
                    "max_workers": max_workers,
                    "max_cores": max_cores,
                    "disable_dependencies": disable_dependencies,
                    "refresh_rate": refresh_rate,
                    "pysqa_config_directory": pysqa_config_directory,
                    "backend": "slurm",
                    "pmi_mode": pmi_mode,
                },
                accepts=_sbatch.check,
            )
        )


def _check_pmi_mode(pmi_mode: Any) -> None:
    if pmi_mode is not None and not (isinstance(pmi_mode, str) and pmi_mode.replace("_", "").isalnum()):
        raise ValueError(f"pmi_mode must be one of those that `srun --mpi=list` names, not {pmi_mode!r}")


def _worker_count(max_workers: int | None, max_cores: int | None, resources: dict[str, Any]) -> int:
    count = workers_within(max_workers, max_cores, resources.get("cores", 1))
    if count is not None:
        return count
    from executorlib import _slurm

    job = _slurm.allocation()
    if job is None:
        raise ValueError(_NO_SIZE)
    count = sum(_room(job.cpus, resources))
    if resources.get("num_nodes", 1) > 1 or count == 0:
        from executorlib._srun import SlurmPlaces

        count = SlurmPlaces(job.cpus).workers(resources)
    warnings.warn(
        f"neither max_workers nor max_cores is set; using max_workers={count}, for which the allocation has room",
        stacklevel=3,
    )
    return count


def _room(cpus: list[int], resources: dict[str, Any]) -> list[int]:
    """How many persistent workers nodes with so many processors have room for."""
    width = resources.get("cores", 1) * resources.get("threads_per_core", 1)
    return [1 if resources.get("exclusive") and count >= width else count // width for count in cpus]


def _fleet(settings: PoolSettings, localhost: bool | None) -> Fleet:
    """The nodes of the executor, with an agent to come on each."""
    from executorlib import _slurm
    from executorlib._fleet import Fleet, Share, spread

    resources, max_workers, max_cores = settings.resources, settings.max_workers, settings.max_cores
    width = resources.get("cores", 1) * resources.get("threads_per_core", 1)
    arguments = resources.get("slurm_cmd_args", [])
    job = _slurm.allocation()
    if job is not None:
        cpus = job.cpus
    elif max_workers is None and max_cores is None:
        raise ValueError(
            "SlurmJobExecutor needs max_cores or max_workers where there is no allocation, to know what to ask srun "
            "for; in a job (sbatch, salloc) it uses all of it"
        )
    else:
        wanted = max_cores if max_cores is not None and not settings.persistent else (max_workers or 1) * width
        cpus = _slurm.nodes_for(wanted, width, _slurm.cores_per_node(arguments))
    room = _room(cpus, resources)
    if settings.persistent:
        workers = max_workers or 1
        _slurm.check_room(cpus, room, workers, width)
        shares = [Share(count, some) for count, some in zip(cpus, spread(room, workers), strict=True)]
    else:
        shares = _slurm.shares(cpus, max_cores=max_cores, max_calls=max_workers)
    return Fleet(
        _slurm.agent_launcher(
            len(shares), inside=job is not None, cores=max(share.cores for share in shares), arguments=arguments
        ),
        shares,
        room=room if settings.persistent else (),
        environ=_slurm.launcher_environ(os.environ),
        job=None if job is None else job.job,
        here=bool(localhost) or (job is not None and len(job.cpus) == 1 and "SLURMD_NODENAME" in os.environ),
        ends=None if job is None else _slurm.end_of(job.job),
        asks=job is None,
    )


def _check_for_jobs(**arguments: Any) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(f"{name} has no meaning here: every call is a job of its own, which Slurm starts")
