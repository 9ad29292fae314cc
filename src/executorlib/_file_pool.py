"""An executor whose calls are jobs with files: what its `submit` does before the jobs take over.

submit  -->  resources, arguments, key  -->  Jobs (_jobs.py)  -->  job (_job.py)  -->  output file  -->  future
"""

from __future__ import annotations

import os

from executorlib._callable import check_callable, initializer_of
from executorlib._job import OUTPUT
from executorlib._lifetime import adopt, forget
from executorlib._resources import FILE_DEFAULTS as DEFAULTS
from executorlib._resources import check_open
from executorlib._trust import warn_of_cache
from executorlib.executor.base import BaseExecutor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future
    from typing import Any, NoReturn

    from executorlib._jobs import Queue
    from executorlib._pool import PoolExecutor
    from executorlib._queue import PendingCalls
    from executorlib._session import Sessions


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
        accepts: raises for resources that the queue cannot give.
    """

    def __init__(
        self,
        *,
        queue: Queue,
        resources: dict[str, Any],
        cache_directory: str | None,
        limit: int,
        allow_futures: bool,
        wait: bool,
        info: dict[str, Any],
        accepts: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> None:
        from executorlib._jobs import jobs_for

        accepts(resources)
        self._accepts = accepts
        self._own_folder = queue.holds
        directory = cache_directory or resources.get("cache_directory") or "executorlib_cache"
        warn_of_cache(directory)
        self._resources = {**resources, "cache_directory": os.path.abspath(directory)}
        self._limit = limit
        self._allow_futures = allow_futures
        self._info = {**DEFAULTS, **resources, "cache_directory": os.fspath(directory), "wait": wait, **info}
        self._jobs = jobs_for(queue, limit, detaches=not wait)
        self._sessions: Sessions | None = None
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
    def future_queue(self) -> PendingCalls | None:
        if self._jobs.closed:
            return None
        from executorlib._queue import PendingCalls

        return PendingCalls(self._jobs)

    def submit(  # type: ignore[override]
        self, fn: Callable, /, *args: Any, resource_dict: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Future:
        check_callable(fn)
        if (init_function := initializer_of(fn)) is not None:
            from executorlib import _session

            if _session.lacks_parameters(fn, args, kwargs):
                if self._sessions is None:
                    self._sessions = _session.Sessions()
                return self._sessions.submit(self, fn, init_function, args, kwargs, resource_dict)
        return self._send(fn, args, kwargs, {**self._resources, **check_open(resource_dict)})

    def _send(self, fn: Callable, args: tuple, kwargs: dict[str, Any], resources: dict[str, Any]) -> Future:
        self._accepts(resources)
        from executorlib._submission import Submission  # cloudpickle takes long to import

        submission = Submission(fn, args, kwargs, resources, self._limit, self._own_folder)
        return submission.send(self._jobs, self._allow_futures)

    def _session_executor(self, init_function: Callable, resources: dict[str, Any]) -> PoolExecutor:
        """An executor with one persistent worker, in a job of its own."""
        from executorlib import _room

        wanted = _room.resources_of_holder(resources)
        return _room.session_elsewhere(
            lambda file: self._hold(file, wanted),
            init_function,
            resources,
            here=not self._own_folder,
            allow_futures=self._allow_futures,
        )

    def _hold(self, file: str, resources: dict[str, Any]) -> Future:
        from executorlib import _room
        from executorlib._job import remove

        key = f"session-{os.urandom(8).hex()}"
        future = self._send(_room.hold, (file,), {}, {**resources, "cache_key": key})
        future.add_done_callback(lambda _: remove(os.path.join(resources["cache_directory"], key + OUTPUT)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if self._sessions is not None:
            self._sessions.shutdown(wait, cancel_futures)
        self._jobs.shutdown(wait, cancel_futures)
        if wait:
            forget(self._jobs)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self._jobs) + (0 if self._sessions is None else self._sessions.pending())

    def __reduce__(self) -> NoReturn:
        raise TypeError("an executor cannot be pickled; a call that needs one makes its own")
