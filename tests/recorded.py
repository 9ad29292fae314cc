"""A graph under construction, for the tests of what is made of it."""

import concurrent.futures

from executorlib._graph import Graph
from executorlib._plot import Drawing


class Recorded:
    """Records calls, and tells the edges as texts."""

    def __init__(self, form=None):
        self.graph = Graph(form or Drawing())

    def call(self, fn, *args, **kwargs):
        future = concurrent.futures.Future()
        self.graph.add_call(future, fn, args, kwargs)
        return future

    def edges(self):
        number = {node: index for index, node in enumerate(self.graph.nodes())}
        return [
            (self._text(edge.source, number), edge.item, edge.port, self._text(edge.target, number))
            for edge in self.graph.edges
        ]

    def _text(self, node, number):
        return f"{node.value}:{number[node]}"
