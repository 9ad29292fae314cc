"""Modules of the user's that calls of a function import: found and compiled once, executed by each process.

What such a module does at import, each process is to do for itself. Finding and reading it is the same for all, and is
most of what the import of a small module costs. Loaded in templates from its file.
"""

import os
import sys
from _frozen_importlib import BuiltinImporter, FrozenImporter, _init_module_attrs
from _frozen_importlib_external import PathFinder, SourceFileLoader


def find(names: "tuple[str, ...]") -> list:
    """The packages and the module of these names, outermost first, as the extension executes them; or nothing.

    Each is (name, spec, module, code, parent's name, name in the parent, stamps): stamps are (path, modification time
    in ns, or -1 if nothing is there) of the file and of every directory that decides where it is found.
    """
    if sys.meta_path != [BuiltinImporter, FrozenImporter, PathFinder]:
        return []  # what else finds modules here is not known
    found: list = []
    path = None
    for name in names:
        spec = PathFinder.find_spec(name, path)
        if spec is None or type(spec.loader) is not SourceFileLoader or spec.origin is None or name in sys.modules:
            return []
        directories = decisive(sys.path if path is None else list(path), spec.origin)
        stamps = tuple((os.fsencode(place), stamp(place)) for place in (*directories, spec.origin))
        code = spec.loader.get_code(name)
        module = type(sys)(name)
        _init_module_attrs(spec, module)
        parent, _, last = name.rpartition(".")
        found.append((name, spec, module, code, parent, last, stamps))
        path = spec.submodule_search_locations
    return found


def decisive(path: "list[str]", origin: str) -> "list[str]":
    """The directories that tell where the module is: those before its own too, where another of its name may appear."""
    places = []
    for entry in path:
        places.append(entry or os.getcwd())
        if origin.startswith(os.path.join(places[-1], "")):
            break
    return [*places, os.path.dirname(origin)]


def stamp(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return -1
