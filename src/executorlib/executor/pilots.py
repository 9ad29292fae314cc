"""Executors whose workers live in jobs, one each: what the Cluster executors are with `block_allocation=True`."""

from __future__ import annotations

from executorlib._pilots import PilotFleet
from executorlib._pool import PoolExecutor
from executorlib._resources import FILE_DEFAULTS, is_known
from executorlib.executor.settings import add_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from executorlib._flux_queue import FluxQueue
    from executorlib._slurm_queue import SlurmQueue


def pilot_executor(
    queue: SlurmQueue | FluxQueue,
    resources: dict[str, Any],
    cache_directory: str | None,
    *,
    workers: int,
    max_cores: int | None,
    accepts: Callable[[dict[str, Any]], None],
    here: bool,
    info: dict[str, Any],
    **settings: Any,
) -> PoolExecutor:
    """An executor whose workers live in jobs; what is not said here is as for `PoolExecutor`.

    Parameters:
        queue: of the jobs.
        resources: of each worker, checked; also those that are for its job only.
        cache_directory: of results and of what the jobs need and write; None to keep no results.
        workers: how many there are.
        here: whether the jobs run on this host.
        info: further settings to show to the user.
    """
    # The others are for the jobs; a time limit is the job's, not that of each call.
    of_calls = {key: value for key, value in resources.items() if is_known(key) and key != "run_time_max"}
    add_cache(of_calls, cache_directory)
    directory = cache_directory or resources.get("cache_directory") or "executorlib_cache"
    told = ("init_function", "restart_limit", "log_obj_size")
    return PoolExecutor(
        resources=of_calls,
        accepts=accepts,
        persistent=True,
        max_workers=workers,
        max_cores=max_cores,
        fleet=PilotFleet(queue, workers, {**FILE_DEFAULTS, **resources}, directory, here),
        info={
            **FILE_DEFAULTS,
            **resources,
            "cache_directory": cache_directory,
            **{name: settings[name] for name in told},
            **info,
        },
        **settings,
    )
