"""What the constructors of the executors have in common: the checks of their arguments, and what follows from those."""

from __future__ import annotations

import os
import warnings

from executorlib._errors import ResourceError
from executorlib._record import recorder_for
from executorlib._resources import check, check_limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import Any


class PoolSettings:
    """The arguments that all executors on a pool have, checked. They are explained where users read them.

    Attributes:
        resources: of each call; a dictionary of its own.
        max_workers, max_cores: the limits, None without one.
        persistent: whether workers outlive their calls.
        recorder: takes the calls if they are to be shown, else None.
    """

    def __init__(
        self,
        *,
        max_workers: int | None,
        cache_directory: str | None,
        max_cores: int | None,
        resource_dict: Mapping[str, Any] | None,
        hostname_localhost: bool | None,
        block_allocation: bool,
        init_function: Callable | None,
        disable_dependencies: bool,
        refresh_rate: float,
        plot_dependency_graph: bool,
        plot_dependency_graph_filename: str | None,
        export_workflow_filename: str | None,
        log_obj_size: bool,
        wait: bool,
        restart_limit: int,
        openmpi_oversubscribe: bool,
    ) -> None:
        self.resources = check(resource_dict)
        self.max_workers = check_limit("max_workers", max_workers)
        self.max_cores = check_limit("max_cores", max_cores)
        if not wait:
            raise ValueError("wait=False needs one of the Cluster executors: here calls end with the program")
        check_init_function(init_function, block_allocation, cache_directory, stacklevel=4)
        check_restart_limit(restart_limit, block_allocation)
        check_dependencies(disable_dependencies, refresh_rate, plot_dependency_graph)
        self.recorder = recorder_for(
            plot_dependency_graph, plot_dependency_graph_filename, export_workflow_filename, disable_dependencies
        )
        if openmpi_oversubscribe:
            self.resources.setdefault("openmpi_oversubscribe", True)
        self.persistent = bool(block_allocation)
        self._init_function = init_function
        self._restart_limit = restart_limit
        self._allow_futures = not disable_dependencies
        self._log_obj_size = log_obj_size
        self._shown = {
            "openmpi_oversubscribe": openmpi_oversubscribe,
            "cache_directory": cache_directory,
            "hostname_localhost": hostname_localhost,
            "log_obj_size": log_obj_size,
        }

    def info(self, of_resources: Mapping[str, Any], hidden: Collection[str] = (), **of_kind: Any) -> dict[str, Any]:
        """What the executor tells about itself.

        Parameters:
            of_resources: the keys that are shown in any case, with their values where nothing was asked for.
            hidden: further keys of the resources that are not shown.
            **of_kind: the arguments that only this kind of executor has.
        """
        resources = {key: self.resources[key] for key in self.resources if key not in {*hidden, "cache_key_version"}}
        of_calls: dict[str, Any] = {"max_cores": self.max_cores}
        if self.persistent:
            of_calls = {"init_function": self._init_function, "restart_limit": self._restart_limit}
        return {**of_resources, **resources, **self._shown, **of_kind, **of_calls}

    def for_pool(self) -> dict[str, Any]:
        """The arguments of `PoolExecutor` that these settings decide."""
        return {
            "resources": self.resources,
            "persistent": self.persistent,
            "max_workers": self.max_workers,
            "max_cores": self.max_cores,
            "init_function": self._init_function,
            "restart_limit": self._restart_limit,
            "allow_futures": self._allow_futures,
            "log_obj_size": self._log_obj_size,
            "recorder": self.recorder,
        }


def add_cache(resources: dict[str, Any], cache_directory: str | os.PathLike[str] | None) -> None:
    """Have the calls keep their results there, unless they say where themselves."""
    directory = resources.get("cache_directory", cache_directory)
    if directory is None:
        return
    from executorlib._cached import check_readable
    from executorlib._trust import warn_of_cache

    resources.update(check({"cache_directory": directory}))
    if "cache_key_version" not in resources and "EXECUTORLIB_CACHE_KEY_VERSION" in os.environ:
        resources.update(check({"cache_key_version": int(os.environ["EXECUTORLIB_CACHE_KEY_VERSION"])}))
    check_readable(resources["cache_directory"])
    warn_of_cache(resources["cache_directory"])


def workers_within(max_workers: int | None, max_cores: int | None, cores: int) -> int | None:
    """How many workers of so many cores the limits say; None if there are no limits."""
    if max_workers is not None or max_cores is None:
        return max_workers
    if max_cores < cores:
        raise ResourceError(f"a worker needs {cores} cores, but max_cores is {max_cores}")
    return max_cores // cores


def check_init_function(
    init_function: Any, block_allocation: bool, cache_directory: str | None, *, stacklevel: int = 3
) -> None:
    if init_function is None:
        return
    if not callable(init_function):
        raise TypeError(f"init_function must be callable, but is {init_function!r}")
    if not block_allocation:
        raise ValueError("init_function needs block_allocation=True: without it no worker keeps the presets")
    if cache_directory is not None:
        warnings.warn(
            "cached results do not depend on init_function: a changed one can bring back outdated results",
            stacklevel=stacklevel,
        )


def check_lasting_workers(
    init_function: Any,
    cache_directory: str | None,
    disable_dependencies: bool,
    refresh_rate: Any,
    plot_dependency_graph: bool,
    wait: bool,
) -> None:
    """Of a Cluster executor with block_allocation=True."""
    check_init_function(init_function, True, cache_directory, stacklevel=4)
    check_dependencies(disable_dependencies, refresh_rate, plot_dependency_graph)
    if not wait:
        raise ValueError("wait=False needs block_allocation=False: lasting workers end with the program")


def check_restart_limit(restart_limit: Any, block_allocation: bool) -> None:
    if isinstance(restart_limit, bool) or not isinstance(restart_limit, int):
        raise ResourceError(f"restart_limit must be an integer, not {restart_limit!r}")
    if restart_limit < 0:
        raise ResourceError(f"restart_limit must not be negative, but is {restart_limit}")
    if restart_limit and not block_allocation:
        raise ValueError("restart_limit needs block_allocation=True: it counts restarts of lasting workers")


def check_dependencies(disable_dependencies: bool, refresh_rate: Any, plot_dependency_graph: bool) -> None:
    if not isinstance(refresh_rate, (int, float)):
        raise ResourceError(f"refresh_rate must be a number of seconds, not {refresh_rate!r}")
    if not refresh_rate >= 0:
        raise ResourceError(f"refresh_rate must not be negative, but is {refresh_rate}")
    if disable_dependencies and plot_dependency_graph:
        raise ValueError("plot_dependency_graph needs the dependencies that disable_dependencies turns off")
    if disable_dependencies and refresh_rate != 0.01:
        raise ValueError("refresh_rate is for the dependencies that disable_dependencies turns off")
