"""Executors for scientific Python that run functions with the resources they ask for, from a laptop to a cluster."""

from executorlib._version import __version__ as __version__
from executorlib.executor.base import BaseExecutor
from executorlib.executor.single import SingleNodeExecutor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from executorlib._cache import (
        get_cache_data,
        get_cache_data_queue,
        get_future_from_cache,
        terminate_task_in_cache,
        terminate_tasks_in_cache,
    )
    from executorlib._select import get_item_from_future, split_future
    from executorlib.executor.flux import FluxClusterExecutor, FluxJobExecutor
    from executorlib.executor.slurm import SlurmClusterExecutor, SlurmJobExecutor

__all__ = [
    "BaseExecutor",
    "FluxClusterExecutor",
    "FluxJobExecutor",
    "SingleNodeExecutor",
    "SlurmClusterExecutor",
    "SlurmJobExecutor",
    "get_cache_data",
    "get_cache_data_queue",
    "get_future_from_cache",
    "get_item_from_future",
    "split_future",
    "terminate_task_in_cache",
    "terminate_tasks_in_cache",
]

# Loaded when they are first asked for: starting is part of every short script.
_LATER = {
    "FluxClusterExecutor": "executorlib.executor.flux",
    "FluxJobExecutor": "executorlib.executor.flux",
    "SlurmClusterExecutor": "executorlib.executor.slurm",
    "SlurmJobExecutor": "executorlib.executor.slurm",
    "get_cache_data": "executorlib._cache",
    "get_cache_data_queue": "executorlib._cache",
    "get_future_from_cache": "executorlib._cache",
    "get_item_from_future": "executorlib._select",
    "split_future": "executorlib._select",
    "terminate_task_in_cache": "executorlib._cache",
    "terminate_tasks_in_cache": "executorlib._cache",
}


def __getattr__(name: str) -> "Any":
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(__import__(_LATER[name], fromlist=[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
