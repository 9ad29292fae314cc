"""What users ask about a cache directory: its entries, and the futures of its calls."""

from __future__ import annotations

import os
import warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from typing import Any

# In the order in which an entry has them. Other fields of a file are its writer's own.
FIELDS = (
    "function", "input_args", "input_kwargs", "output", "error", "resource_dict", "runtime", "queue_id",
    "error_log_file",
)  # fmt: skip


def get_cache_data(cache_directory: str) -> list[dict]:
    """All calls of a cache directory and its sub-folders, with their arguments and results.

    Reading an entry unpickles it, which runs code: only read caches of people you trust.

    Parameters:
        cache_directory (str): the cache. If it does not exist it has no calls.

    Returns:
        list[dict]: one dictionary for each file, with those of these keys that the file has: function, input_args,
            input_kwargs, output or error (if the call has ended), resource_dict, runtime (in seconds), queue_id,
            error_log_file; and filename, the file's absolute path. `queue_id` is what the scheduler's commands take: a
            number, or "12_3" for a call that waits or runs as task 3 of the job array 12. `pandas.DataFrame` takes it.

    Warns:
        UserWarning: for each file that cannot be read, and so is left out.

    Example:
        >>> from executorlib import SingleNodeExecutor, get_cache_data
        >>> with SingleNodeExecutor(cache_directory="cache") as exe:
        ...     print(exe.submit(pow, 2, 3).result())
        8
        >>> [(entry["input_args"], entry["output"]) for entry in get_cache_data("cache")]
        [((2, 3), 8)]
    """
    return [entry for path in files(cache_directory) if (entry := _entry(path)) is not None]


def files(cache_directory: str | os.PathLike[str]) -> Iterator[str]:
    """The absolute paths of a cache's files of calls and of results."""
    from executorlib._cache_entry import INPUT_SUFFIX, OUTPUT_SUFFIX

    for folder, folders, names in os.walk(os.path.abspath(cache_directory)):
        folders.sort()
        for name in sorted(names):
            if name.endswith((OUTPUT_SUFFIX, INPUT_SUFFIX)):
                yield os.path.join(folder, name)


def _entry(path: str) -> dict[str, Any] | None:
    import cloudpickle

    from executorlib import _job_record, _store
    from executorlib._job import INPUT

    try:
        fields = _store.read(path, FIELDS)
        entry = {name: cloudpickle.loads(fields[name]) for name in FIELDS if name in fields}
        queue_id = None if "queue_id" in entry else _job_record.read(path[: -len(INPUT)])
        if queue_id is not None:  # which only a call that waits or runs has
            entry["queue_id"] = int(queue_id) if queue_id.isdecimal() else queue_id
        return {**entry, "filename": path}
    except FileNotFoundError:  # removed since it was listed
        return None
    except Exception as error:
        text = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        warnings.warn(f"cache: {path} is left out: {text}", stacklevel=4)
        return None


def get_cache_data_queue(
    cache_directory: str, queue_type: str | None = None, config_directory: str | None = None
) -> list[dict]:
    """The entries of a cache directory, with the states of their jobs.

    Parameters:
        cache_directory (str): the cache. If it does not exist it has no calls.
        queue_type (str | None): "slurm" or "flux", which then has all of them; None for the one that each call was
            submitted to.
        config_directory (str | None): a configuration of pysqa; has no effect: the scheduler's own commands are asked.

    Returns:
        list[dict]: the entries of `get_cache_data()`, each with a `status`: "finished" if the call has ended, by result
            or by error; else the state of its job in lower case, such as "pending" or "running"; "aborted" if there is
            no such job any more; "running" if it is computed without a scheduler.

    Raises:
        ValueError: for another queue_type.
        RuntimeError: if the scheduler does not answer.
        FileNotFoundError: if there are calls that wait or run, and no such scheduler.

    Example:
        >>> [(entry["queue_id"], entry["status"]) for entry in get_cache_data_queue("results", queue_type="slurm")]
        [(1042, 'finished'), (1043, 'pending')]
    """
    _check_scheduler("queue_type", queue_type)
    from executorlib import _cache_entry, _job_record
    from executorlib._scheduler import Outage, queue_of_kind

    entries = get_cache_data(cache_directory)
    waiting: dict[str, list[dict]] = {}
    for entry in entries:
        ended = bool({"output", "error"} & entry.keys())
        entry["status"] = "finished" if ended else "running"
        if not ended and "queue_id" in entry:
            base = entry["filename"].removesuffix(_cache_entry.INPUT_SUFFIX)
            waiting.setdefault(queue_type or _job_record.kind(base) or "slurm", []).append(entry)
    for kind, asked in waiting.items():
        queue = queue_of_kind(kind)
        try:
            states = queue.states([str(entry["queue_id"]) for entry in asked])
        except Outage as outage:
            raise RuntimeError(f"{kind} does not tell the states of jobs: {outage}") from None
        for entry in asked:
            state = states.get(str(entry["queue_id"]))
            entry["status"] = "aborted" if state is None or queue.has_ended(state) else state.lower()
    return entries


def get_future_from_cache(cache_directory: str, cache_key: str) -> Future:
    """The future of a call in a cache, also of one that another program has submitted and that still runs.

    Parameters:
        cache_directory (str): the cache.
        cache_key (str): the call's name in it: that of its files without `_o.h5` or `_i.h5`.

    Returns:
        Future: done if the result is there. If only the call is there, it ends when the result's file appears, or
            with an error when its job is found to be gone.

    Raises:
        FileNotFoundError: if the cache has neither result nor call of that name.
        CacheFileError: if the file is damaged.
        Exception: what the call raised, if the cache has that.

    Example:
        >>> with SingleNodeExecutor(cache_directory="cache") as exe:
        ...     print(exe.submit(pow, 2, 5, resource_dict={"cache_key": "power"}).result())
        32
        >>> get_future_from_cache("cache", "power").result()
        32
    """
    from executorlib import _cache_entry, _cached

    directory = os.path.abspath(cache_directory)
    path = _cache_entry.output_path(directory, cache_key)
    try:
        return _cached.done(_cache_entry.load(path))
    except FileNotFoundError:
        if not os.path.exists(os.path.join(directory, cache_key + _cache_entry.INPUT_SUFFIX)):
            raise FileNotFoundError(2, "the cache has neither this result nor its call", path) from None
    from executorlib._jobs import awaited

    return awaited(os.path.join(directory, cache_key))


def terminate_tasks_in_cache(
    cache_directory: str, pysqa_config_directory: str | None = None, backend: str | None = None
) -> None:
    """End all calls of a cache directory that wait or run, and remove them from it. Results stay.

    Parameters:
        cache_directory (str): the directory; sub-folders belong to it.
        pysqa_config_directory (str | None): has no effect: the scheduler's own commands end the jobs.
        backend (str | None): None, for calls of TestClusterExecutor, and those of whose jobs there is a record; "slurm"
            or "flux" to ask that about the others too.

    Raises:
        ValueError: for another backend.
        RuntimeError: once all others are ended, if some run on other machines, or the scheduler does not answer.

    Example:
        >>> terminate_tasks_in_cache("executorlib_cache")
    """
    _check_scheduler("backend", backend)
    from executorlib._job import INPUT
    from executorlib._jobs import terminate

    failures = []
    for folder, _, names in os.walk(os.path.abspath(cache_directory)):
        for name in names:
            if name.endswith(INPUT):
                try:
                    terminate(os.path.join(folder, name[: -len(INPUT)]), backend)
                except FileNotFoundError:  # it has ended meanwhile
                    continue
                except RuntimeError as error:
                    failures.append(str(error))
    if failures:
        raise RuntimeError("\n".join(failures))


def terminate_task_in_cache(
    cache_directory: str, cache_key: str, pysqa_config_directory: str | None = None, backend: str | None = None
) -> None:
    """End one call that waits or runs, and remove it from its cache directory.

    Parameters:
        cache_directory (str): the directory.
        cache_key (str): the call's key: the name of its files up to `_i.h5`.
        pysqa_config_directory (str | None): as for `terminate_tasks_in_cache`.
        backend (str | None): as for `terminate_tasks_in_cache`.

    Raises:
        FileNotFoundError: if there is no such call, or it is done.
        RuntimeError: if it runs on another machine, or the scheduler does not answer.

    Example:
        >>> terminate_task_in_cache("executorlib_cache", "my_call")
    """
    _check_scheduler("backend", backend)
    from executorlib._jobs import terminate

    terminate(os.path.join(os.path.abspath(cache_directory), cache_key), backend)


def _check_scheduler(name: str, scheduler: str | None) -> None:
    if scheduler not in (None, "slurm", "flux"):
        raise ValueError(f'{name} must be "slurm", "flux" or None, not {scheduler!r}')


for _function in (
    get_cache_data,
    get_cache_data_queue,
    get_future_from_cache,
    terminate_tasks_in_cache,
    terminate_task_in_cache,
):
    _function.__module__ = "executorlib"
