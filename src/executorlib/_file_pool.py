"""An executor whose calls are jobs with files: what its `submit` does before the jobs take over.

submit  -->  resources, arguments, key  -->  Jobs (_jobs.py)  -->  job (_job.py)  -->  output file  -->  future
"""

from __future__ import annotations

import os
from concurrent.futures import CancelledError, Executor
from threading import Lock

from executorlib._callable import check_callable
from executorlib._file_future import FileFuture
from executorlib._job import OUTPUT
from executorlib._jobs import Job, Jobs
from executorlib._lifetime import adopt, forget
from executorlib._local_queue import LocalQueue
from executorlib._map import resolve
from executorlib._resources import check_open
from executorlib.executor.base import BaseExecutor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from concurrent.futures import Future
    from queue import Queue
    from typing import Any, NoReturn

_DEFAULTS = {
    "cores": 1,
    "threads_per_core": 1,
    "gpus_per_core": 0,
    "cwd": None,
    "openmpi_oversubscribe": False,
    "exclusive": False,
}


class FileExecutor(BaseExecutor):
    """An executor whose calls are jobs, with an input and an output file each, which outlive the program.

    Parameters:
        queue: where jobs are submitted.
        resources: checked resources of each call, unless it asks for others.
        cache_directory: of the files; "executorlib_cache" if None.
        limit: cores that running jobs occupy together.
        allow_futures: whether arguments may be futures.
        wait: whether the end of the executor waits for its calls.
        info: settings to show to the user.
    """

    def __init__(
        self,
        *,
        queue: LocalQueue,
        resources: dict[str, Any],
        cache_directory: str | None,
        limit: int,
        allow_futures: bool,
        wait: bool,
        info: dict[str, Any],
    ) -> None:
        directory = cache_directory or resources.get("cache_directory") or "executorlib_cache"
        self._resources = {**resources, "cache_directory": os.path.abspath(directory)}
        self._limit = limit
        self._allow_futures = allow_futures
        self._info = {**_DEFAULTS, **resources, "cache_directory": os.fspath(directory), "wait": wait, **info}
        self._jobs = Jobs(queue, limit, detaches=not wait)
        adopt(self, self._jobs)  # type: ignore[arg-type]

    @property
    def max_workers(self) -> int | None:
        return None if self._jobs.closed else self._info.get("max_workers")

    @max_workers.setter
    def max_workers(self, max_workers: int) -> None:
        raise NotImplementedError("max_workers can be changed only with block_allocation=True")

    @property
    def info(self) -> dict[str, Any] | None:
        return None if self._jobs.closed else dict(self._info)

    @property
    def future_queue(self) -> Queue | None:
        if self._jobs.closed:
            return None
        from executorlib._queue import PendingCalls

        return PendingCalls(self._jobs)

    def submit(  # type: ignore[override]
        self, fn: Callable, /, *args: Any, resource_dict: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Future:
        check_callable(fn)
        resources = {**self._resources, **check_open(resource_dict)}
        call = _Call(fn, args, kwargs, resources, self._limit)
        future = FileFuture(self._jobs.cancel)
        if not self._allow_futures and call.takes_futures():
            raise ValueError("a future as argument, but disable_dependencies=True was asked for")
        self._jobs.expect(future)
        _submit(self._jobs, call, future)
        return future

    def map(
        self, fn: Callable, *iterables: Iterable | Future, timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[Any]:
        if chunksize < 1:
            raise ValueError(f"chunksize must be at least 1, not {chunksize}")
        return Executor.map(self, fn, *resolve(iterables), timeout=timeout)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._jobs.shutdown(wait, cancel_futures)
        if wait:
            forget(self._jobs)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self._jobs)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an executor cannot be pickled; a call that needs one makes its own")


class _Call:
    """What was submitted, until it can be pickled."""

    def __init__(self, fn: Callable, args: tuple, kwargs: dict[str, Any], resources: dict[str, Any], limit: int):
        self.fn, self.args, self.kwargs = fn, args, kwargs
        self.own_threads = "threads_per_core" in resources
        wanted = {**_DEFAULTS, **resources}
        if wanted["cwd"] is not None:
            wanted["cwd"] = os.path.abspath(wanted["cwd"])
        self.directory = os.path.abspath(wanted.pop("cache_directory"))
        self.cache_key = wanted.pop("cache_key", None)
        self.error_log_file = wanted.pop("error_log_file", None)
        self.resources = wanted
        self.cores = limit if wanted["exclusive"] else wanted["cores"] * wanted["threads_per_core"]

    def takes_futures(self) -> bool:
        from executorlib._call_file import Arguments, key_of

        try:
            arguments = Arguments(self.args, self.kwargs)
            key_of(self.fn, arguments)
        except Exception:
            return False  # what is wrong with it shows when it is submitted
        return bool(arguments.producers or arguments.awaited)

    def job(self, future: FileFuture) -> tuple[Job | None, list[Future]]:
        """The job of this call; or None, and the futures of others that it has to wait for."""
        from executorlib._call_file import Arguments, input_fields, key_of  # cloudpickle takes long to import

        arguments = Arguments(self.args, self.kwargs)
        key = key_of(self.fn, arguments) if self.cache_key is None else self.cache_key
        fields = input_fields(self.fn, arguments, self.resources, self.error_log_file, self.own_threads)
        if arguments.awaited:
            return None, arguments.awaited
        base = os.path.join(self.directory, key)
        future._path = base + OUTPUT
        return Job(base, fields, future, [*arguments.producers], self.resources, self.cores), []


def _submit(jobs: Jobs, call: _Call, future: FileFuture) -> None:
    """Make the job, now or once the futures of others are done that the call takes."""
    if future.done():
        return
    try:
        job, awaited = call.job(future)
    except CancelledError:
        future.cancel()
    except Exception as error:
        future.fail(error)
    else:
        if job is not None:
            jobs.add(job)
        else:
            _after(awaited, lambda: jobs.post(lambda: _submit(jobs, call, future)))


def _after(futures: list[Future], then: Callable[[], None]) -> None:
    lock = Lock()
    left = len(futures)

    def one_done(_: Future) -> None:
        nonlocal left
        with lock:
            left -= 1
            last = left == 0
        if last:
            then()

    for future in futures:
        future.add_done_callback(one_done)
