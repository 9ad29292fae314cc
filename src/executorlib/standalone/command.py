"""Programs that workers are started with."""

from __future__ import annotations

import os
import sys


def get_command_path(executable: str) -> str:
    """The path of a worker program of this package.

    Parameters:
        executable (str): "interactive_serial.py" or "interactive_parallel.py": the program of a worker that is one
            process, or several MPI ranks. Any Python from 3.9 on, of this or of another environment, runs the first if
            it has cloudpickle; the second also needs mpi4py.

    Returns:
        str: the absolute path, whether or not there is such a program.

    Example:
        >>> import os
        >>> os.path.basename(get_command_path("interactive_serial.py"))
        'interactive_serial.py'
    """
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return os.path.join(package, "backend", executable)


def get_interactive_execute_command(cores: int) -> list[str]:
    """The command line of a worker, without the launcher and without what `SocketInterface` adds.

    Parameters:
        cores (int): how many MPI ranks.

    Raises:
        ImportError: if there are several and no mpi4py.
    """
    from importlib.util import find_spec

    if cores > 1 and find_spec("mpi4py") is None:
        raise ImportError("a worker of several MPI ranks needs mpi4py: pip install 'executorlib[mpi]'", name="mpi4py")
    program = "interactive_parallel.py" if cores > 1 else "interactive_serial.py"
    return [sys.executable, get_command_path(program)]
