"""Executors for scientific Python that run functions with the resources they ask for, from a laptop to a cluster."""

from executorlib._cache import (
    get_cache_data,
    get_cache_data_queue,
    get_future_from_cache,
    terminate_task_in_cache,
    terminate_tasks_in_cache,
)
from executorlib._select import get_item_from_future, split_future
from executorlib._version import __version__ as __version__
from executorlib.executor.base import BaseExecutor
from executorlib.executor.flux import FluxClusterExecutor, FluxJobExecutor
from executorlib.executor.single import SingleNodeExecutor
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
