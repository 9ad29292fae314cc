"""Which libraries a call is going to import, read off its pickles.

Persistent workers are forked from a process that has imported them, so that a start costs one import and not one per
worker. Only libraries: a module of the user may do at import what each worker is to do for itself, such as seeding a
generator. And only what unpickling imports anyway.
"""

from __future__ import annotations

import re
import sys
from _pickle import dumps

from executorlib import _worker

# A short string as pickle protocol 4 and later write it: opcode, length, text, and the opcode that memoizes it.
_STRING = re.compile(rb"\x8c.([A-Za-z_][\w.]*)\x94", re.DOTALL)

_LARGEST = 256 * 1024  # bytes of a pickle that are looked at


def libraries_named(pickles: list[bytes]) -> bytes:
    """Names of the imported libraries that occur as strings in `pickles`, pickled for a template; empty without any.

    A string that only happens to be called like a module costs an import that was not needed.
    """
    strings = {name.decode() for pickle in pickles for name in _STRING.findall(pickle[:_LARGEST])}
    directories = _worker.library_directories()
    names = [name for name in sorted(strings) if _is_library(name, directories)]
    # Importing MPI starts it, which each process has to do for itself.
    return dumps((names, ()), 5) if names and "mpi4py.MPI" not in sys.modules else b""


def _is_library(name: str, directories: tuple[str, ...]) -> bool:
    file = getattr(sys.modules.get(name), "__file__", None) or ""
    return file.startswith(directories) and not name.startswith(("executorlib", "_executorlib", "cloudpickle"))
