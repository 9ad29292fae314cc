"""What the graph of a program's calls has in it, and what a call that cannot be kept leaves behind."""

import concurrent.futures
import dataclasses
import functools
import threading

import functions
import pytest
from recorded import Recorded

from executorlib._plot import Drawing
from executorlib._select import FutureSelector, get_item_from_future, split_future


@pytest.fixture
def recorded():
    return Recorded()


def test_values_and_futures_are_arguments_by_name(recorded):
    first = recorded.call(functions.add, 1, b=2)
    recorded.call(functions.add, first, 3)
    assert recorded.edges() == [
        ("1:2", None, "a", "add:0"),
        ("2:3", None, "b", "add:0"),
        ("add:0", None, "a", "add:1"),
        ("3:4", None, "b", "add:1"),
    ]


def test_equal_values_are_one_node_and_different_ones_are_not(recorded):
    for value in (1, 1, 1.0, True, "1", [1], [1], (1,), 0.0, -0.0):
        recorded.call(functions.identity, value)
    assert [node.value for node in recorded.graph.others] == ["1", "1.0", "True", "'1'", "[1]", "(1,)", "0.0", "-0.0"]


def test_equal_calls_are_two(recorded):
    recorded.call(functions.add, recorded.call(functions.add, 1, 2), recorded.call(functions.add, 1, 2))
    assert len(recorded.graph.calls) == 3


def test_arrays_are_told_apart_by_what_is_in_them(recorded):
    numpy = pytest.importorskip("numpy")
    ones = numpy.ones(100_000)
    other = ones.copy()
    other[50_000] = 2
    for array in (ones, ones.copy(), other):
        recorded.call(functions.identity, array)
    assert [node.value for node in recorded.graph.others] == ["ndarray()", "ndarray()"]


def test_what_the_program_changes_afterwards_is_kept_as_it_was(recorded):
    value = [1]
    recorded.call(functions.identity, value)
    value.append(2)
    recorded.call(functions.identity, value)
    assert [node.value for node in recorded.graph.others] == ["[1]", "[1, 2]"]


def test_futures_in_containers(recorded):
    one, two = recorded.call(functions.identity, 1), recorded.call(functions.identity, 2)
    recorded.call(functions.identity, [one, 5, {"x": two, "y": (one,)}])
    assert recorded.edges()[2:] == [
        ("[$, 5, {'x': $, 'y': ($,)}]:5", None, "value", "identity:2"),
        ("identity:0", None, "0", "[$, 5, {'x': $, 'y': ($,)}]:5"),
        ("5:6", None, "1", "[$, 5, {'x': $, 'y': ($,)}]:5"),
        ("{'x': $, 'y': ($,)}:7", None, "2", "[$, 5, {'x': $, 'y': ($,)}]:5"),
        ("identity:1", None, "x", "{'x': $, 'y': ($,)}:7"),
        ("($,):8", None, "y", "{'x': $, 'y': ($,)}:7"),
        ("identity:0", None, "0", "($,):8"),
    ]


@dataclasses.dataclass
class Box:
    content: object


def test_futures_in_objects(recorded):
    one = recorded.call(functions.identity, 1)
    recorded.call(functions.identity, Box([one]))
    assert recorded.edges()[1:] == [("Box():3", None, "value", "identity:1"), ("identity:0", None, "", "Box():3")]


def test_items_of_results(recorded):
    pair = recorded.call(functions.identity, (1, 2))
    first, second = split_future(pair, 2)
    recorded.call(functions.add, first, FutureSelector(get_item_from_future(second, "x"), 3))
    assert recorded.edges()[1:] == [
        ("identity:0", "[0]", "a", "add:1"),
        ("identity:0", "[1]['x'][3]", "b", "add:1"),
    ]


def test_a_batch_is_a_list_made_once(recorded):
    members = [recorded.call(functions.identity, number) for number in (1, 2)]
    batch = concurrent.futures.Future()
    recorded.graph.add_batch(batch, members)
    assert len(recorded.graph.others) == 2
    recorded.call(functions.add, batch, split_future(batch, 1)[0])
    assert [node.value for node in recorded.graph.others] == ["1", "2", "[$, $]"]
    assert recorded.edges()[-2:] == [("[$, $]:5", None, "a", "add:2"), ("[$, $]:5", "[0]", "b", "add:2")]


def test_futures_of_others_are_values(recorded):
    stranger = concurrent.futures.Future()
    assert not recorded.graph.knows(stranger)
    recorded.call(functions.add, stranger, stranger)
    assert [(node.kind, node.value) for node in recorded.graph.others] == [("input", "a future")]


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "ports"),
    [
        (functions.echo, (1, 2), {"x": 3}, ["args", "x"]),
        (functools.partial(functions.add, 1), (2,), {}, ["a", "b"]),
        (max, (1, 2), {}, ["0", "1"]),
        (functions.add, (1, 2, 3), {}, ["0", "1", "2"]),
        (functions.add, (), {"b": 1}, ["b"]),
        (lambda: None, (), {}, []),
    ],
)
def test_names_of_arguments(recorded, fn, args, kwargs, ports):
    recorded.call(fn, *args, **kwargs)
    assert [edge.port for edge in recorded.graph.edges] == ports


def test_what_cannot_be_pickled_is_drawn(recorded):
    lock = threading.Lock()
    recorded.call(functions.identity, lock)
    recorded.call(functions.identity, lock)
    assert [node.value for node in recorded.graph.others] == ["lock()", "lock()"]


class Picky(Drawing):
    """Refuses one value."""

    def value(self, value, digest):
        if value == "bad":
            raise TypeError("bad")
        return super().value(value, digest)


def test_a_refused_call_leaves_nothing_behind():
    recorded = Recorded(Picky())
    one = recorded.call(functions.identity, 1)
    stranger = concurrent.futures.Future()
    with pytest.raises(TypeError):
        recorded.call(functions.echo, [one, 2, stranger], x=3, y="bad")
    assert len(recorded.graph.nodes()) == 2 and len(recorded.graph.edges) == 1
    recorded.call(functions.echo, x=2, y=stranger)
    assert recorded.edges()[1:] == [("2:3", None, "x", "echo:1"), ("a future:4", None, "y", "echo:1")]
