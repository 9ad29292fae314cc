"""Module sessions: a worker kept for the functions of a module that need what its `init_function` makes.

    call lacks parameters, module has init_function  --Sessions.submit-->  its client's session  -->  worker

Some libraries submit functions whose first parameter only an initializer of theirs can fill, and then talk to one
object in a worker over many calls. Such a call fails with a TypeError on an executor that was given no initializer.
Here it opens a session instead: an executor of its own with one persistent worker, whose cores are set aside in the
executor that was asked. A session serves one client: the object of the library whose method submits. It ends when the
client closes it, is gone, or has lost the worker.
"""

from __future__ import annotations

import sys
import weakref
from concurrent.futures import Future
from functools import lru_cache
from importlib import import_module
from inspect import Parameter, Signature, signature
from threading import RLock

from executorlib._errors import ExecutorlibSocketError, ResourceError
from executorlib._pool import PoolExecutor
from executorlib._resources import Request, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from executorlib._file_pool import FileExecutor

# As many frames are searched for the client: executors are handed to libraries as they are, or thinly wrapped.
_DEPTH = 16

_WHOLE_GPU = 1000


class Library:
    """What is known about a library; this class stands for one of which nothing is.

    Attributes:
        opening (frozenset[str]): names of the functions that open a session; any does if there are none.
        closing (frozenset[str]): names of the functions after which the session ends.
    """

    opening: frozenset[str] = frozenset()
    closing: frozenset[str] = frozenset()

    def agree(self, clients: list[Any], resources: dict[str, Any]) -> dict[str, Any]:
        """The resources for a session of `clients[0]`, which the objects after it use; may tell them what they get."""
        return resources

    def keywords(self, name: str, keywords: dict[str, Any]) -> dict[str, Any]:
        """The keyword arguments with which to call the function `name`."""
        return keywords


class Session:
    """One client's worker.

    Attributes:
        module (str): name of the module whose functions it runs.
        cores (int): what it occupies.
        exclusive (bool): whether it has the node to itself.
        executor (PoolExecutor): of this session alone.
        client (object): a weak reference to the client, the client itself where that is impossible, or None.
    """

    __slots__ = ("client", "cores", "exclusive", "executor", "module")

    def __init__(self, module: str, executor: PoolExecutor, client: object) -> None:
        self.module = module
        self.cores = executor._default.cores
        self.exclusive = _is_exclusive(executor._default)
        self.executor = executor
        self.client = client


class Sessions:
    """The sessions of one executor, which every method is given: it is not kept, so that it can be garbage."""

    def __init__(self) -> None:
        # Reentrant: a client that is garbage may close its session from anywhere.
        self._lock = RLock()
        self._open: dict[tuple[str, int | None], Session] = {}
        self._ending: list[PoolExecutor] = []

    def submit(
        self,
        host: PoolExecutor | FileExecutor,
        fn: Callable,
        init_function: Callable,
        args: tuple,
        kwargs: dict[str, Any],
        resource_dict: Mapping[str, Any] | None,
    ) -> Future:
        """Submit a call to the session of its client, which is opened where that is due.

        Raises:
            ResourceError: if there is no room for a session.
            RuntimeError: if the client has one already, or the executor was shut down.
            ExecutorlibSocketError: if the call is not one that opens a session, and none is open.
        """
        module, name = fn.__module__, getattr(fn, "__name__", "")
        library, clients = library_of(module), callers(module)
        key = module, id(clients[0]) if clients else None
        with self._lock:
            session = self._open.get(key)
            if session is None and name in library.closing:
                return _nothing_to_do()
            if host.info is None:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if session is not None and name in library.opening:
                raise RuntimeError(
                    f"{_titled([session])} is open; its client has to close it before {name}() opens one"
                )
            if session is None and library.opening and name not in library.opening:
                raise ExecutorlibSocketError(
                    f"{name}() needs an open session of {module}: there is none, or its worker was lost"
                )
            if session is None:
                resources = library.agree(clients, {**host._resources, **check(resource_dict)})
                session = self._open_for(host, key, clients, init_function, resources)
            lost = session.executor._pool.lost
            future = session.executor.submit(fn, *args, resource_dict=resource_dict, **library.keywords(name, kwargs))
            if lost or name in library.closing:
                self._close(key)
            return future

    def check_beside(self, host: PoolExecutor, request: Request) -> None:
        """Refuse a call that has to wait until a session is closed.

        Raises:
            ResourceError: if it does not fit beside the open sessions.
        """
        sessions = [session for session in list(self._open.values()) if not session.executor._pool.lost]
        if not sessions:
            return
        if _is_exclusive(request) or any(session.exclusive for session in sessions):
            raise ResourceError(f"nothing that is exclusive runs beside {_titled(sessions)}")
        workers, cores = host._workers, host._limit_cores
        if workers and len(sessions) >= workers:
            raise ResourceError(f"max_workers is {workers}, and none is left beside {_titled(sessions)}")
        if request.gpus and host._gpus is not None:
            left = len(host._gpus.names) * _WHOLE_GPU - sum(map(_gpus_of, (s.executor._default for s in sessions)))
            if _gpus_of(request) > left:
                raise ResourceError(f"a call needs more GPUs than are left beside {_titled(sessions)}")
        free = cores - sum(session.cores for session in sessions)
        if not host._persistent and cores and request.cores > free:
            raise ResourceError(
                f"a call needs {request.cores} of {cores} cores, and {max(free, 0)} are left beside {_titled(sessions)}"
            )

    def pending(self) -> int:
        """How many calls have not ended, beyond those that the executor knows of."""
        with self._lock:
            executors = self._executors()
        return sum(map(len, executors)) - sum(_is_held(executor) for executor in executors)

    def shutdown(self, wait: bool, cancel_futures: bool) -> None:
        """End all sessions: their calls are completed, or cancelled where they have not begun."""
        with self._lock:
            executors = self._executors()
            self._open.clear()
            self._ending = executors
        for executor in executors:
            executor.shutdown(wait, cancel_futures=cancel_futures)

    def _executors(self) -> list[PoolExecutor]:
        return self._ending + [session.executor for session in self._open.values()]

    def _open_for(
        self,
        host: PoolExecutor | FileExecutor,
        key: tuple[str, int | None],
        clients: list[Any],
        init_function: Callable,
        resources: dict[str, Any],
    ) -> Session:
        if isinstance(host, PoolExecutor):
            self.check_beside(host, host._request(resources))
        executor = host._session_executor(init_function, resources)
        session = Session(key[0], executor, self._watch(key, clients[0]) if clients else None)
        self._open[key] = session
        return session

    def _watch(self, key: tuple[str, int | None], client: object) -> object:
        sessions = weakref.ref(self)

        def gone(_: object) -> None:
            if (found := sessions()) is not None:
                found._close(key)

        try:
            return weakref.ref(client, gone)
        except TypeError:
            return client  # kept, so that no other object gets its id

    def _close(self, key: tuple[str, int | None]) -> None:
        with self._lock:
            session = self._open.pop(key, None)
            if session is None:
                return
            self._ending = [executor for executor in self._ending if len(executor) or executor._pool.pids()]
            self._ending.append(session.executor)
        session.executor.shutdown(wait=False)


def lacks_parameters(fn: Callable, args: tuple, kwargs: dict[str, Any]) -> bool:
    """Whether a call would be complete if some required parameters had values."""
    try:
        known = _signature(fn)
        given = known.bind_partial(*args, **kwargs).arguments
    except (TypeError, ValueError):
        return False
    return any(
        parameter.default is Parameter.empty
        and parameter.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
        and name not in given
        and name != "executorlib_worker_id"
        for name, parameter in known.parameters.items()
    )


def prepared(fn: Callable, kwargs: dict[str, Any], resources: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments for a call on an executor whose own initializer fills what the call lacks."""
    module, name = fn.__module__, getattr(fn, "__name__", "")
    library = library_of(module)
    if name in library.opening:
        library.agree(callers(module), {"cores": 1, **resources})
    return library.keywords(name, kwargs)


def callers(module: str) -> list[Any]:
    """The objects of the package of `module` whose methods are submitting a call, the nearest first."""
    package = _package(module)
    found: list[Any] = []
    entered = False
    frame = sys._getframe(1)
    for _ in range(_DEPTH):
        if frame is None or frame.f_back is None:
            break
        frame = frame.f_back
        inside = _package(frame.f_globals.get("__name__", "")) == package
        if entered and not inside:
            break
        entered = inside
        owner = frame.f_locals.get("self") if inside else None
        if owner is not None and not any(owner is known for known in found):
            found.append(owner)
    return found


@lru_cache(maxsize=64)
def library_of(module: str) -> Library:
    """What is known about the library that `module` belongs to."""
    name = f"executorlib.integration.{_package(module)}"
    try:
        return import_module(name).library
    except ModuleNotFoundError as missing:
        if missing.name != name:
            raise
        return Library()


@lru_cache(maxsize=64)
def _signature(fn: Callable) -> Signature:
    return signature(fn)


def _package(module: str) -> str:
    return module.partition(".")[0]


def _titled(sessions: list[Session]) -> str:
    names = ", ".join(f"{session.module} ({session.cores} core{'s' * (session.cores > 1)})" for session in sessions)
    return f"the open session{'s' * (len(sessions) > 1)} of {names}"


def _gpus_of(request: Request) -> int:
    """In thousandths."""
    return request.gpus * (request.gpu_share or _WHOLE_GPU)


def _is_exclusive(request: Request) -> bool:
    return request.needs[0] != request.cores


def _is_held(executor: PoolExecutor) -> bool:
    """Whether a call of the executor, which nobody has made, holds the session's room."""
    holder = getattr(executor._fleet, "holder", None)
    return holder is not None and not holder.done()


def _nothing_to_do() -> Future:
    future: Future = Future()
    future.set_result(None)
    return future
