"""The front of an executor's cache: answers calls from files, and has the results of the others kept.

    submit  -->  key  -->  file there?   yes: a future that is done
                                         no:  equal call in flight?   yes: a future that follows it
                                                                      no:  to a worker, which writes the file

A call whose arguments are not known yet goes to a worker, which makes the key and looks itself.
"""

from __future__ import annotations

import os
from _pickle import dumps
from errno import EACCES, ENOTDIR
from threading import RLock
from time import time

from executorlib import _cache_entry, _cache_key, _core
from executorlib._errors import CallTerminatedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Any

    from executorlib._resources import CacheRequest, Request

    Call = tuple[Callable, tuple, dict[str, Any]]
    Send = Callable[[Call, Request, bytes | None], Future]


class CachedCalls:
    """The calls of one executor that are kept in a cache.

    Parameters:
        copies: whether the arguments are copied, as executors do that take futures among them.
    """

    def __init__(self, copies: bool) -> None:
        self._copies = copies
        self._lock = RLock()  # guards what follows; pickling a call may submit others
        self._in_flight: dict[str, Future] = {}
        self._own: set[Future] = set()  # those that this class completes

    def submit(self, send: Send, call: Call, request: Request) -> Future:
        """The future of a call.

        Parameters:
            send: gives a call, its request and its options to the engine.
            call: function, arguments and keyword arguments.
            request: what it needs; says which cache.

        Raises:
            OSError: if the cache cannot be read, or if the result is not in it and could not be written.
        """
        cache = request.cache
        assert cache is not None
        path = self._identify(call, cache)[1]
        if path is None:
            check_directory(cache.directory)
            if request.ranks > 1:
                return self._keep_here(send, call, request, None)
            return send(call, request, _options(cache, None, call))
        found = _cache_entry.look(path)
        if found is not None:
            return done(found[0])
        check_directory(cache.directory)
        with self._lock:
            leader = self._in_flight.get(path)
            if leader is not None and not leader.done():
                return self._follow(leader, send, call, request, path)
            if request.ranks > 1:
                future = self._keep_here(send, call, request, path)
            else:
                future = send(call, request, _options(cache, path, call))
            self._in_flight[path] = future
        in_flight = self._in_flight
        future.add_done_callback(lambda _: in_flight.pop(path, None))
        return future

    def pending(self) -> int:
        """How many calls the engine does not count."""
        return sum(not future.done() for future in list(self._own))

    def settle(self, cancel: bool, wait: bool) -> None:
        """Follow a shutdown of the engine's pool."""
        own = list(self._own)
        if cancel:
            for future in own:
                future.cancel()
        if wait:
            for future in own:
                if not future.cancelled():
                    future.exception()

    def _identify(self, call: Call, cache: CacheRequest) -> tuple[Call | None, str | None]:
        """The call with its arguments' values, and the file of its result; None for what is not known yet."""
        if cache.key is not None:
            return None, _cache_entry.output_path(cache.directory, cache.key)
        fn, args, kwargs = call
        try:
            if self._copies:
                args, kwargs = _cache_key.resolved(args, kwargs)
            return (fn, args, kwargs), _cache_entry.output_path(cache.directory, _key(cache, fn, args, kwargs))
        except _cache_key.PendingArgument:
            return None, None
        except Exception:
            # There is a future deep inside; or something cannot be pickled, which submitting it will tell.
            return None, None

    def _follow(self, leader: Future, send: Send, call: Call, request: Request, path: str) -> Future:
        """A future of its own for a call that is being computed for somebody else."""
        future = self._new()

        def pass_on(leader: Future) -> None:
            if future.done():
                return
            if leader.cancelled() or isinstance(leader.exception(), CallTerminatedError):
                self._retry(future, pass_on, lambda: self.submit(send, call, request))
                return
            found = _cache_entry.look(path) if leader.exception() is None else None
            _complete(future, leader, found)

        leader.add_done_callback(pass_on)
        return future

    def _retry(self, future: Future, pass_on: Callable[[Future], None], submit: Callable[[], Future]) -> None:
        """The other was given up; this one still wants the result."""
        try:
            submit().add_done_callback(pass_on)
        except Exception as error:  # after a shutdown
            if not future.cancel():
                future.set_exception(error)

    def _keep_here(self, send: Send, call: Call, request: Request, path: str | None) -> Future:
        """Calls over MPI ranks: no rank has the whole result, so it is written when it arrives."""
        future = self._new()
        cache = request.cache
        assert cache is not None
        started = time()
        inner = send(call, request, request.options)

        def keep(inner: Future) -> None:
            if future.cancelled() or inner.cancelled():
                future.cancel()
                return
            if inner.exception() is not None:
                _complete(future, inner, None)
                return
            try:
                known, made = self._identify(call, cache)
                file = path or made
                if file is not None:
                    _cache_entry.keep(file, known or call, inner.result(), time() - started, cache.resources)
            except Exception as error:
                if future.set_running_or_notify_cancel():
                    future.set_exception(error)
                return
            _complete(future, inner, None)

        future.add_done_callback(lambda future: future.cancelled() and inner.cancel())
        inner.add_done_callback(keep)
        return future

    def _new(self) -> Future:
        future = _core.Future()
        self._own.add(future)
        future.add_done_callback(self._own.discard)
        return future


def done(value: Any) -> Future:
    """A future of this package that has this result."""
    future = _core.Future()
    future._result = value
    future._state = "FINISHED"
    return future


def check_readable(path: str) -> None:
    """Refuse what is there and cannot be a cache.

    Raises:
        NotADirectoryError, PermissionError: naming it.
    """
    if os.path.lexists(path) and not os.path.isdir(path):
        raise NotADirectoryError(ENOTDIR, "the cache_directory is no directory", os.path.abspath(path))
    if os.path.isdir(path) and not os.access(path, os.R_OK | os.X_OK):
        raise PermissionError(EACCES, "the cache_directory cannot be read", os.path.abspath(path))


def check_directory(path: str) -> None:
    """Refuse a cache in which nothing could be written.

    Raises:
        NotADirectoryError, PermissionError: and other kinds of OSError, naming it.
    """
    folder = path
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise NotADirectoryError(ENOTDIR, "the cache is no directory", folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(EACCES, "the cache has no result of this call, and none can be written", folder)


def _complete(future: Future, source: Future, found: tuple[Any] | None) -> None:
    if not future.set_running_or_notify_cancel():
        return
    error = source.exception()
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(source.result() if found is None else found[0])


def _key(cache: CacheRequest, fn: Callable, args: tuple, kwargs: dict[str, Any]) -> str:
    if cache.key_version == 1:
        return _cache_key.key_of(fn, args, kwargs)
    from executorlib import _stable_key

    return _stable_key.key_of(fn, args, kwargs)


def _options(cache: CacheRequest, path: str | None, call: Call) -> bytes:
    wanted: dict[str, Any] = {"path": path, "resources": cache.resources}
    if path is None:
        fn, args, kwargs = call
        wanted |= {"directory": cache.directory, "key_version": cache.key_version}
        if cache.key_version == 1:
            wanted["names"] = _cache_key.names_in(args, kwargs)
        else:
            from executorlib import _stable_key

            wanted["function"] = _stable_key.encoded(fn)
    return dumps({**cache.options, "cache": wanted}, 5)
