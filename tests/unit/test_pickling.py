"""How calls are pickled by value."""

import concurrent.futures
import io
import pickle
import sys
import types

import cloudpickle
import pytest

from executorlib import _core
from executorlib._pickling import CloudPickler
from executorlib.api import cloudpickle_register


def test_futures_of_other_executors_are_handed_to_the_engine(monkeypatch):
    seen = []
    monkeypatch.setattr(_core, "foreign_future", lambda future: (seen.append(future), (str, ("placeholder",)))[1])
    future = concurrent.futures.Future()
    buffers = []
    file = io.BytesIO()
    CloudPickler(file, protocol=5, buffer_callback=buffers.append).dump(
        [lambda: future, future, pickle.PickleBuffer(b"data")]
    )
    function, argument, data = pickle.loads(file.getvalue(), buffers=buffers)
    assert (function(), argument, bytes(data)) == ("placeholder", "placeholder", b"data")
    assert seen == [future]


@pytest.fixture
def module(monkeypatch):
    made = types.ModuleType("executorlib_test_module")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    exec("def register(function, ind): function(ind)", made.__dict__)
    yield made
    if made.__name__ in cloudpickle.list_registry_pickle_by_value():
        cloudpickle.unregister_pickle_by_value(made)


@pytest.mark.parametrize(("ind", "registered"), [(1, True), (0, False)])
def test_a_caller_is_registered(module, ind, registered):
    before = cloudpickle.list_registry_pickle_by_value()
    module.register(cloudpickle_register, ind)
    after = cloudpickle.list_registry_pickle_by_value() - before
    assert (module.__name__ in after) == registered
    for name in after - {module.__name__}:
        cloudpickle.unregister_pickle_by_value(sys.modules[name])


def test_beyond_the_outermost_caller_it_is_that_one():
    before = cloudpickle.list_registry_pickle_by_value()
    cloudpickle_register(ind=10_000)
    after = cloudpickle.list_registry_pickle_by_value() - before
    assert len(after) <= 1
    for name in after:
        cloudpickle.unregister_pickle_by_value(sys.modules[name])


def test_a_caller_without_a_module_is_left_alone():
    before = cloudpickle.list_registry_pickle_by_value()
    exec(
        "def register(function): function(1)\nregister(cloudpickle_register)",
        {"__name__": "executorlib_test_missing", "cloudpickle_register": cloudpickle_register},
    )
    assert cloudpickle.list_registry_pickle_by_value() == before
