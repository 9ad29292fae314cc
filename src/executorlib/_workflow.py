"""Files in the Python Workflow Definition: a graph as JSON, for the workflow managers that read it.

    {"version", "nodes": [{"id", "type": function | input | output, "value", "name"}],
     "edges": [{"target", "targetPort", "source", "sourcePort"}]}

Readers import the functions by name and call them with keyword arguments.
"""

from __future__ import annotations

import inspect
import json
import sys

from executorlib._graph import ATOMS
from executorlib._warn import warn_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future
    from typing import Any

    from executorlib._graph import Graph, Node

VERSION = "0.1.0"

_LIST = "python_workflow_definition.shared.get_list"
_DICT = "python_workflow_definition.shared.get_dict"

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)


class Workflow:
    """Keeps the names of functions, and values as JSON; warns, once each, of what readers cannot use as it is meant."""

    def __init__(self) -> None:
        self._functions: set[tuple[Any, frozenset[str]]] = set()
        self._warned: set[str] = set()

    def function(self, fn: Any, ports: list[tuple[str, Any]]) -> str:
        module = getattr(fn, "__module__", None) or type(fn).__module__
        name = getattr(fn, "__name__", None) or type(fn).__name__
        if not inspect.isfunction(fn):
            self._warn(f"{module}.{name} is not a Python function")
            return f"{module}.{name}"
        names = frozenset(port for port, _ in ports)
        if (fn, names) not in self._functions:
            self._functions.add((fn, names))
            doubt = _doubt(fn, module, name, names)
            if doubt:
                self._warn(f"{module}.{name} {doubt}")
        return f"{module}.{name}"

    def value(self, value: Any, digest: bytes | None) -> tuple[str, str]:
        try:
            text = json.dumps(value, default=_plain)
        except (TypeError, ValueError, RecursionError) as error:
            raise TypeError(f"a workflow file has values as JSON, which {_brief(value)} is not: {error}")
        if type(value) not in ATOMS and not _has_text_keys(value):
            self._warn(f"JSON makes texts of the keys of {value!r:.60}")
        return text, text

    def container(self, value: Any) -> str:
        if isinstance(value, (set, frozenset)):
            raise TypeError("a workflow file has values as JSON, which has no sets; pass a list of futures")
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise TypeError(f"in a workflow file keys are texts, and {key!r} is none")
            return _DICT
        return _LIST

    def opaque(self, value: Any) -> str:
        raise TypeError(
            f"a workflow file has values as JSON, which {_brief(value)} is not; futures can be arguments, and in lists "
            "and dictionaries"
        )

    def foreign(self, future: Future) -> Any:
        raise TypeError(f"{future!r} is of another executor, and has no place in the workflow file of this one")

    def items(self, selectors: list[Any]) -> str:
        if len(selectors) > 1:
            raise TypeError("a workflow file cannot tell the item of an item; make it a call of its own")
        if not isinstance(selectors[0], str):
            self._warn("items of results are asked for by texts, so a function that returns a tuple has none")
        return str(selectors[0])

    def _warn(self, why: str) -> None:
        if why not in self._warned:
            self._warned.add(why)
            warn_user(f"the workflow file can be read, but may not run: {why}")


def write(graph: Graph, filename: str) -> None:
    """Write the file, one line for each node and edge; the result is that of the last call.

    Raises:
        OSError: if the file cannot be written.
    """
    number = {node: index for index, node in enumerate(graph.nodes())}
    nodes = [_node(node, index) for node, index in number.items()]
    edges = [_edge(number[edge.source], edge.item, number[edge.target], edge.port) for edge in graph.edges]
    if graph.calls:
        nodes.append(json.dumps({"id": len(number), "type": "output", "name": "result"}))
        edges.append(_edge(len(graph.calls) - 1, None, len(number), None))
    text = f'{{\n  "version": "{VERSION}",\n  "nodes": {_lines(nodes)},\n  "edges": {_lines(edges)}\n}}\n'
    with open(filename, "w", encoding="utf-8") as file:
        file.write(text)


def _node(node: Node, index: int) -> str:
    if node.kind == "input":
        name = json.dumps(node.name)
        return f'{{"id": {index}, "type": "input", "value": {node.value}, "name": {name}}}'
    return f'{{"id": {index}, "type": "function", "value": {json.dumps(node.value)}}}'


def _edge(source: int, item: str | None, target: int, port: str | None) -> str:
    return json.dumps({"target": target, "targetPort": port, "source": source, "sourcePort": item})


def _lines(entries: Iterable[str]) -> str:
    joined = ",\n    ".join(entries)
    return f"[\n    {joined}\n  ]" if joined else "[]"


def _doubt(fn: Any, module: str, name: str, ports: frozenset[str]) -> str | None:
    """Why a reader could not call `fn` with arguments for these parameters, if so."""
    found: Any = getattr(sys.modules.get(module), name, None)
    if found is not fn:
        return "cannot be imported by this name"
    if not ports:
        return "is called without arguments"
    parameters = inspect.signature(fn).parameters
    for parameter in parameters.values():
        if parameter.kind in _BY_POSITION and parameter.name in ports:
            return f"takes its parameter {parameter.name} by position only"
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    if not takes_any and not ports <= parameters.keys():
        return "cannot take all arguments that it was given"
    return None


def _has_text_keys(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(_has_text_keys, value.values()))
    return not isinstance(value, (list, tuple)) or all(map(_has_text_keys, value))


def _plain(value: Any) -> Any:
    """NumPy's arrays as lists and its numbers as Python's."""
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"an object of type {type(value).__name__}")


def _brief(value: Any) -> str:
    return f"an argument of type {type(value).__name__}"
