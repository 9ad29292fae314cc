"""CPython's own tests of concurrent.futures, found on this machine and read in place.

They come with the interpreter (pyenv, conda, Fedora's python3-test) or in a package of their own (Debian's
libpython3.x-testsuite). Until Python 3.11 they are one module, later a package of several.
"""

import importlib
import sys
import sysconfig
from pathlib import Path

NAME = "test_concurrent_futures"
#: The name under which the suite is imported here and in the workers, whatever file it comes from.
ALIAS = "cpython_concurrent_futures"


def find():
    """The file or folder of the suite for the running version of Python, or None."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for library in (sysconfig.get_path("stdlib"), f"/usr/lib/{version}", f"/usr/lib64/{version}"):
        for path in (Path(library) / "test" / NAME, Path(library) / "test" / f"{NAME}.py"):
            if path.exists():
                return path
    return None


def missing():
    """Why the suite cannot run here, or None."""
    if find() is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return f"CPython's test suite is not installed (Debian: libpython{version}-testsuite)"
    try:
        importlib.import_module("test.support.script_helper")
    except ImportError as error:
        return f"the running interpreter has no test.support package: {error}"
    return None


def load(folder):
    """Import the suite through a link in *folder*, which goes on sys.path so that workers find it too.

    Returns its modules: one, or those of the package that hold the generic cases.
    """
    source = find()
    link = Path(folder) / (ALIAS if source.is_dir() else f"{ALIAS}.py")
    link.symlink_to(source)
    sys.path.insert(0, str(folder))
    if not source.is_dir():
        return [importlib.import_module(ALIAS)]
    parts = (
        "util",
        "executor",
        "test_wait",
        "test_as_completed",
        "test_shutdown",
        "test_deadlock",
        "test_process_pool",
    )
    return [importlib.import_module(f"{ALIAS}.{part}") for part in parts]


def lookup(modules, name):
    """The class *name* of the suite, or None in a version that lacks it."""
    for module in modules:
        if hasattr(module, name):
            return getattr(module, name)
    return None
