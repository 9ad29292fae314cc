"""How worker processes are started."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from abc import ABC, abstractmethod
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds that a worker has to end by itself when it is shut down, and again when it is asked to terminate.
END_LIMIT = 5.0


class BaseSpawner(ABC):
    """Starts one worker, says whether it runs, and ends it: what a `SocketInterface` needs to be given.

    A class of your own overrides `bootup`, `shutdown` and `poll`, or derives from `SubprocessSpawner` and overrides
    `generate_command`, or `bootup` with the assignment of a `subprocess.Popen` to `self._process`. If its workers may
    run on other hosts it sets `remote = True`: the interface then listens on the network, and the secret that lets
    the worker in is put in the home directory, which the hosts must share.

    Parameters:
        cwd (str | None): working directory of the worker, made if missing; None means that of the driver.
        cores (int): how many MPI ranks.
        worker_id (int): number of the worker, for the spawner's own use.
        openmpi_oversubscribe (bool): whether there may be more ranks than cores.
    """

    #: Whether workers may run on other hosts.
    remote = False

    def __init__(
        self,
        cwd: str | os.PathLike[str] | None = None,
        cores: int = 1,
        worker_id: int = 0,
        openmpi_oversubscribe: bool = False,
    ) -> None:
        self._cwd = cwd
        self._cores = cores
        self._worker_id = worker_id
        self._openmpi_oversubscribe = openmpi_oversubscribe

    @abstractmethod
    def bootup(self, command_lst: list[str], stop_function: Callable[[], bool] | None = None) -> bool:
        """Start the worker.

        Parameters:
            command_lst (list[str]): its command line.
            stop_function (Callable | None): returns True once the worker is no longer wanted.

        Returns:
            bool: whether it runs.
        """

    @abstractmethod
    def shutdown(self, wait: bool = True) -> None:
        """End the worker.

        Parameters:
            wait (bool): whether to return only when it has ended.
        """

    @abstractmethod
    def poll(self) -> bool:
        """Whether the worker runs."""


class SubprocessSpawner(BaseSpawner):
    """Starts the worker as a process of its own on this host, with nothing on its standard input.

    Modules in the driver's working directory can be imported there.

    Parameters:
        cwd (str | None): working directory of the worker, made if missing; None means that of the driver.
        cores (int): kept for subclasses.
        worker_id (int): kept for subclasses.
        openmpi_oversubscribe (bool): kept for subclasses.
        threads_per_core (int): kept for subclasses.

    Example:
        >>> from executorlib.api import SubprocessSpawner
        >>> spawner = SubprocessSpawner()
        >>> spawner.bootup(["sleep", "60"])
        True
        >>> spawner.shutdown()
        >>> spawner.poll()
        False
    """

    def __init__(
        self,
        cwd: str | os.PathLike[str] | None = None,
        cores: int = 1,
        worker_id: int = 0,
        openmpi_oversubscribe: bool = False,
        threads_per_core: int = 1,
    ) -> None:
        super().__init__(cwd=cwd, cores=cores, worker_id=worker_id, openmpi_oversubscribe=openmpi_oversubscribe)
        self._process: subprocess.Popen | None = None
        self._threads_per_core = threads_per_core

    def bootup(self, command_lst: list[str], stop_function: Callable[[], bool] | None = None) -> bool:
        """Start the process.

        Parameters:
            command_lst (list[str]): its command line; `generate_command` may put something in front.
            stop_function (Callable | None): not used: a process starts at once.

        Returns:
            bool: whether it runs.

        Raises:
            OSError: if there is no such program, or the working directory cannot be made.
        """
        if self._cwd is not None:
            os.makedirs(self._cwd, exist_ok=True)
        if self._process is not None:
            _end_behind(self._process)
        self._process = subprocess.Popen(
            self.generate_command(command_lst=command_lst),
            cwd=self._cwd,
            stdin=subprocess.DEVNULL,
            env=self._environment(),
            start_new_session=True,  # Ctrl-C interrupts the driver's waiting, not the worker
        )
        return self.poll()

    def generate_command(self, command_lst: list[str]) -> list[str]:
        """The command line that is really used."""
        return command_lst

    def shutdown(self, wait: bool = True) -> None:
        """Let the process end; if it does not within 5 s it is asked to, and after 5 s more it is killed.

        Parameters:
            wait (bool): whether to return only then.
        """
        process, self._process = self._process, None
        if process is None:
            return
        if wait:
            _end(process)
        else:
            _end_behind(process)

    def poll(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def _environment(self) -> dict[str, str]:
        paths = [os.getcwd(), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


class MpiExecSpawner(SubprocessSpawner):
    """Starts the worker as `cores` MPI ranks, with the launcher of the MPI that mpi4py uses; one is a plain process.

    Parameters:
        cwd (str | None): working directory of the ranks, made if missing; None means that of the driver.
        cores (int): how many ranks.
        worker_id (int): kept for subclasses.
        openmpi_oversubscribe (bool): whether there may be more ranks than cores.
        threads_per_core (int): kept for subclasses.

    Example:
        >>> from executorlib.api import MpiExecSpawner
        >>> MpiExecSpawner(cores=1).generate_command(["python", "worker.py"])
        ['python', 'worker.py']
    """

    def generate_command(self, command_lst: list[str]) -> list[str]:
        """The command line with the launcher in front.

        Raises:
            ImportError: if there are several ranks and no mpi4py.
            FileNotFoundError: if there is no launcher.
            RuntimeError: if it is one of another MPI than mpi4py's, or there are more ranks than cores.
        """
        if self._cores == 1:
            return super().generate_command(command_lst=command_lst)
        from executorlib._mpi import launcher

        launch = launcher().command(self._cores, self._openmpi_oversubscribe)
        return super().generate_command(command_lst=launch + command_lst)

    def _environment(self) -> dict[str, str]:
        environ = super()._environment()
        if self._cores == 1:
            return environ
        from executorlib._mpi import inherited, launcher

        kept = {name: value for name, value in environ.items() if not name.startswith(inherited())}
        return {**kept, **launcher().environ}


def set_current_directory_in_environment() -> None:
    """Put the working directory in front of PYTHONPATH in this process's environment, if it is not in it."""
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if os.getcwd() not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([os.getcwd(), *paths])


def _end_behind(process: subprocess.Popen) -> None:
    threading.Thread(target=_end, args=(process,), daemon=True).start()


def _end(process: subprocess.Popen) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            process.wait(END_LIMIT)
            return
        except subprocess.TimeoutExpired:
            _signal(process, number)
    process.wait()


def _signal(process: subprocess.Popen, number: int) -> None:
    """To the process, and to what it has started if that is a group of its own."""
    with suppress(ProcessLookupError):
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
