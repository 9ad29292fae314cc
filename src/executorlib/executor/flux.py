"""Executors for machines under Flux."""

from __future__ import annotations

from executorlib._errors import ResourceError
from executorlib._file_pool import FileExecutor
from executorlib._pool import PoolExecutor
from executorlib._resources import check_limit, check_open
from executorlib._unavailable import unavailable
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

    from executorlib._steps import Step


class FluxJobExecutor(PoolExecutor):
    """Runs Python functions on the nodes of a Flux instance.

    Use it inside `flux start`, in a job of `flux alloc` or `flux batch`, or in a Slurm job after `srun flux start`. One
    Flux job starts an agent on each node, which lives as long as the executor, and calls go to the agents. So calls may
    be short and many, and none of them is a job, but for those over several nodes. Otherwise it does what
    `SingleNodeExecutor` does on one machine, and speaks with its agents as `SlurmJobExecutor` does.

    The job takes the cores that are free, or as many as the limits say. Where an earlier executor, or another job of
    the same user's instance, holds what this one needs, it shares their cores rather than wait for them.

    A call that starts a program with `flux run` needs no free cores: the first use of Flux in a call starts an instance
    for it, with cores of the executor. That takes about a second.

    Parameters:
        max_workers (int | None): how many calls run at once, on all nodes together; with block allocation, how many
            workers there are, which are spread evenly over the nodes.
        cache_directory (str | None): directory where results are kept, see `SingleNodeExecutor`.
        max_cores (int | None): how many cores the running calls occupy together. With block allocation and without
            `max_workers` there are `max_cores // cores` workers. If neither limit is given: all that are free.
        resource_dict (Mapping | None): what every call needs, with the keys that `SingleNodeExecutor` explains. A call
            has all its cores and GPUs on one node. Here these differ:

            - num_nodes (int): on how many nodes the ranks of a call are spread evenly; by default on as few as have
              room for them. Such a call is a Flux job of its own, which takes a good part of a second; with block
              allocation each worker is one, which stays. The result is the list over ranks.
            - gpus_per_core (int or float): for calls over several nodes whole GPUs. Beside agents, such a call with
              GPUs waits until it has its nodes for itself.
            - priority (int): calls of higher priority start first. That of the executor is the urgency of its Flux job,
              that of a call over several nodes the urgency of the call's.
            - exclusive (bool): whether a call has its nodes for itself, as far as executors of this program go.

            Where the executor's own `resource_dict` asks for several nodes, there are no agents, all calls are jobs,
            and Flux's scheduler places them. Calls over several nodes among others run on the cores of the agents, when
            these have no calls there; that needs an instance of one's own.
        pmi_mode (str | None): what Flux tells the ranks of calls over several nodes of each other by, its shell's
            option `pmi`; by default "simple", which MPICH and Open MPI 4 speak. Others, such as "pmix", need a plugin
            of Flux. Ranks on one node are not started by Flux, and need none.
        flux_executor (flux.job.FluxExecutor | None): submits the job of the agents; by default, and for calls over
            several nodes, the command `flux job submit` does.
        flux_executor_nesting (bool): whether each call, or worker, that uses Flux has an instance of its own, with just
            its cores; by default those of a node share one. False by default.
        flux_log_files (bool): whether what workers write goes to the files flux_0.out and flux_0.err in the working
            directory (flux_1.out and so on where nodes differ), rather than to the program's own; what ranks of calls
            over several nodes write, to flux_<job>.out and flux_<job>.err. False by default.
        hostname_localhost (bool | None): True if all nodes are this host: the program then listens to nobody outside.
        block_allocation (bool): whether workers stay and serve one call after the other; False by default.
        init_function (Callable | None): see `SingleNodeExecutor`. The numbers of workers, `executorlib_worker_id`, go
            from 0 on over all nodes.
        disable_dependencies (bool): True to refuse futures as arguments; False by default.
        refresh_rate (float): seconds; has no effect, since nothing polls. Only the default, 0.01, goes with
            `disable_dependencies`.
        plot_dependency_graph (bool), plot_dependency_graph_filename (path), export_workflow_filename (path): show how
            calls depend on each other instead of running them, see `SingleNodeExecutor`. No Flux is needed then.
        log_obj_size (bool): whether to log, by the logger "executorlib" as warnings, the size in bytes of what
            each call sends and receives; False by default.
        wait (bool): True; only Cluster executors can leave calls behind.
        restart_limit (int): how often a call whose worker or node was lost is tried again, with block allocation;
            0 by default.
        openmpi_oversubscribe (bool): False; Flux gives no core to two ranks.

    Raises:
        ResourceError: a ValueError and TypeError, for a resource or limit that is unknown, of the wrong type, out of
            range, or more than the instance or one of its nodes has.
        ValueError: for a block allocation without `max_workers` and `max_cores`; a `pmi_mode` that is none;
            `openmpi_oversubscribe`; `init_function` or `restart_limit` without block allocation, `wait=False`, or a
            `refresh_rate` or plot together with `disable_dependencies`.
        ModuleNotFoundError: without Flux.
        FileNotFoundError: outside of a Flux instance.

    Example:
        >>> with FluxJobExecutor(max_cores=64) as exe:  # in `flux start`
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
        flux_executor: Any = None,
        flux_executor_nesting: bool = False,
        flux_log_files: bool = False,
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
        _check_flux(settings.resources, pmi_mode, openmpi_oversubscribe)
        if settings.persistent:
            settings.max_workers = _worker_count(
                settings.max_workers, settings.max_cores, settings.resources.get("cores", 1)
            )
        fleet = places = None
        if settings.recorder is None:
            from executorlib import _flux_steps

            add_cache(settings.resources, cache_directory)
            places = _flux_steps.FluxPlaces(
                pmi_mode, hostname_localhost, persistent=settings.persistent, log_files=flux_log_files
            )
            if not places.decide(settings.resources):
                from executorlib._flux_fleet import fleet_for

                fleet = fleet_for(
                    settings.resources,
                    settings.max_workers,
                    settings.max_cores,
                    settings.persistent,
                    hostname_localhost,
                    beside=_flux_steps.any_with_jobs(),
                    flux_executor=flux_executor,
                    nesting=flux_executor_nesting,
                    log_files=flux_log_files,
                )
                places.widest = fleet.widest
            elif settings.persistent:
                places.check_workers(settings.resources, settings.max_workers or 1)
        info = settings.info(
            {"cores": 1, "threads_per_core": 1, "gpus_per_core": 0, "cwd": None},
            pmi_mode=pmi_mode,
            flux_executor=flux_executor,
            flux_executor_nesting=flux_executor_nesting,
            flux_log_files=flux_log_files,
        )
        if places is not None and settings.max_cores is None:
            settings.max_cores = places.limit

        def accepts(resources: dict[str, Any]) -> tuple[Step, int, int] | None:
            _check_of_flux(resources)
            return None if places is None else places.step(resources)

        super().__init__(
            accepts=accepts,
            info=info,
            fleet=fleet,
            steps=places is not None and places.all_steps,
            hosts=None if places is None else places.hosts,
            **settings.for_pool(),
        )
        if places is not None:
            _flux_steps.register(self)


class FluxClusterExecutor(BaseExecutor):
    """Submits each call to Flux as a job of its own, with an input and an output file.

    Calls outlive the program: it may end once they are submitted, and the same call, submitted again by another
    program, finds its job, whether that waits or runs, or its result. Jobs are submitted before the calls they depend
    on have ended; Flux starts them in order.

    The result of a call is in `<cache_directory>/<key>_o.h5`, whether it returned or raised. What it writes to stdout
    and stderr goes to `<cache_directory>/<key>/out.log` and `err.log`, which are removed if they stay empty. The
    cache directory must be one that this machine and the compute nodes share.

    A call whose job ends without a result fails with a `JobLostError`, which has Flux's reason (`JobTimeoutError` at
    the time limit); a call whose job Flux refuses, with `subprocess.CalledProcessError`. Either can be submitted again.

    A call that starts a program with `flux run` does so with the cores of its job: the first use of Flux in a call
    starts an instance there, which takes about a second.

    With `block_allocation=True` each worker is an agent in a job of its own, and this program sends the calls to those
    that run; they end with the program. It is as with `FluxJobExecutor`, except that:

    - `run_time_max` of the executor is the time limit of the jobs, that of a call is the call's. A call starts only
      where it can have its time; else it waits for the next job.
    - a job that ends is replaced as soon as calls wait. The call that it ran fails with a `JobLostError` that has
      Flux's reason, or starts again (`restart_limit`). Before a time limit or `flux cancel` kills, a call that runs may
      end in the time that Flux gives, 5 s by default, and nothing else starts.
    - when three jobs in a row end before their workers have come, calls that wait fail with the reason of the last.
    - `max_workers` may be changed at any time: jobs are submitted, or end when their calls have.
    - `shutdown()` returns when no job is left. A program that is killed leaves none behind, either.
    - logs with what workers write are in `<cache_directory>/pilots-*/<job>.log`, and go if they are empty. There is
      the key, too, in a file that only this user can read. Results are kept only if `cache_directory` is given.

    Parameters:
        max_workers (int | None): with block allocation, how many workers there are. Else how many cores the jobs that
            wait or run ask for together; for compatibility with the standard library. `max_cores` is the same.
        cache_directory (str | None): directory of the files, made if missing; "executorlib_cache" by default.
        max_cores (int | None): how many cores the jobs that wait or run ask for together, a call occupying
            `cores * threads_per_core`; by default that is for Flux to decide. A wider call is submitted alone.
        resource_dict (Mapping | None): what every call needs. `cores` (MPI ranks), `threads_per_core`, `gpus_per_core`,
            `exclusive`, `run_time_max` (in seconds), `priority` (Flux's urgency, from 0, which holds a job, to 31; 16
            by default), `cwd` (by default the call's folder in the cache directory), `stdout_file`, `stderr_file`,
            `error_log_file`, `cache_key`, `cache_directory`. `submission_template` is a script for `flux batch` as a
            Jinja2 template, with the variables `command`, `cores` (ranks times threads), `run_time_max`,
            `dependency_list`, `job_name`, `working_directory`; it takes the place of the options that the other keys
            stand for. Other keys are given to the template, with a warning; without one, `partition`, a queue of Flux,
            and `job_name` have their meaning.
        pysqa_config_directory (str | None): configuration of pysqa, which then makes and submits the scripts.
        pmi_mode (str | None): has no effect: ranks of one node are started by the launcher of their MPI.
        hostname_localhost (bool | None): None without block allocation, where nothing is reached by a host name; with
            it, True if all nodes are this host.
        block_allocation (bool): whether there are lasting workers; False by default.
        init_function (Callable | None): with block allocation, see `SingleNodeExecutor`.
        disable_dependencies (bool): True to refuse futures as arguments; False by default.
        refresh_rate (float): seconds; has no effect: files are announced, and Flux is asked twice a second.
        plot_dependency_graph (bool), plot_dependency_graph_filename (path), export_workflow_filename (path): show how
            the calls depend on each other, instead of running them, as SingleNodeExecutor does.
        log_obj_size (bool): with block allocation, whether to log the sizes of what is sent and received; else False.
        wait (bool): True, the default, to wait for all calls at the end. With False, leaving a `with` block and
            `shutdown()` cancel the futures that are not done, and the jobs go on without the program;
            `get_future_from_cache()`, or the same call again, gives their results.
        openmpi_oversubscribe (bool): False; Flux gives no core to two ranks.
        restart_limit (int): how often a call whose worker or job was lost is tried again, with block allocation;
            0 by default.

    Raises:
        ResourceError: a ValueError and TypeError, for a resource of the wrong type or out of range.
        ValueError: for `openmpi_oversubscribe`; without block allocation for `init_function`, `hostname_localhost`,
            `log_obj_size` and `restart_limit`; with it without a number of workers, or with `wait=False`.
        ModuleNotFoundError, FileNotFoundError: with block allocation, without Flux or outside of an instance.
        subprocess.CalledProcessError: if Flux refuses the jobs of a block allocation; `output` has its words.
        NotImplementedError: for `num_nodes` above 1, and what is not available in this release.

    Warns:
        UserWarning: for unknown keys of `resource_dict`.

    Example:
        >>> from executorlib import FluxClusterExecutor
        >>> with FluxClusterExecutor(cache_directory="results", resource_dict={"run_time_max": 600}) as exe:
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
        max_workers = check_limit("max_workers", max_workers)
        max_cores = check_limit("max_cores", max_cores)
        resources = check_open(resource_dict)
        _check_flux(resources, pmi_mode, openmpi_oversubscribe)
        from executorlib import _flux, _flux_queue

        queue = _flux_queue.FluxQueue(pysqa_config_directory)
        if block_allocation:
            check_lasting_workers(
                init_function, cache_directory, disable_dependencies, refresh_rate, plot_dependency_graph, wait
            )
            _flux_queue.check(resources)
            workers = _worker_count(max_workers, max_cores, resources.get("cores", 1))
            from executorlib.executor.pilots import pilot_executor

            _flux.check_instance("FluxClusterExecutor")
            pilots = pilot_executor(
                queue,
                resources,
                cache_directory,
                workers=workers,
                max_cores=max_cores,
                accepts=_flux_queue.check,
                init_function=init_function,
                restart_limit=restart_limit,
                allow_futures=not disable_dependencies,
                log_obj_size=log_obj_size,
                here=bool(hostname_localhost) or _flux.is_one_host(),
                info={
                    "hostname_localhost": hostname_localhost,
                    "pysqa_config_directory": pysqa_config_directory,
                    "pmi_mode": pmi_mode,
                },
            )
            super().__init__(pilots)
            return
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
                    "backend": "flux",
                    "pmi_mode": pmi_mode,
                },
                accepts=_flux_queue.check,
            )
        )


def _worker_count(max_workers: int | None, max_cores: int | None, cores: int) -> int:
    count = workers_within(max_workers, max_cores, cores)
    if count is None:
        raise ValueError("block_allocation=True needs max_workers or max_cores: how many workers there are to be")
    return count


def _check_flux(resources: dict[str, Any], pmi_mode: Any, openmpi_oversubscribe: bool) -> None:
    """Refuse what no Flux can give."""
    if pmi_mode is not None and not (isinstance(pmi_mode, str) and pmi_mode.replace("_", "").isalnum()):
        raise ValueError(f"pmi_mode must be a value of the option `pmi` of Flux's shell, not {pmi_mode!r}")
    if openmpi_oversubscribe or resources.get("openmpi_oversubscribe"):
        raise ValueError("openmpi_oversubscribe: Flux gives no core to two ranks")
    if not 0 <= resources.get("priority", 16) <= 31:
        raise ResourceError(f"priority is Flux's urgency, from 0 to 31, not {resources['priority']}")


def _check_of_flux(resources: dict[str, Any]) -> None:
    """Refuse what is not for Flux."""
    if "submission_template" in resources:
        raise ResourceError("submission_template needs one of the Cluster executors")
    if resources.get("slurm_cmd_args"):
        raise ResourceError("slurm_cmd_args are for Slurm; here Flux starts the agents")
    if resources.get("openmpi_oversubscribe"):
        raise ResourceError("openmpi_oversubscribe: Flux gives no core to two ranks")


def _check_on_one_node(resources: dict[str, Any], widest: int) -> None:
    """Refuse what a lasting worker, which is on one node, cannot give."""
    _check_of_flux(resources)
    if resources.get("num_nodes", 1) > 1:
        raise unavailable(f"num_nodes={resources['num_nodes']}")
    cores, threads = resources.get("cores", 1), resources.get("threads_per_core", 1)
    if cores * threads > widest:
        raise ResourceError(f"a call needs {cores * threads} cores, but the workers of this executor have {widest}")


def _check_for_jobs(**arguments: Any) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(f"{name} has no meaning here: every call is a job of its own, which Flux starts")
