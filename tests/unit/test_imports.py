"""Which libraries a call is going to import, as far as its pickles tell."""

import fractions
import json
import pickle
import sys
import types

import cloudpickle
import functions
import pytest

from executorlib import _worker
from executorlib._imports import libraries_named


def named(*pickles):
    answer = libraries_named(list(pickles))
    return pickle.loads(answer)[0] if answer else []


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Make modules that look imported from *folder*; none is read."""

    def make(name, folder="site-packages"):
        directory = tmp_path / folder
        if str(directory) not in sys.path:
            directory.mkdir()
            monkeypatch.syspath_prepend(str(directory))
        module = types.ModuleType(name)
        module.__file__ = str(directory / name.replace(".", "/") / "__init__.py")
        module.function = types.FunctionType(compile("0", name, "eval"), {}, "function")
        module.function.__module__ = module.function.__qualname__ = name
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return make


def test_a_function_that_goes_by_name():
    assert named(pickle.dumps(json.dumps, 5)) == ["json"]


def test_what_a_function_by_value_refers_to():
    numpy = pytest.importorskip("numpy")
    names = named(cloudpickle.dumps(lambda: numpy.zeros(json.loads("1")), 5))
    assert {"json", "numpy"} <= set(names)


def test_the_class_of_an_argument():
    assert "fractions" in named(pickle.dumps((abs, (fractions.Fraction(1, 3),), {}), 5))


def test_all_pickles_of_a_call_together():
    assert named(pickle.dumps(json.dumps, 5), b"", pickle.dumps(fractions.Fraction, 5)) == ["fractions", "json"]


@pytest.mark.parametrize("folder", ["site-packages", "dist-packages"])
def test_installed_packages(installed, folder):
    installed("library", folder)
    installed("library.part", folder)
    assert named(pickle.dumps(["library.part", "library"], 5)) == ["library", "library.part"]


def test_a_module_of_the_user_is_left_to_the_workers(installed):
    installed("mine", "site-packages-of-mine")
    assert named(pickle.dumps([functions.identity, "mine"], 5)) == []


def test_what_is_not_imported_is_not_named():
    assert "this" not in sys.modules
    assert named(pickle.dumps(["this", "no.such.module", "", "with space", "ünïcode"], 5)) == []


def test_modules_without_a_file():
    assert named(pickle.dumps(["sys", "builtins", "marshal"], 5)) == []


def test_what_the_zygote_has_already():
    assert named(pickle.dumps([_worker.Batch, "executorlib", "executorlib.api", "cloudpickle.cloudpickle"], 5)) == []


def test_nothing_in_nothing():
    assert libraries_named([]) == b""
    assert libraries_named([b"", pickle.dumps(1, 5), b"\x8c"]) == b""


def test_only_the_beginning_of_a_large_pickle_is_read():
    padding = bytes(300_000)
    assert named(pickle.dumps(["json", padding], 5)) == ["json"]
    assert named(pickle.dumps([padding, "json"], 5)) == []


def test_each_process_starts_mpi_itself(installed, monkeypatch):
    pickled = pickle.dumps(json.dumps, 5)
    assert named(pickled) == ["json"]
    installed("mpi4py.MPI")
    assert libraries_named([pickled]) == b""


def test_a_module_with_an_odd_file(monkeypatch):
    module = types.ModuleType("odd")
    for file in (None, ""):
        module.__file__ = file
        monkeypatch.setitem(sys.modules, "odd", module)
        assert named(pickle.dumps("odd", 5)) == []
