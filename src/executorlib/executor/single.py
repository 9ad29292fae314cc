"""Executors for one node: the machine that the program runs on."""

from __future__ import annotations

import os
import warnings

from executorlib import _core
from executorlib._pool import PoolExecutor
from executorlib._resources import check_limit, check_one_node, check_open
from executorlib.executor.base import BaseExecutor
from executorlib.executor.settings import PoolSettings, add_cache, check_dependencies, workers_within

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


class SingleNodeExecutor(PoolExecutor):
    """Runs Python functions in processes of their own on this machine.

    By default every call gets a fresh process, so calls share nothing. With `block_allocation=True` a fixed number
    of workers serve all calls, which is much faster for short ones. Functions of the main program and of notebooks
    work, without a `__main__` guard.

    Parameters:
        max_workers (int | None): how many calls run at once; with block allocation, how many workers there are.
        cache_directory (str | None): directory where the results of all calls are kept, made if missing. A call that
            has been computed before, by any program, gets its result from there, without a worker. Exceptions are not
            kept. None, the default, keeps nothing.
        max_cores (int | None): how many cores the running calls occupy together, a call occupying
            `cores * threads_per_core`. With block allocation and without `max_workers` there are
            `max_cores // cores` workers. If neither limit is given it is the number of cores this process may use
            (PYTHON_CPU_COUNT if that is set, else its affinity, its share of the machine, its Slurm job); a call that
            needs more still runs, alone.
        resource_dict (Mapping | None): what every call needs. It is not changed. Keys, all optional:

            - cores (int): MPI ranks, 1 by default. With more, the function runs in each of them, with the MPI that
              mpi4py uses, and the result is the list of what they return, in the order of ranks. Ranks of MPICH are
              forked; EXECUTORLIB_MPI_START=mpiexec in the environment has them started by mpiexec, like all others.
            - threads_per_core (int): threads of each rank, 1 by default. The variables by which OpenMP, OpenBLAS,
              MKL, NumExpr, Accelerate and Numba choose a number of threads are set to it. Left out, those that
              the environment sets already stay.
            - gpus_per_core (int or float): GPUs of each rank, 0 by default; between 0 and 1 for that part of a GPU,
              which calls then share. While a call runs, its GPUs are nobody else's in this executor; executors side by
              side take different ones as far as there are enough. The call sees its own only: the variable
              CUDA_VISIBLE_DEVICES (AMD: ROCR_VISIBLE_DEVICES or HIP_VISIBLE_DEVICES) names them, set before anything
              is imported. Which GPUs there are is taken from the variable EXECUTORLIB_GPUS (names with commas between
              them), or these variables, or else asked of the drivers. With block allocation each worker keeps its
              GPUs. A call that asks for none finds the variables as the program has them.
            - cwd (path): directory to run in, made if missing; the current one by default.
            - error_log_file (path): file to which function, arguments and traceback of failed calls are appended;
              relative to `cwd`.
            - priority (int): among calls that wait, those of higher priority start first; 0 by default.
            - run_time_max (int | float): seconds that a call may run, counted from its start; no limit by default. Then
              it is ended with every process that it has started: SIGTERM, and SIGKILL after `terminate_grace`. Its
              future raises RunTimeExceededError, a TimeoutError. With `map(chunksize=…)` the limit is that of a chunk.
            - terminate_grace (int | float): seconds from SIGTERM to SIGKILL when a call is ended, by its time limit or
              by `future.terminate()`; 0.3 by default.
            - stdout_file, stderr_file (path): files to which what the call and its children write to stdout and stderr
              is appended, instead of going where the program's own goes; relative to `cwd`. May be the same.
            - exclusive (bool): whether a call runs alone, with all cores of the executor; False by default.
            - pin (bool): True to bind the call's process, or each of its ranks, to processors of its own out of those
              this program may use, as many as it has threads; False by default. A call for which too few are left runs
              anywhere.
            - num_nodes (int): 1.
            - openmpi_oversubscribe (bool): whether there may be more ranks than cores, False by default.
            - cache_directory (path): like the parameter, which it beats.
            - cache_key (str): name of the result in the cache, instead of one made from the function and its
              arguments. Whoever chooses it sees to it that different calls have different names.
            - cache_key_version (int): 1, the default, for names as in executorlib 1.11: they change with the version
              of Python or cloudpickle. 2 for names that depend on the function's text and on the values of its
              arguments only. The variable EXECUTORLIB_CACHE_KEY_VERSION changes the default.
        hostname_localhost (bool | None): has no effect: nothing on one node is reached by a host name.
        block_allocation (bool): whether workers stay and serve one call after the other; False by default.
        init_function (Callable | None): called once in each worker of a block allocation. It returns a dictionary
            of presets: values for parameters of the submitted functions that a call leaves out. It may have a
            parameter `executorlib_worker_id`, an integer from 0 on.
        disable_dependencies (bool): True to refuse futures as arguments; False by default.
        refresh_rate (float): seconds; has no effect, since nothing polls. Only the default, 0.01, goes with
            `disable_dependencies`.
        plot_dependency_graph (bool): True to see how the calls of a program depend on each other, instead of running
            them: every future is done at once, with the result None, and when the executor ends, the graph is shown in
            the notebook. False by default.
        plot_dependency_graph_filename (path): the same, drawn into a file; its extension is the format, such as .svg,
            .png or .pdf.
        export_workflow_filename (path): the same, written as JSON in the Python Workflow Definition, from which
            workflow managers run it; then nothing is drawn. Arguments must be what JSON can hold, or NumPy arrays.
        log_obj_size (bool): whether to log, by the logger "executorlib" as warnings, the size in bytes of what
            each call sends and receives; False by default.
        wait (bool): True; only Cluster executors can leave calls behind.
        restart_limit (int): how often a call whose worker died is tried again on a new one, with block allocation;
            0 by default.
        openmpi_oversubscribe (bool): the default of that key in `resource_dict`.
        timeline (path | None): file to which what happens to each call is appended, for `executorlib report`; None
            takes the variable EXECUTORLIB_TIMELINE, which also counts for executors inside calls; without that, nothing
            is logged. See docs/timeline.md.

    Raises:
        OSError: if the file of `timeline` cannot be written.
        ResourceError: a ValueError and TypeError, for a resource or limit that is unknown, of the wrong type, out
            of range, or more than `max_cores`, or than there are GPUs.
        ValueError: for `init_function` or `restart_limit` without block allocation, `wait=False`, a `refresh_rate` or
            plot together with `disable_dependencies`, or a plot in an unknown format.
        ModuleNotFoundError, FileNotFoundError: if a package, or the program dot, that makes the plot is missing.

    Warns:
        UserWarning: if a block allocation gets its number of workers from the number of cores.

    Example:
        >>> with SingleNodeExecutor(max_cores=2) as exe:
        ...     total = exe.submit(sum, [exe.submit(pow, i, 2) for i in range(4)])
        ...     print(total.result())
        14
    """

    def __init__(
        self,
        max_workers: int | None = None,
        cache_directory: str | None = None,
        max_cores: int | None = None,
        resource_dict: Mapping[str, Any] | None = None,
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
        timeline: str | os.PathLike[str] | None = None,
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
        if settings.persistent:
            settings.max_workers = _worker_count(settings)
        if settings.recorder is None:
            add_cache(settings.resources, cache_directory)
        super().__init__(
            accepts=check_one_node,
            info=settings.info({"cores": 1, "cwd": None}, hidden=_NOT_IN_INFO),
            timeline=timeline,
            **settings.for_pool(),
        )


class TestClusterExecutor(BaseExecutor):
    """Stands in for a cluster on one machine: every call is a detached process with an input and an output file.

    It does what SlurmClusterExecutor and FluxClusterExecutor do, with processes in the place of jobs, so that a program
    can be tried without a cluster. Calls outlive the program; submitted again, the same call finds its running job or
    its result. Each call costs the start of an interpreter: for work on one node, SingleNodeExecutor is the fast one.

    The result of a call is in `<cache_directory>/<key>_o.h5`, whether it returned or raised. What it writes to stdout
    and stderr goes to `<cache_directory>/<key>/out.log` and `err.log`, which are removed if they stay empty.

    Parameters:
        max_workers (int | None): how many cores the running calls occupy together; for compatibility with the
            standard library. `max_cores` is the same.
        cache_directory (str | None): directory of the files, made if missing; "executorlib_cache" by default.
        max_cores (int | None): how many cores the running calls occupy together, a call occupying
            `cores * threads_per_core`; by default the cores this process may use. A call that needs more runs alone.
        resource_dict (Mapping | None): what every call needs, with the keys of SingleNodeExecutor. Here `cwd` is the
            cache directory by default. `cache_key` and `cache_directory` say where the files of a call are; calls with
            the same key are the same call, whatever they compute. GPUs are not divided among calls that run at once.
            Keys for schedulers are accepted without effect; unknown ones too, with a warning.
        hostname_localhost (bool | None): None; nothing is reached by a host name.
        block_allocation (bool): False; every call is a job of its own.
        init_function (Callable | None): None; there are no lasting workers.
        disable_dependencies (bool): True to refuse futures as arguments; False by default.
        refresh_rate (float): seconds; has no effect, since files are announced by the system.
        plot_dependency_graph (bool), plot_dependency_graph_filename (path), export_workflow_filename (path): show how
            the calls depend on each other, instead of running them, as SingleNodeExecutor does.
        log_obj_size (bool): has no effect: nothing is sent.
        wait (bool): True, the default, to wait for all calls at the end. With False, leaving a `with` block and
            `shutdown()` cancel the futures that are not done, and the calls go on without the program;
            `get_future_from_cache()`, or the same call again, gives their results.
        openmpi_oversubscribe (bool): the default of that key in `resource_dict`.

    Raises:
        ResourceError: a ValueError and TypeError, for a resource or limit of the wrong type or out of range.
        ValueError: for `block_allocation`, `init_function` or `hostname_localhost`.
        ModuleNotFoundError, FileNotFoundError: if a package, or the program dot, that makes a plot is missing.

    Warns:
        UserWarning: for unknown keys of `resource_dict`.

    Example:
        >>> from executorlib.api import TestClusterExecutor
        >>> with TestClusterExecutor(cache_directory="results") as exe:
        ...     total = exe.submit(sum, [1, exe.submit(pow, 2, 3)])
        ...     print(total.result())
        9
    """

    __test__ = False  # pytest takes the name for that of a test

    def __init__(
        self,
        max_workers: int | None = None,
        cache_directory: str | None = None,
        max_cores: int | None = None,
        resource_dict: Mapping[str, Any] | None = None,
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
        from executorlib._file_pool import FileExecutor
        from executorlib._local_queue import LocalQueue
        from executorlib.executor.recording import recording_executor

        max_workers = check_limit("max_workers", max_workers)
        max_cores = check_limit("max_cores", max_cores)
        _check_for_files(block_allocation, init_function, hostname_localhost)
        check_dependencies(disable_dependencies, refresh_rate, plot_dependency_graph)
        recording = recording_executor(
            plot_dependency_graph,
            plot_dependency_graph_filename,
            export_workflow_filename,
            disable_dependencies,
            resource_dict=resource_dict,
            max_workers=max_workers,
            max_cores=max_cores,
            block_allocation=False,
            cache_directory=cache_directory,
        )
        if recording is not None:
            super().__init__(recording)
            return
        resources = check_open(resource_dict)
        if openmpi_oversubscribe:
            resources.setdefault("openmpi_oversubscribe", True)
        super().__init__(
            FileExecutor(
                queue=LocalQueue(),
                resources=resources,
                cache_directory=cache_directory,
                limit=max_cores or max_workers or _core.cpu_count(),
                allow_futures=not disable_dependencies,
                wait=wait,
                info={
                    "max_workers": max_workers,
                    "max_cores": max_cores,
                    "disable_dependencies": disable_dependencies,
                    "refresh_rate": refresh_rate,
                    "pysqa_config_directory": None,
                    "backend": None,
                    "pmi_mode": None,
                },
            )
        )


_NOT_IN_INFO = ("threads_per_core", "gpus_per_core", "slurm_cmd_args")


def _check_for_files(block_allocation: bool, init_function: Any, hostname_localhost: bool | None) -> None:
    if block_allocation:
        raise ValueError("block_allocation=True needs lasting workers, but here every call is a job of its own")
    if init_function is not None:
        raise ValueError("init_function needs lasting workers, but here every call is a job of its own")
    if hostname_localhost is not None:
        raise ValueError("hostname_localhost has no meaning here: calls come and go as files")


def _worker_count(settings: PoolSettings) -> int:
    count = workers_within(settings.max_workers, settings.max_cores, settings.resources.get("cores", 1))
    if count is None:
        count = _core.cpu_count()
        warnings.warn(
            f"neither max_workers nor max_cores is set; using max_workers={count}, the number of cores", stacklevel=3
        )
    return count
