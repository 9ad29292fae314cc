"""An executor on a pool of the engine: where public calls meet the extension.

    submit  -->  resolve resource_dict  -->  _core.Pool.submit
    map     -->  items or chunks        -->  _core.Pool.map

Subclasses decide what to accept; this one makes the pool and talks to it.
"""

from __future__ import annotations

import os
from _pickle import PickleError, dumps
from functools import partial
from time import monotonic

from executorlib import _core, _errors, _worker
from executorlib._callable import check_callable, initializer_of, takes_worker_id
from executorlib._environment import snapshot, zygote
from executorlib._errors import ResourceError
from executorlib._lifetime import adopt, forget
from executorlib._map import (
    Pace,
    batched_results,
    chained,
    check_sizes,
    chunks,
    pace_key,
    resolve,
    results,
    timed,
    windowed,
)
from executorlib._resources import Request, check, check_limit, first_difference
from executorlib.executor.base import BaseExecutor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from concurrent.futures import Future
    from queue import Queue
    from typing import Any, NoReturn

    from executorlib._cached import CachedCalls, Call
    from executorlib._fleet import Fleet
    from executorlib._gpus import Inventory
    from executorlib._places import Hosts
    from executorlib._record import RecordingPool
    from executorlib._session import Sessions
    from executorlib._steps import Step


class PoolExecutor(BaseExecutor):
    """An executor whose calls run in processes of this engine.

    Parameters:
        resources: checked resources of each call, unless it asks for others.
        accepts: refuses, by raising, checked resources that this kind of executor cannot give. May return how a
            scheduler is to start the call, and how many cores that occupies.
        persistent: whether workers outlive their calls.
        max_workers: how many workers (persistent) or calls (else) run at once; None is no limit.
        max_cores: how many cores the running calls occupy together; None takes those of this process, unless
            max_workers limits the calls. Without meaning for persistent workers.
        init_function: makes the presets of a persistent worker.
        restart_limit: how often a call whose worker died is tried again.
        allow_futures: whether arguments may be futures.
        log_obj_size: whether to log the sizes of what is sent and received.
        info: settings to show to the user.
        host: the executor in whose limits this one's only worker has its place.
        fleet: the nodes on which the calls run, if not on this one.
        steps: whether a scheduler starts each call, or each persistent worker.
        hosts: tells name of the job, and names and cores of its nodes, where calls are counted by node.
        timeline: file to which what happens is logged; None takes the variable EXECUTORLIB_TIMELINE, if it is set.
        recorder: takes the calls instead of a pool of the engine, and runs none.
    """

    _check = staticmethod(check)
    _gpus: Inventory | None = None  # looked for when a call first asks for some

    def __init__(
        self,
        *,
        resources: dict[str, Any],
        accepts: Callable[[dict[str, Any]], tuple[Step, int, int] | None],
        persistent: bool,
        max_workers: int | None,
        max_cores: int | None,
        init_function: Callable | None,
        restart_limit: int,
        allow_futures: bool,
        log_obj_size: bool,
        info: dict[str, Any],
        host: PoolExecutor | None = None,
        fleet: Fleet | None = None,
        steps: bool = False,
        hosts: Callable[[], Hosts | None] | None = None,
        timeline: str | os.PathLike[str] | None = None,
        recorder: RecordingPool | None = None,
    ) -> None:
        self._resources = resources
        self._accepts = accepts
        self._persistent = persistent
        self._workers = max_workers
        self._max_cores = max_cores
        self._info = info
        self._presets = init_function is not None
        self._allow_futures = allow_futures
        self._log_obj_size = log_obj_size
        self._timeline = os.fspath(timeline) if timeline is not None else os.environ.get("EXECUTORLIB_TIMELINE") or None
        self._sessions: Sessions | None = None
        self._cached: CachedCalls | None = None
        self._recorder = recorder
        self._checked: object = _UNCHECKED  # what vouches for the function of the last call
        self._plain: object = _UNCHECKED  # the same, where its calls need nothing but to be sent
        if host is not None:
            self._gpus = host._gpus
        self._fleet = fleet
        self._steps = steps
        self._hosts = hosts
        self._step_pool: _core.Pool | None = None
        # What an executor inside an exclusive call has.
        self._all_cores = max_cores or (_core.cpu_count() if fleet is None else fleet.widest)
        self._zygote = zygote(fresh=fleet is not None)
        if fleet is not None:
            self._zygote.cores = fleet.widest
        self._default = self._request(resources)
        default_cores = _core.cpu_count() if max_workers is None and max_cores is None and fleet is None else 0
        self._limit_cores = max_cores or default_cores
        self._pace = Pace()
        # A batch has no place for presets, a log or a time limit per call, or a second try of one call, or for MPI
        # ranks, each of which returns one.
        one_by_one = init_function is not None or restart_limit or self._default.options or self._default.limited
        one_by_one = one_by_one or self._default.cache is not None or steps
        self._batches = persistent and not one_by_one and self._default.ranks == 1
        setup = self._lasting_setup(init_function) if persistent else b""
        # What the engine here is told, or the one of each agent.
        settings: dict[str, Any] = {
            "persistent": persistent,
            "restart_limit": restart_limit,
            "allow_futures": allow_futures,
            "exclusive_wide": max_cores is None,
            "ranks": self._default.ranks if persistent else 1,
            "needs": self._default.needs,
        }
        imports = _libraries_named if self._shares_imports(init_function) else None
        self._core_pool: _core.Pool
        if fleet is None:
            self._core_pool = (_core.Pool if recorder is None else recorder.as_pool)(
                zygote=self._zygote.spec,
                max_cores=0 if persistent else self._limit_cores,
                max_workers=max_workers or 0,
                setup=setup,
                imports=imports,
                host=None if host is None else host._core_pool,
                timeline=self._timeline,
                steps=steps,
                hosts=hosts() if hosts is not None and steps else None,
                **settings,
            )
        else:
            self._core_pool = _core.Pool(
                fleet=fleet.config, imports=imports, timeline=self._timeline, hosts=fleet.job, **settings
            )
            fleet.launch(self._core_pool, setup, **settings)
        self._pool: _core.Pool = self._core_pool if fleet is None else fleet.kept(self._core_pool)
        if self._gpus is not None:
            self._pool.set_gpus(self._gpus.variable, self._gpus.names)
        if log_obj_size and recorder is None:
            self._batches = False
            from executorlib._sizes import SizeLoggingPool

            self._pool = SizeLoggingPool(self._pool)  # type: ignore[assignment]
        # Read by libraries that ask an executor of the standard library how much to submit at once.
        self._max_workers = max_workers or max_cores or default_cores
        adopt(self, self._pool)

    @property
    def max_workers(self) -> int | None:
        return None if self._pool.closed else self._workers

    @max_workers.setter
    def max_workers(self, max_workers: int) -> None:
        if not self._persistent:
            raise NotImplementedError("max_workers can be changed only with block_allocation=True")
        count = check_limit("max_workers", max_workers)
        if count is None:
            raise ResourceError("max_workers must be an integer, not None")
        if self._default.gpus and self._default.step is None and self._recorder is None:
            self._check_gpus(self._default, count)
        if not self._pool.closed:
            if self._fleet is None:
                self._pool.resize(count)
            else:
                self._fleet.resize(self._core_pool, count)
            self._workers = self._max_workers = count

    @property
    def info(self) -> dict[str, Any] | None:
        return None if self._pool.closed else {**self._info, "max_workers": self._workers}

    @property
    def future_queue(self) -> Queue | None:
        if self._pool.closed:
            return None
        from executorlib._queue import PendingCalls

        return PendingCalls(self._pool)

    def submit(  # type: ignore[override]
        self, fn: Callable, /, *args: Any, resource_dict: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Future:
        code = getattr(fn, "__code__", None)
        if code is self._plain and resource_dict is None and "init_function" not in fn.__globals__:
            try:
                return self._pool.submit(fn, args, kwargs, self._default.needs, None, self._default.options)
            except _PICKLING_FAILED as error:
                from executorlib._culprit import explain_call

                explain_call(error, fn, args, kwargs)
                raise
        if code is not self._checked or "init_function" in getattr(fn, "__globals__", ()):
            vouched = check_callable(fn)
            if self._recorder is not None:
                return self._record(self._recorder, fn, args, kwargs, resource_dict)
            self._checked = vouched
            if (init_function := initializer_of(fn)) is not None:
                future, kwargs = self._in_session(fn, init_function, args, kwargs, resource_dict)
                if future is not None:
                    return future
            elif self._persistent and self._sessions is None and self._default.cache is None:
                self._plain = vouched
        request = self._default if resource_dict is None else self._request(resource_dict)
        if self._sessions is not None:
            self._sessions.check_beside(self, request)
        if request.cache is not None:
            return self._submit_cached((fn, args, kwargs), request)
        return self._send((fn, args, kwargs), request, request.options)

    def map(
        self,
        fn: Callable,
        *iterables: Iterable | Future,
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        check_sizes(chunksize, buffersize)
        deadline = None if timeout is None else monotonic() + timeout
        sequences = resolve(iterables) if self._recorder is None else self._recorder.items(iterables)
        one_by_one = type(self).submit is not PoolExecutor.submit
        if not one_by_one:
            check_callable(fn)
            if self._recorder is not None:
                return results(self._recorder.map(fn, sequences), deadline)
            one_by_one = self._default.cache is not None or self._needs_session(fn, sequences)
        if buffersize is not None:
            in_chunks = chunksize > 1 and not one_by_one and self._default.ranks == 1
            return self._windowed_map(fn, sequences, chunksize if in_chunks else 1, buffersize, deadline)
        if one_by_one:
            return results([self.submit(fn, *items) for items in zip(*sequences, strict=False)], deadline)
        try:
            if chunksize == 1 or self._default.ranks > 1:
                return self._paced_map(fn, sequences, deadline)
            return chained(results(self._map(_worker.Chunk(fn), (chunks(sequences, chunksize),)), deadline))
        except _PICKLING_FAILED as error:
            from executorlib._culprit import explain_map

            explain_map(error, fn, sequences)
            raise

    def _windowed_map(
        self, fn: Callable, iterables: tuple, chunksize: int, buffersize: int, deadline: float | None
    ) -> Iterator[Any]:
        if chunksize == 1:
            return windowed(partial(self.submit, fn), zip(*iterables, strict=False), buffersize, deadline)
        calls = ((chunk,) for chunk in chunks(iterables, chunksize))
        return chained(windowed(partial(self.submit, _worker.Chunk(fn)), calls, buffersize, deadline))

    def _paced_map(self, fn: Callable, iterables: tuple, deadline: float | None) -> Iterator[Any]:
        """Calls one by one, or in batches where earlier maps have shown them to be short."""
        workers = self._workers or 0
        if not self._batches or not workers or takes_worker_id(fn):
            return results(self._map(fn, iterables), deadline)
        started = monotonic()
        calls = list(zip(*iterables, strict=False))
        key = pace_key(fn)
        size = self._pace.batch_size(key, len(calls), workers)
        if size == 1:
            found = results(self._map(fn, tuple(zip(*calls, strict=True)) if calls else ((),)), deadline)
            return timed(found, self._pace, key, len(calls), workers, started)
        batches = [calls[start : start + size] for start in range(0, len(calls), size)]
        return batched_results(results(self._map(_worker.Batch(fn), (batches,)), deadline), self._pace, key)

    def batched(self, iterable: Iterable[Future], n: int) -> list[Future]:
        return super().batched(iterable, n) if self._recorder is None else self._recorder.batched(iterable, n)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if self._sessions is not None:
            self._sessions.shutdown(False, cancel_futures)
        self._pool.shutdown(wait, cancel_futures)
        if self._step_pool is not None:
            self._step_pool.shutdown(wait, cancel_futures)
        if self._cached is not None:
            self._cached.settle(cancel_futures, wait)
        if self._sessions is not None and wait:
            self._sessions.shutdown(True, cancel_futures)
        if wait:
            forget(self._pool)
            if self._step_pool is not None:
                forget(self._step_pool)

    @property
    def all_steps(self) -> bool:
        """Whether a scheduler starts each call, or each persistent worker."""
        return self._steps

    def __len__(self) -> int:
        others = 0 if self._sessions is None else self._sessions.pending()
        if self._cached is not None:
            others += self._cached.pending()
        if self._step_pool is not None:
            others += len(self._step_pool)
        return len(self._pool) + others

    def __reduce__(self) -> NoReturn:
        raise TypeError("an executor cannot be pickled; a call that needs one makes its own")

    def _send(self, call: Call, request: Request, options: bytes | None) -> Future:
        setup = None if self._persistent else snapshot().setup(self._zygote, request)
        pool = self._pool if request.step is None or self._steps else self._pool_of_steps()
        try:
            return pool.submit(*call, request.needs, setup, options)
        except _PICKLING_FAILED as error:
            from executorlib._culprit import explain_call

            explain_call(error, *call)
            raise

    def _pool_of_steps(self) -> _core.Pool:
        """For calls that a scheduler starts, beside those that go to agents; made when the first one comes."""
        if self._pool.closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if self._step_pool is None:
            self._step_pool = _core.Pool(
                zygote=self._zygote.spec,
                persistent=False,
                max_cores=self._max_cores or 0,
                max_workers=self._workers or 0,
                restart_limit=0,
                steps=True,
                hosts=None if self._hosts is None else self._hosts(),
                timeline=self._timeline,
            )
            adopt(self, self._step_pool)
        return self._step_pool

    def _submit_cached(self, call: Call, request: Request) -> Future:
        if self._pool.closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if self._cached is None:
            from executorlib._cached import CachedCalls

            self._cached = CachedCalls(copies=self._allow_futures)
        return self._cached.submit(self._send, call, request)

    def _map(self, fn: Callable, iterables: tuple[Iterable, ...]) -> list[Future]:
        request = self._default
        if self._sessions is not None:
            self._sessions.check_beside(self, request)
        setup = None if self._persistent else snapshot().setup(self._zygote, request)
        return self._pool.map(fn, iterables, request.needs, setup, request.options)  # type: ignore[return-value]

    def _record(
        self,
        recorder: RecordingPool,
        fn: Callable,
        args: tuple,
        kwargs: dict[str, Any],
        resource_dict: Mapping[str, Any] | None,
    ) -> Future:
        if resource_dict is not None:
            self._request(resource_dict)
        return recorder.submit(fn, args, kwargs)

    def _needs_session(self, fn: Callable, args: tuple) -> bool:
        """Whether calls of a map with so many arguments go to a session of the function's module."""
        if self._presets or initializer_of(fn) is None:
            return False
        from executorlib import _session

        return _session.lacks_parameters(fn, args, {})

    def _in_session(
        self,
        fn: Callable,
        init_function: Callable,
        args: tuple,
        kwargs: dict[str, Any],
        resource_dict: Mapping[str, Any] | None,
    ) -> tuple[Future | None, dict[str, Any]]:
        """The future of a call that is a session's; else None, and the keyword arguments to call with."""
        from executorlib import _session

        if not _session.lacks_parameters(fn, args, kwargs):
            return None, kwargs
        if self._presets:
            return None, _session.prepared(fn, kwargs, self._resources)
        if self._sessions is None:
            self._sessions = _session.Sessions()
            self._plain = _UNCHECKED
        return self._sessions.submit(self, fn, init_function, args, kwargs, resource_dict), kwargs

    def _session_executor(self, init_function: Callable, resources: dict[str, Any]) -> PoolExecutor:
        """An executor with one persistent worker, for which this one sets aside what it needs."""
        if self._fleet is not None:
            from executorlib import _room

            request = self._default if self._persistent else Request(_room.resources_of_holder(resources))
            return _room.session_elsewhere(
                lambda file: self._send((_room.hold, (file,), {}), request, None),
                init_function,
                resources,
                here=self._fleet.here,
                allow_futures=self._allow_futures,
                log_obj_size=self._log_obj_size,
                timeline=self._timeline,
            )
        return PoolExecutor(
            resources=resources,
            accepts=self._accepts,
            persistent=True,
            max_workers=1,
            max_cores=None,
            init_function=init_function,
            restart_limit=0,
            allow_futures=self._allow_futures,
            log_obj_size=self._log_obj_size,
            info={},
            host=self,
            timeline=self._timeline,
        )

    def _request(self, resource_dict: Mapping[str, Any]) -> Request:
        requested = self._check(resource_dict)
        if self._persistent:
            key = first_difference(requested, self._resources)
            if key is not None:
                raise ResourceError(
                    f"{key}={requested[key]!r}, but with block_allocation=True the workers have what the resource_dict "
                    "of the executor says"
                )
        resources = {**self._resources, **requested}
        request = Request(resources)
        if not self._persistent and self._max_cores is not None and request.cores > self._max_cores:
            raise ResourceError(f"a call needs {request.cores} cores, but max_cores is {self._max_cores}")
        step = self._accepts(resources)
        if step is not None:
            request.become_step(*step)
        if request.gpus and request.step is None and self._recorder is None:
            self._check_gpus(request, self._workers or 1 if self._persistent else 1)
        if resources.get("exclusive") and request.step is None:
            request.cores = self._all_cores
        if request.cwd is not None:
            os.makedirs(request.cwd, exist_ok=True)
        return request

    def _check_gpus(self, request: Request, holders: int) -> None:
        """Refuse a request for more GPUs than there are for so many at once.

        They are looked for when some are first asked for: that can take a second.
        """
        if self._fleet is not None:
            return  # each node has its own
        from executorlib._gpus import check_enough, inventory

        if self._gpus is None:
            self._gpus = inventory()
            pool = getattr(self, "_pool", None)
            if pool is not None:
                pool.set_gpus(self._gpus.variable, self._gpus.names)
        check_enough(self._gpus, request.gpus, request.gpu_share, holders)

    def _shares_imports(self, init_function: Callable | None) -> bool:
        """Whether libraries are imported once, before the workers are forked.

        An initializer may set variables for the sake of an import; one worker has nobody to share with; with
        several threads per call, libraries that start them at import could not be forked; and a library may look for
        GPUs, or count processors, at its import.
        """
        alike = not self._steps and init_function is None and not self._default.gpus and not self._default.pin
        alike = alike and (self._fleet is None or self._fleet.shares_imports)
        return self._persistent and alike and self._workers != 1 and self._default.needs[:2] == (1, 1)

    def _lasting_setup(self, init_function: Callable | None) -> bytes:
        setup = snapshot().describe(self._zygote, self._default)
        if init_function is not None:
            from executorlib._pickling import dumps as dumps_by_value

            setup["init"] = dumps_by_value(init_function)
        return dumps(setup, 5)


def _libraries_named(pickles: list[bytes]) -> bytes:
    from executorlib._imports import libraries_named

    return libraries_named(pickles)


def _cloudpickler() -> type:
    from executorlib._pickling import CloudPickler

    return CloudPickler


_UNCHECKED = object()
_PICKLING_FAILED = (TypeError, AttributeError, ValueError, PickleError)

_core.set_error_factory(_errors.error_for)
_core.set_remote_cause(_errors.set_remote_cause)
_core.set_cloudpickler(_cloudpickler)
