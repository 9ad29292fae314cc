"""A call on its way to the jobs of a file executor."""

from __future__ import annotations

import os
from concurrent.futures import CancelledError
from threading import Lock

from executorlib._call_file import Arguments, input_fields, key_of
from executorlib._culprit import explain_call
from executorlib._file_future import FileFuture
from executorlib._job import OUTPUT
from executorlib._jobs import Job, Jobs
from executorlib._resources import FILE_DEFAULTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Any


class Submission:
    """What was submitted, until it can be pickled.

    Parameters:
        resources: checked, the executor's and the call's together.
        limit: cores of the executor: what an exclusive call occupies.
        own_folder: whether a call runs in the folder that has the name of its key, unless told otherwise.
    """

    def __init__(
        self,
        fn: Callable,
        args: tuple,
        kwargs: dict[str, Any],
        resources: dict[str, Any],
        limit: int,
        own_folder: bool = False,
    ) -> None:
        self._call = fn, args, kwargs
        self._own_folder = own_folder
        self._own_threads = "threads_per_core" in resources
        wanted = {**FILE_DEFAULTS, **resources}
        if wanted["cwd"] is not None:
            wanted["cwd"] = os.path.abspath(wanted["cwd"])
        self._directory = os.path.abspath(wanted.pop("cache_directory"))
        self._cache_key = wanted.pop("cache_key", None)
        self._error_log_file = wanted.pop("error_log_file", None)
        self._resources = wanted
        self._cores = limit if wanted["exclusive"] else wanted["cores"] * wanted["threads_per_core"]

    def send(self, jobs: Jobs, allow_futures: bool) -> FileFuture:
        """Hand the call over; returns its future, which has failed if the call cannot be pickled.

        Raises:
            ValueError: if an argument is a future and that is not allowed.
            RuntimeError: after shutdown.
        """
        if not allow_futures and self._takes_futures():
            raise ValueError("an argument is a future, which disable_dependencies=True does not allow")
        future = FileFuture(jobs.cancel)
        jobs.expect(future)
        self._proceed(jobs, future)
        return future

    def _takes_futures(self) -> bool:
        fn, args, kwargs = self._call
        try:
            arguments = Arguments(args, kwargs)
            key_of(fn, arguments)
        except Exception:
            return False  # what is wrong with it shows when it is sent
        return bool(arguments.producers or arguments.awaited)

    def _proceed(self, jobs: Jobs, future: FileFuture) -> None:
        """Make the job, now or once the futures of others are done that the call takes."""
        if future.done():
            return
        try:
            job, awaited = self._job(future)
        except CancelledError:
            future.cancel()
        except Exception as error:
            explain_call(error, *self._call)
            future.fail(error)
        else:
            if job is not None:
                jobs.add(job)
            else:
                _after(awaited, lambda: jobs.post(lambda: self._proceed(jobs, future)))

    def _job(self, future: FileFuture) -> tuple[Job | None, list[Future]]:
        """The job of this call; or None, and the futures of others that it has to wait for."""
        fn, args, kwargs = self._call
        arguments = Arguments(args, kwargs)
        key = key_of(fn, arguments) if self._cache_key is None else self._cache_key
        base = os.path.join(self._directory, key)
        if self._own_folder and self._resources["cwd"] is None:
            self._resources["cwd"] = base
        fields = input_fields(fn, arguments, self._resources, self._error_log_file, self._own_threads)
        if arguments.awaited:
            return None, arguments.awaited
        future._path = base + OUTPUT
        return Job(base, fields, future, [*arguments.producers], self._resources, self._cores), []


def _after(futures: list[Future], then: Callable[[], None]) -> None:
    """Call `then` once all are done."""
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
