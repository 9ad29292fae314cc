"""Workflow files: what is in them, what is refused, what is warned of."""

import functools
import json
import warnings

import functions
import pytest
from recorded import Recorded

from executorlib import FluxJobExecutor, get_item_from_future, split_future
from executorlib._workflow import Workflow, write


@pytest.fixture
def recorded():
    return Recorded(Workflow())


@pytest.fixture
def written(recorded, tmp_path):
    def written():
        write(recorded.graph, str(tmp_path / "workflow.json"))
        return json.loads((tmp_path / "workflow.json").read_text())

    return written


@pytest.fixture(autouse=True)
def no_other_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_a_small_workflow(recorded, written):
    pair = recorded.call(functions.identity, {"x": 1})
    recorded.call(functions.add, get_item_from_future(pair, "x"), [pair, 2])
    assert written() == {
        "version": "0.1.0",
        "nodes": [
            {"id": 0, "type": "function", "value": "functions.identity"},
            {"id": 1, "type": "function", "value": "functions.add"},
            {"id": 2, "type": "input", "value": {"x": 1}, "name": "value"},
            {"id": 3, "type": "function", "value": "python_workflow_definition.shared.get_list"},
            {"id": 4, "type": "input", "value": 2, "name": "1"},
            {"id": 5, "type": "output", "name": "result"},
        ],
        "edges": [
            {"target": 0, "targetPort": "value", "source": 2, "sourcePort": None},
            {"target": 1, "targetPort": "a", "source": 0, "sourcePort": "x"},
            {"target": 1, "targetPort": "b", "source": 3, "sourcePort": None},
            {"target": 3, "targetPort": "0", "source": 0, "sourcePort": None},
            {"target": 3, "targetPort": "1", "source": 4, "sourcePort": None},
            {"target": 5, "targetPort": None, "source": 1, "sourcePort": None},
        ],
    }


def test_nothing_was_called(written):
    assert written() == {"version": "0.1.0", "nodes": [], "edges": []}


def test_a_dictionary_of_futures(recorded, written):
    recorded.call(functions.identity, {"x": recorded.call(functions.identity, 1), "y": None})
    workflow = written()
    assert workflow["nodes"][3]["value"] == "python_workflow_definition.shared.get_dict"
    assert [edge["targetPort"] for edge in workflow["edges"]] == ["value", "value", "x", "y", None]


def test_numpy_becomes_plain(recorded, written):
    numpy = pytest.importorskip("numpy")
    for value in (numpy.arange(4).reshape(2, 2), [numpy.float64(1.5), numpy.int32(2)], numpy.bool_(True)):
        recorded.call(functions.identity, value)
    assert [node["value"] for node in written()["nodes"][3:6]] == [[[0, 1], [2, 3]], [1.5, 2], True]


def test_text_of_every_kind(recorded, written):
    text = 'quote " back\\slash \n ü 漢 \ud800'
    recorded.call(functions.identity, text)
    assert written()["nodes"][1]["value"] == text


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, b"bytes", 1j, functions.add, {(1, 2): 3}, [object()]],
    ids=lambda value: str(type(value)),
)
def test_what_json_cannot_hold_is_refused(recorded, value):
    with pytest.raises(TypeError, match=r"JSON, which an argument of type"):
        recorded.call(functions.identity, value)
    assert not recorded.graph.nodes()


def test_a_value_that_holds_itself_is_refused(recorded):
    value = []
    value.append(value)
    with pytest.raises(TypeError, match="JSON"):
        recorded.call(functions.identity, value)


class Holder:
    def __init__(self, content):
        self.content = content


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (Holder, "an argument of type Holder"),
        (lambda future: {future}, "no sets"),
        (lambda future: {1: future}, "keys are texts"),
        (lambda future: get_item_from_future(get_item_from_future(future, "x"), "y"), "item of an item"),
    ],
    ids=["object", "set", "key", "item of an item"],
)
def test_futures_in_the_wrong_place_are_refused(recorded, wrap, message):
    future = recorded.call(functions.identity, 1)
    with pytest.raises(TypeError, match=message):
        recorded.call(functions.identity, wrap(future))
    assert len(recorded.graph.nodes()) == 2


def test_a_future_of_another_executor_is_refused(recorded):
    with pytest.raises(TypeError, match="another executor"):
        recorded.call(functions.identity, Recorded().call(functions.identity, 1))


def by_position(a, /, b):
    return a, b


def local():
    def inner(a):
        return a

    return inner


@pytest.mark.parametrize(
    ("fn", "args", "message"),
    [
        (lambda a: a, (1,), "cannot be imported"),
        (local(), (1,), "cannot be imported"),
        (pow, (2, 3), "not a Python function"),
        (FluxJobExecutor, (1,), "not a Python function"),
        (functions.worker_pid, (), "without arguments"),
        (functions.echo, (1, 2), "args by position"),
        (by_position, (1, 2), "a by position"),
        (functions.add, (1, 2, 3), "cannot take all"),
        (functions.identity, ([{1: "a"}],), "keys"),
    ],
)
def test_what_readers_cannot_run_is_warned_of_once(recorded, fn, args, message):
    with pytest.warns(UserWarning, match=message):
        recorded.call(fn, *args)
    recorded.call(fn, *args)


def test_what_readers_can_run_is_not_warned_of(recorded, written):
    recorded.call(functions.echo, x=1, y=2)
    recorded.call(functools.partial(functions.add, 1), b=2)
    assert len(written()["nodes"]) == 5


def test_parts_of_a_tuple_are_warned_of(recorded, written):
    first, second = split_future(recorded.call(functions.identity, [1, 2]), 2)
    with pytest.warns(UserWarning, match="tuple"):
        recorded.call(functions.add, first, second)
    assert [edge["sourcePort"] for edge in written()["edges"]] == [None, "0", "1", None]
