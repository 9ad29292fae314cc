"""Results kept in files, and the jobs that make them. Not available in this release."""

from __future__ import annotations

from executorlib._unavailable import unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures import Future


def get_cache_data(cache_directory: str) -> list[dict]:
    """The entries of a cache directory. Not available in this release."""
    raise unavailable("get_cache_data")


def get_cache_data_queue(
    cache_directory: str, queue_type: str | None = None, config_directory: str | None = None
) -> list[dict]:
    """The entries of a cache directory and the states of their jobs. Not available in this release."""
    raise unavailable("get_cache_data_queue")


def get_future_from_cache(cache_directory: str, cache_key: str) -> Future:
    """The future of a cached call. Not available in this release."""
    raise unavailable("get_future_from_cache")


def terminate_tasks_in_cache(
    cache_directory: str, pysqa_config_directory: str | None = None, backend: str | None = None
) -> None:
    """Cancel all jobs of a cache directory. Not available in this release."""
    raise unavailable("terminate_tasks_in_cache")


def terminate_task_in_cache(
    cache_directory: str, cache_key: str, pysqa_config_directory: str | None = None, backend: str | None = None
) -> None:
    """Cancel one job of a cache directory. Not available in this release."""
    raise unavailable("terminate_task_in_cache")


for _function in (
    get_cache_data,
    get_cache_data_queue,
    get_future_from_cache,
    terminate_tasks_in_cache,
    terminate_task_in_cache,
):
    _function.__module__ = "executorlib"
