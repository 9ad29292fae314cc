"""What a worker inherits: the command that starts the zygote, and snapshots of this process for its children.

What only a fresh interpreter can take over (its executable, its flags, variables that the loader, malloc or the
interpreter read once) decides which zygote serves an executor. Everything else travels as a *setup*, which the
worker applies after the fork: pickled bytes that stay the same object for as long as nothing here changed, so that
a million pending calls share one.
"""

from __future__ import annotations

import os
import sys
from _pickle import dumps

from executorlib import _core
from executorlib._worker import THREAD_VARIABLES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from executorlib._resources import Request

    Environ = dict[bytes, bytes]

# Read once, when a process starts or first needs them.
_FIXED_PREFIXES = (b"LD_", b"PYTHON", b"MALLOC_", b"LC_")
_FIXED_NAMES = frozenset({b"GLIBC_TUNABLES", b"LANG", b"TZ"})

# Loads the extension and the worker from their files: importing the package would cost more than the interpreter.
_BOOT = """\
from _frozen_importlib import _load
from _frozen_importlib_external import spec_from_file_location
core = _load(spec_from_file_location("executorlib._core", {core!r}))
_load(spec_from_file_location("executorlib._worker", {worker!r}))
core.{main}
"""

_FLAGS = {
    "debug": "d",
    "optimize": "O",
    "dont_write_bytecode": "B",
    "no_user_site": "s",
    "ignore_environment": "E",
    "verbose": "v",
    "bytes_warning": "b",
    "isolated": "I",
    "safe_path": "P",
}

# Start-up files of tools that only change how packages are installed.
_HARMLESS_PATH_FILES = frozenset({"distutils-precedence.pth", "_virtualenv.pth"})


class Zygote:
    """How to start the interpreter that the workers of an executor are forked from.

    Attributes:
        spec (tuple): key, command line and environment, for the engine.
        environ (dict): that environment; a setup tells only what differs from it.
        cores (int | None): of the hosts where it starts, if that is not this one.
    """

    __slots__ = ("cores", "environ", "spec")

    def __init__(self, key: str, argv: list[str], environ: Environ) -> None:
        self.environ = environ
        self.cores: int | None = None
        self.spec = key, argv, [os.fsdecode(name + b"=" + value) for name, value in environ.items()]


_zygotes: dict[str, Zygote] = {}


def zygote(fresh: bool = False) -> Zygote:
    """The zygote for what this process is now; unless `fresh`, the same one again while its key stays the same."""
    environ = dict(_environ())
    argv = _command()
    fixed = sorted(
        os.fsdecode(name + b"=" + value)
        for name, value in environ.items()
        if name.startswith(_FIXED_PREFIXES) or name in _FIXED_NAMES
    )
    key = "\n".join(argv + fixed)
    if fresh:
        return Zygote(key, argv, environ)
    known = _zygotes.get(key)
    return known if known is not None else _zygotes.setdefault(key, Zygote(key, argv, environ))


class Snapshot:
    """This process at one moment, as far as a forked worker can take it over."""

    __slots__ = ("_setups", "argv", "authkey", "cwd", "environ", "path")

    def __init__(self) -> None:
        self.environ = dict(_environ())
        self.path = list(sys.path)
        self.cwd = _working_directory()
        self.argv = list(getattr(sys, "argv", ()))
        self.authkey = _authkey()
        self._setups: dict[tuple, bytes] = {}

    def is_current(self) -> bool:
        return (
            _environ() == self.environ
            and sys.path == self.path
            and _working_directory() == self.cwd
            and getattr(sys, "argv", []) == self.argv
            and _authkey() == self.authkey
        )

    def setup(self, zygote: Zygote, request: Request) -> bytes:
        """The pickled setup for a worker of `zygote` that serves `request`; kept for the next one like it."""
        key = (
            zygote.spec[0],
            request.cwd,
            request.threads,
            request.own_threads,
            request.cores,
            request.ranks,
            request.oversubscribe,
            request.step,
        )
        setup = self._setups.get(key)
        if setup is None:
            setup = self._setups[key] = dumps(self.describe(zygote, request), 5)
        return setup

    def describe(self, zygote: Zygote, request: Request) -> dict[str, Any]:
        """The setup as a dictionary; what is unknown is left out."""
        setup = {
            "environ": self._changes(zygote.environ, request),
            "path": [self._absolute(entry) for entry in self.path if isinstance(entry, str)],
            "prefix": (sys.prefix, sys.exec_prefix),
            "argv": self.argv,
            "threads": request.threads,
            "cores": request.cores,
        }
        cwd = request.cwd or self.cwd
        if cwd is not None:
            setup["cwd"] = cwd
        if self.authkey is not None:
            setup["authkey"] = self.authkey
        if request.step is not None:
            setup |= request.step.setup(request, _command("rank_main()"))
        elif request.ranks > 1:
            from executorlib._mpi import inherited, launcher, of_a_job

            mpi = launcher()
            setup["ranks"] = request.ranks
            setup["launch"] = [
                *mpi.command(request.ranks, request.oversubscribe, zygote.cores),
                *_command("rank_main()"),
            ]
            setup["launch_environ"] = mpi.environ
            setup["launcher"] = mpi.description
            setup["forks"] = mpi.forks
            setup["inherited"] = inherited()
            setup["job"] = of_a_job()
        return setup

    def _absolute(self, entry: str) -> str:
        # The worker may run elsewhere, and "" on the path stands for the driver's directory.
        if self.cwd is None:
            return entry
        return os.path.join(self.cwd, entry) if entry else self.cwd

    def _changes(self, base: Environ, request: Request) -> dict[str, str | None]:
        changes: dict[str, str | None] = {
            os.fsdecode(name): os.fsdecode(value) for name, value in self.environ.items() if base.get(name) != value
        }
        changes.update((os.fsdecode(name), None) for name in base.keys() - self.environ.keys())
        if request.own_threads:
            changes.update((name, str(request.threads)) for name in THREAD_VARIABLES)
        return changes


_latest: Snapshot | None = None


def snapshot() -> Snapshot:
    """This process now; the same object again while nothing changed, which costs a few microseconds to see."""
    global _latest
    latest = _latest
    if latest is None or not latest.is_current():
        latest = _latest = Snapshot()
    return latest


def _environ() -> Environ:
    # The mapping behind os.environ: comparing and copying it needs no decoding.
    return os.environ._data  # type: ignore[attr-defined]


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


def _authkey() -> bytes | None:
    """The key by which processes of multiprocessing know each other, once it is in use."""
    current_process = getattr(sys.modules.get("multiprocessing.process"), "current_process", None)
    return None if current_process is None else bytes(current_process().authkey)


def _command(main: str = "zygote_main(3)") -> list[str]:
    """The command line of an interpreter that runs `main` of the extension."""
    if not sys.executable:
        raise RuntimeError("workers need an interpreter to start, but sys.executable is not set")
    package = os.path.dirname(os.path.abspath(__file__))
    boot = _BOOT.format(core=_core.__file__, worker=os.path.join(package, "_worker.py"), main=main)
    site = [] if _needs_site() else ["-S"]
    return [*interpreter(), *site, "-c", boot]


def interpreter() -> list[str]:
    """The command of an interpreter like this one: the same program with the same options."""
    return [sys.executable, *_interpreter_flags()]


def _interpreter_flags() -> list[str]:
    """The options that this interpreter runs with; the standard library's helper would import subprocess."""
    flags = ["-" + letter * getattr(sys.flags, name, 0) for name, letter in _FLAGS.items()]
    flags = [flag for flag in flags if flag != "-"]
    flags += [f"-W{option}" for option in sys.warnoptions]
    for name, value in sys._xoptions.items():
        flags += ["-X", name if value is True else f"{name}={value}"]
    return flags


_site_needed: bool | None = None


def _needs_site() -> bool:
    """Whether start-up files of this installation run code that a worker may rely on.

    Without them the worker can skip site processing, which takes longer than all else at its start: the search
    path comes with the setup.
    """
    global _site_needed
    if _site_needed is None:
        _site_needed = not sys.flags.no_site and (
            "sitecustomize" in sys.modules
            or "usercustomize" in sys.modules
            or any(_runs_code(file) for file in _path_files())
        )
    return _site_needed


def _path_files() -> Iterator[str]:
    import site

    directories = site.getsitepackages()
    if site.ENABLE_USER_SITE:
        directories.append(site.getusersitepackages())
    for directory in directories:
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        for name in names:
            if name.endswith(".pth") and name not in _HARMLESS_PATH_FILES:
                yield os.path.join(directory, name)


def _runs_code(path_file: str) -> bool:
    try:
        with open(path_file, encoding="utf-8", errors="replace") as lines:
            return any(line.startswith(("import ", "import\t")) for line in lines)
    except OSError:
        return False
