"""Talking to a worker process that a spawner has started, in dictionaries.

    interface = SocketInterface(spawner)          the driver
    interface.bind_to_random_port()               a number goes to the worker's command line
    interface.bootup(command_lst)                 the spawner starts it
    interface.send_and_receive_dict({…})          {"result": …} or {"error": …}
    interface.shutdown()

    context, socket = interface_connect(…)        a worker program of your own
    interface_receive(socket), interface_send(socket, {…})
    interface_shutdown(socket, context)

Executors do not use this: it is for packages that start workers in their own way, such as in another environment.
"""

from __future__ import annotations

import atexit
import logging
import os
import select
import subprocess
import time
from collections import deque
from contextlib import suppress
from socket import gethostname
from weakref import WeakSet

from executorlib._errors import ExecutorlibSocketError, error_for, set_remote_cause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from executorlib.backend.link import Link
    from executorlib.standalone.interactive.listener import Listener
    from executorlib.standalone.interactive.spawner import BaseSpawner

__all__ = [
    "ExecutorlibSocketError",
    "SocketInterface",
    "interface_bootup",
    "interface_connect",
    "interface_receive",
    "interface_send",
    "interface_shutdown",
]

#: Instead of a descriptor of the process: not asked for yet, and not to be had.
_NOT_OPEN, _NONE = -1, -2
#: Seconds that a process whose connection has ended has to end, so that the error can say how.
_END_LIMIT = 0.25
#: Seconds that a worker which is shut down before it was sent anything has to connect.
_CONNECT_LIMIT = 5.0

_NOT_BOUND = "bind_to_random_port() was not called, so no worker can connect"
_NO_WORKER = "there is no worker: it has died or was not started; bootup() starts one"

_logger = logging.getLogger("executorlib")
_interfaces: WeakSet[SocketInterface] = WeakSet()


class SocketInterface:
    """The driver's end of the connection to one worker, which a spawner starts.

    The worker is let in by a secret that it finds in a file only this user can read; its command line has no more than
    a number. Every message is authenticated both ways. An interface is for one thread at a time.

    Parameters:
        spawner (BaseSpawner): starts the worker; see `SubprocessSpawner`.
        log_obj_size (bool): whether to log the size of each message, in bytes, as warnings of the logger "executorlib".
        time_out_ms (int): how often to ask the spawner whether the worker still runs, in milliseconds. The end of its
            connection, or of the spawner's process, is noticed at once.

    Example:
        >>> import sys
        >>> from executorlib.api import SocketInterface, SubprocessSpawner, get_command_path
        >>> interface = SocketInterface(spawner=SubprocessSpawner())
        >>> number = interface.bind_to_random_port()
        >>> interface.bootup([sys.executable, get_command_path("interactive_serial.py"), "--zmqport", str(number)])
        >>> interface.send_and_receive_dict({"fn": sum, "args": ([1, 2],), "kwargs": {}})
        {'result': 3}
        >>> interface.shutdown()
        True
    """

    _owner = 0  # the process that made it; also where __init__ has failed

    def __init__(self, spawner: BaseSpawner | None = None, log_obj_size: bool = False, time_out_ms: int = 1000) -> None:
        self._spawner = spawner
        self._logger = _logger if log_obj_size else None
        self._time_out_ms = time_out_ms
        self._command_lst: list[str] = []
        self._stop_function: Callable[[], bool] | None = None
        self._booted = False
        self._number: int | None = None
        self._listener: Listener | None = None
        self._inbox: deque[memoryview] = deque()
        self._why = ""
        self._link: Link | None = None
        self._pidfd = _NOT_OPEN
        self._owner = os.getpid()
        _interfaces.add(self)

    @property
    def status(self) -> bool:
        """Whether the last `bootup()` has started the worker."""
        return self._booted

    @status.setter
    def status(self, status: bool) -> None:
        self._booted = status

    def bind_to_random_port(self) -> int:
        """Wait for the worker.

        Returns:
            int: the number that the worker is to be given as `--zmqport`. It is no TCP port: no other interface has had
            it, so that a worker cannot end up with another driver.

        Raises:
            OSError: if there is no private place for the secret, or, with a spawner of remote workers, no network.
        """
        if self._number is None:
            from executorlib.backend.rendezvous import draw

            self._number = draw()
        self._listen()
        return self._number

    def bootup(self, command_lst: list[str] | None = None, stop_function: Callable[[], bool] | None = None) -> None:
        """Start the worker; it connects in its own time. Again after it has died: a new one, for the same number.

        Parameters:
            command_lst (list[str] | None): its command line; None means that of the last time.
            stop_function (Callable | None): goes to the spawner, and is asked while the worker has not connected: once
                it returns True the worker is no longer waited for. None means that of the last time.

        Raises:
            ValueError: without a command line or a spawner.
            OSError: if there is no such program.
        """
        if command_lst is not None:
            self._command_lst = command_lst
        if stop_function is not None:
            self._stop_function = stop_function
        if not self._command_lst or self._spawner is None:
            raise ValueError("bootup() needs a spawner and a command line to start a worker with")
        self._disconnect()
        if self._number is not None:
            self._listen()
        self._booted = bool(self._spawner.bootup(command_lst=self._command_lst, stop_function=self._stop_function))
        if not self._booted:
            self._reset_socket()

    def send_dict(self, input_dict: dict) -> None:
        """Send a dictionary to the worker, once it has connected. If it has died, `receive_dict()` says so.

        Parameters:
            input_dict (dict): `{"fn": …, "args": …, "kwargs": …}` is a call; with `"init": True` what it returns are
                presets: values for parameters that later calls are not given; `{"shutdown": True, "wait": True}` is the
                end, and better sent by `shutdown()`.

        Raises:
            Exception: what pickling raises.
        """
        from executorlib.backend.calls import dumps

        data = dumps(input_dict)
        self._log("Send", data)
        if not self._connect():
            return
        assert self._link is not None
        self._link.push(data)
        with suppress(OSError, EOFError):  # it has gone: receive_dict() says so
            while not self._link.flush():
                self._wait(select.POLLIN | select.POLLOUT)
                # A worker that is sending does not read: neither side may wait for the other.
                message = self._link.pull()
                if message is not None:
                    self._inbox.append(message)

    def receive_dict(self) -> dict:
        """Wait for what the worker says next.

        Returns:
            dict: `{"result": …}`, or `{"error": …}` with the exception of the call, whose `__cause__` has the worker's
            traceback; an `ExecutorlibSocketError` if the worker has died.
        """
        data = self._receive()
        if data is None:
            return self._loss()
        self._log("Received", data)
        return _answer(data)

    def send_and_receive_dict(self, input_dict: dict) -> dict:
        """`send_dict()`, then `receive_dict()`."""
        self.send_dict(input_dict=input_dict)
        return self.receive_dict()

    def shutdown(self, wait: bool = True) -> Any:
        """End the worker, after the call it is at, and close the connection. May be called again.

        Parameters:
            wait (bool): whether to return only when its process has ended.

        Returns:
            Any: True if the worker has confirmed, else None.
        """
        result = None
        if self._spawner is not None and self._spawner.poll():
            if self._connect(limit=_CONNECT_LIMIT):
                self.send_dict({"shutdown": True, "wait": wait})
                result = self._last_answer().get("result")
            self._reset_socket()
            self._spawner.shutdown(wait=wait)
        self._reset_socket()
        return result

    def __del__(self) -> None:
        if self._owner == os.getpid():
            self.shutdown(wait=True)

    def _listen(self) -> None:
        if self._listener is None and self._link is None and self._number is not None:
            from executorlib.standalone.interactive.listener import Listener

            self._listener = Listener(self._number, remote=getattr(self._spawner, "remote", False))

    def _connect(self, limit: float | None = None) -> bool:
        """Wait until the worker has connected; False if it will not."""
        deadline = None if limit is None else time.monotonic() + limit
        while self._link is None:
            if self._listener is None:
                self._why = self._why or (_NOT_BOUND if self._number is None else _NO_WORKER)
                return False
            self._link = self._listener.step()
            if self._link is not None:
                self._stop_listening()
            elif not self._runs():
                return False
            elif self._stop_function is not None and self._stop_function():
                self._why = "stop_function has returned True before the worker had connected"
                return False
            elif deadline is not None and time.monotonic() > deadline:
                return False
            else:
                self._wait(select.POLLIN, limit)
        return True

    def _receive(self) -> memoryview | None:
        """The next message, None if the worker has died."""
        if self._inbox:
            return self._inbox.popleft()
        if not self._connect():
            return None
        assert self._link is not None
        try:
            while True:
                runs = self._runs()  # asked first: what it has said before its end is there by then
                message = self._link.pull()
                if message is not None or not runs:
                    return message
                self._wait(select.POLLIN)
        except EOFError:
            return None
        except OSError as error:
            self._why = f"the connection to the worker failed: {error}"
            return None

    def _wait(self, events: int, limit: float | None = None) -> None:
        """Until something can be done, or it is time to ask the spawner again."""
        poll = select.poll()
        seconds = [self._time_out_ms / 1000]
        if self._link is not None:
            poll.register(self._link, events)
        elif self._listener is not None:
            for descriptor in self._listener.filenos():
                poll.register(descriptor, events)
            seconds += [other for other in (limit, self._listener.timeout()) if other is not None]
        if self._pidfd >= 0:
            poll.register(self._pidfd, select.POLLIN)
        poll.poll(max(0.0, min(seconds)) * 1000)

    def _runs(self) -> bool:
        """Whether the worker's process runs, as the spawner says."""
        if self._spawner is None:
            return True
        if not self._spawner.poll():
            return False
        if self._pidfd == _NOT_OPEN:
            self._pidfd = _watch(self._process())
        return True

    def _process(self) -> subprocess.Popen | None:
        process = getattr(self._spawner, "_process", None)
        return process if isinstance(process, subprocess.Popen) else None

    def _loss(self) -> dict:
        """What to answer when the worker will not."""
        words = None
        if self._number is not None:
            from executorlib.backend.rendezvous import left

            words = left(self._number)
        connected, why = self._link is not None, self._why
        self._disconnect()
        self._why = why
        if words is not None:
            return _answer(words)
        if why:
            return {"error": ExecutorlibSocketError(why)}
        info: dict[str, Any] = {"host": gethostname(), "where": "in a call" if connected else "before it had connected"}
        process = self._process()
        if process is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_LIMIT)
            info["pid"] = process.pid
            if process.returncode is not None:
                info["status" if process.returncode >= 0 else "signal"] = abs(process.returncode)
            else:
                info["reason"] = "it has closed its connection"
        return {"error": error_for("worker_lost", info)}

    def _last_answer(self) -> dict:
        last = {}
        while (data := self._receive()) is not None:
            self._log("Received", data)
            last = _answer(data)
        return last

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _disconnect(self) -> None:
        self._stop_listening()
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._pidfd = _NOT_OPEN
        self._inbox.clear()
        self._why = ""

    _reset_socket = _disconnect

    def _log(self, what: str, data: Any) -> None:
        if self._logger is not None:
            self._logger.warning("%s dictionary of size: %d", what, len(data))


def interface_bootup(
    command_lst: list[str],
    connections: BaseSpawner,
    hostname_localhost: bool | None = None,
    log_obj_size: bool = False,
    worker_id: int | None = None,
    stop_function: Callable[[], bool] | None = None,
) -> SocketInterface:
    """Start a worker and return the interface to it.

    Parameters:
        command_lst (list[str]): its command line, to which `--host`, `--worker-id` and `--zmqport` are added; the list
            is not changed.
        connections (BaseSpawner): starts it.
        hostname_localhost (bool | None): whether the worker is told "localhost" rather than this host's name. It only
            reads it to people: how it connects does not depend on it.
        log_obj_size (bool): see `SocketInterface`.
        worker_id (int | None): the worker's preset "executorlib_worker_id"; None means 0.
        stop_function (Callable | None): see `SocketInterface.bootup`.

    Returns:
        SocketInterface: its `status` says whether the worker was started.

    Raises:
        OSError: if there is no such program, or no private place for the secret.

    Example:
        >>> import sys
        >>> from executorlib.api import SubprocessSpawner, get_command_path, interface_bootup
        >>> interface = interface_bootup(
        ...     [sys.executable, get_command_path("interactive_serial.py")], connections=SubprocessSpawner()
        ... )
        >>> interface.send_and_receive_dict({"fn": pow, "args": (2, 10), "kwargs": {}})
        {'result': 1024}
        >>> interface.shutdown()
        True
    """
    command = list(command_lst)
    if not hostname_localhost:
        command += ["--host", gethostname()]
    if worker_id is not None:
        command += ["--worker-id", str(worker_id)]
    interface = SocketInterface(spawner=connections, log_obj_size=log_obj_size)
    command += ["--zmqport", str(interface.bind_to_random_port())]
    interface.bootup(command_lst=command, stop_function=stop_function)
    return interface


def interface_connect(host: str, port: str) -> tuple[Any, Any]:
    """Connect a worker program to the driver that waits for it.

    Parameters:
        host (str): not used: the port says it all.
        port (str): the number after `--zmqport`.

    Returns:
        tuple: what `interface_shutdown()` takes, and the socket.

    Raises:
        OSError: if no driver waits under that number, or it is not the one that started this program.
        EOFError: if it ends first.
    """
    from executorlib.backend.driver import connect

    link = connect(port)
    return _Context(link), link


def interface_receive(socket: Link | None) -> dict:
    """Wait for what the driver sends next.

    Parameters:
        socket: from `interface_connect()`; None gives an empty dictionary.

    Raises:
        EOFError: if the driver has ended.
    """
    from executorlib.backend.calls import loads

    return {} if socket is None else loads(socket.recv())


def interface_send(socket: Link | None, result_dict: dict) -> None:
    """Send a dictionary to the driver.

    Parameters:
        socket: from `interface_connect()`; with None nothing is sent.
        result_dict (dict): `{"result": …}` or `{"error": …}`.

    Raises:
        OSError: if the driver has ended.
    """
    from executorlib.backend.calls import dumps

    if socket is not None:
        socket.send(dumps(result_dict))


def interface_shutdown(socket: Link | None, context: Any) -> None:
    """Close the connection to the driver.

    Parameters:
        socket: from `interface_connect()`, or None.
        context: from `interface_connect()`, or None.
    """
    if socket is not None and context is not None:
        socket.close()
        context.term()


class _Context:
    """What comes with a socket, for programs that end both."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def term(self) -> None:
        self._link.close()


def _answer(data: bytes | memoryview) -> dict:
    """A worker's answer in the form that callers see."""
    from executorlib.backend.calls import RAISED, RANKS, loads

    try:
        answer = loads(data)
        if RANKS in answer:
            return {"result": [loads(part)["result"] for part in answer[RANKS]]}
        if RAISED not in answer:
            return answer
        exception, traceback = loads(answer[RAISED])
    except Exception as error:  # it needs something that is not here
        return {"error": error}
    set_remote_cause(exception, traceback)
    return {"error": exception}


@atexit.register
def _shutdown_all() -> None:
    """A worker is still told that this is the end, as long as the interpreter can."""
    for interface in list(_interfaces):
        interface.__del__()


def _watch(process: subprocess.Popen | None) -> int:
    """A descriptor that becomes readable when the process ends; negative if there is none."""
    if process is None or process.returncode is not None:
        return _NONE
    try:
        return os.pidfd_open(process.pid)
    except OSError:  # a kernel before 5.3
        return _NONE
