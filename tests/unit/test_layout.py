"""Where the nodes of a large drawing go."""

import functions
import pytest
from recorded import Recorded

from executorlib._layout import layers, positions, span


@pytest.fixture
def recorded():
    return Recorded()


def values_of(layer):
    return {str(node.value): number for node, number in layer.items()}


def test_calls_are_below_what_they_depend_on(recorded):
    one = recorded.call(functions.identity, 1)
    two = recorded.call(functions.divide, one, 2)
    recorded.call(functions.add, one, two)
    layer = layers(recorded.graph)
    # The 2 is not at the top, but just above the call that takes it.
    assert values_of(layer) == {"1": 0, "identity": 1, "2": 1, "divide": 2, "add": 3}
    assert span(recorded.graph, layer) == 1 + 1 + 1 + 2 + 1


def test_a_call_on_its_own(recorded):
    recorded.call(functions.echo)
    assert list(positions(recorded.graph, layers(recorded.graph)).values()) == [(0, 0)]


def test_nothing_to_draw(recorded):
    assert positions(recorded.graph, layers(recorded.graph)) == {}


@pytest.mark.parametrize("wide", [False, True], ids=["chain", "fan"])
def test_no_side_gets_long_and_no_place_is_taken_twice(recorded, wide):
    future = recorded.call(functions.identity, 0)
    for number in range(2000):
        made = recorded.call(functions.add, future, number)
        future = future if wide else made
    place = positions(recorded.graph, layers(recorded.graph))
    assert len(set(place.values())) == len(place) == len(recorded.graph.nodes())
    columns, rows = (max(side) + 1 for side in zip(*place.values(), strict=True))
    assert columns <= 130 and rows <= 130  # of 4,000 nodes


def test_a_call_is_below_the_middle_of_its_arguments(recorded):
    numbers = [recorded.call(functions.identity, number) for number in range(9)]
    last = recorded.call(functions.add, numbers[7], numbers[8])
    first = recorded.call(functions.add, numbers[0], numbers[1])
    place = positions(recorded.graph, layers(recorded.graph))
    node = recorded.graph._producers
    assert place[node[first]][0] < place[node[last]][0]
