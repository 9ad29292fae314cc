"""Where to draw the nodes of a graph that is too large for the usual layout.

Nodes are put into layers, so that all edges lead down, and side by side within a layer below what they depend on. That
takes a time proportional to the size of the graph.
"""

from __future__ import annotations

from math import isqrt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from executorlib._graph import Graph, Node

# Rows of a folded layer have so many nodes at least, and stripes of a folded picture so many rows.
_NARROWEST, _TALLEST = 20, 40


def layers(graph: Graph) -> dict[Node, int]:
    """The layer of each node, in an order in which nodes come after all that they depend on.

    A call is one layer below the lowest of what it depends on; a value is just above the first call that takes it.
    """
    consumers: dict[Node, list[Node]] = {node: [] for node in graph.nodes()}
    missing = dict.fromkeys(consumers, 0)
    for edge in graph.edges:
        consumers[edge.source].append(edge.target)
        missing[edge.target] += 1
    layer = {node: 0 for node, count in missing.items() if count == 0}
    sources = list(layer)
    ready = list(layer)
    for node in ready:
        for consumer in consumers[node]:
            layer[consumer] = max(layer.get(consumer, 0), layer[node] + 1)
            missing[consumer] -= 1
            if missing[consumer] == 0:
                ready.append(consumer)
    for node in sources:
        layer[node] = min((layer[consumer] for consumer in consumers[node]), default=1) - 1
    return {node: layer[node] for node in ready}


def span(graph: Graph, layer: dict[Node, int]) -> int:
    """How many layers all edges cross together, which is what decides how long the usual layout takes."""
    return sum(layer[edge.target] - layer[edge.source] for edge in graph.edges)


def positions(graph: Graph, layer: dict[Node, int]) -> dict[Node, tuple[int, int]]:
    """Column and row of each node; rows count from the top.

    A layer of many nodes is folded into several rows, and many rows into stripes side by side, so that the picture
    has no long side.
    """
    rows = [
        nodes[start : start + _width(layer)]
        for nodes in _ordered(graph, layer)
        for start in range(0, len(nodes), _width(layer))
    ]
    columns = max(map(len, rows), default=0)
    # As many stripes as make the picture about twice as wide in columns as it is high in rows.
    height = max(1, _TALLEST, isqrt(len(rows) * (columns + 1) // 2))
    return {
        node: (row // height * (columns + 1) + column, row % height)
        for row, nodes in enumerate(rows)
        for column, node in enumerate(nodes)
    }


def _width(layer: dict[Node, int]) -> int:
    return max(_NARROWEST, isqrt(len(layer)))


def _ordered(graph: Graph, layer: dict[Node, int]) -> list[list[Node]]:
    """The nodes of each layer, from left to right, each below the middle of what it depends on."""
    above: dict[Node, list[Node]] = {node: [] for node in layer}
    for edge in graph.edges:
        above[edge.target].append(edge.source)
    members: dict[int, list[Node]] = {}
    for node, number in layer.items():
        members.setdefault(number, []).append(node)
    place: dict[Node, float] = {}
    for number in sorted(members):
        nodes = members[number]
        for index, node in enumerate(nodes):
            known = [place[source] for source in above[node] if source in place]
            place[node] = sum(known) / len(known) if known else index
        nodes.sort(key=place.__getitem__)
        place.update((node, index) for index, node in enumerate(nodes))
    return [members[number] for number in sorted(members)]
