"""Drawings of a recorded graph, made by Graphviz."""

from __future__ import annotations

import os
import reprlib
import shutil
import warnings
from importlib.util import find_spec

from executorlib._graph import ATOMS
from executorlib._layout import layers, positions, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable
    from concurrent.futures import Future
    from typing import Any

    from executorlib._graph import Edge, Graph, Node

# Graphviz's own layout is the nicer one, but the time it takes soars with the layers that edges cross: about a second
# at this many, minutes at five times as many.
_LARGEST_SPAN = 1000

# Points between the nodes of a large graph, and the pixels along the longer side of its bitmap.
_COLUMN, _ROW = 120, 70
_PIXELS = 6000


class Drawing:
    """Keeps short texts of functions and values."""

    def function(self, fn: Any, ports: list[tuple[str, Any]]) -> str:
        return _short.repr(fn)

    def value(self, value: Any, digest: bytes | None) -> tuple[Hashable | None, str]:
        key = (type(value), repr(value)) if type(value) in ATOMS else digest
        return key, _short.repr(value)

    def container(self, value: Any) -> str:
        return _short.repr(value)

    def opaque(self, value: Any) -> str:
        return _short.repr(value)

    def foreign(self, future: Future) -> str:
        return "a future"

    def items(self, selectors: list[Any]) -> str:
        return "".join(f"[{selector!r}]" for selector in selectors)


def check_drawing(filename: str | None) -> None:
    """Find out now, rather than at the end of the program, whether there can be a drawing.

    Parameters:
        filename: the file to draw into; None for a notebook.

    Raises:
        ModuleNotFoundError: if a package that makes or shows drawings is missing.
        FileNotFoundError: if the program `dot` is missing.
        ValueError: if the file's extension is no format that Graphviz writes.
    """
    if find_spec("graphviz") is None:
        raise ModuleNotFoundError(
            "drawing the dependency graph needs the package graphviz: pip install 'executorlib[graph]'",
            name="graphviz",
        )
    if shutil.which("dot") is None:
        raise FileNotFoundError(
            "drawing the dependency graph needs the program dot of Graphviz, which is not in PATH: "
            "apt install graphviz, or conda install graphviz"
        )
    if filename is None:
        if find_spec("IPython") is None:
            raise ModuleNotFoundError(
                "showing the dependency graph in a notebook needs IPython: pip install 'executorlib[graphnotebook]'; "
                "plot_dependency_graph_filename draws into a file",
                name="IPython",
            )
        return
    import graphviz

    if _format(filename) not in graphviz.FORMATS:
        raise ValueError(
            f"plot_dependency_graph_filename={filename!r} must end with the name of a picture format, "
            "such as .svg, .png or .pdf"
        )


def draw(graph: Graph, filename: str | None) -> None:
    """Draw into a file whose extension is the format, or show in the notebook.

    Raises:
        OSError: if the file cannot be written.
    """
    if filename is None:
        _show(render(graph, "svg"))
        return
    picture = render(graph, _format(filename))
    with open(filename, "wb") as file:
        file.write(picture)


def render(graph: Graph, file_format: str) -> bytes:
    """The drawing in a format of Graphviz: boxes for calls, ellipses for values, arrows to the parameters."""
    import graphviz

    layer = layers(graph)
    place = positions(graph, layer) if span(graph, layer) > _LARGEST_SPAN else None
    picture = graphviz.Digraph(node_attr={"shape": "box"})
    if place is not None:
        # Nodes above straight lines, which would else cross them.
        picture.attr(splines="line", outputorder="edgesfirst", dpi=str(_resolution(place)))
        picture.attr("node", style="filled", fillcolor="white")
    number = {node: str(index) for index, node in enumerate(graph.nodes())}
    for node, name in number.items():
        picture.node(name, label=graphviz.escape(node.value), **_shape(node, place))
    for edge in graph.edges:
        picture.edge(number[edge.source], number[edge.target], **_texts(edge, place is None))
    if place is None:
        return picture.pipe(format=file_format, quiet=True)
    return picture.pipe(format=file_format, engine="neato", neato_no_op=2, quiet=True)


def _shape(node: Node, place: dict[Node, tuple[int, int]] | None) -> dict[str, str]:
    attributes = {"shape": "ellipse"} if node.kind == "input" else {}
    if place is not None:
        column, row = place[node]
        attributes["pos"] = f"{column * _COLUMN},{-row * _ROW}"
    return attributes


def _texts(edge: Edge, labelled: bool) -> dict[str, str]:
    """The parameter beside an arrow, and the item at its tail.

    To place them in a large drawing takes minutes; there they show up where the mouse is.
    """
    from graphviz import escape

    item = edge.item or ""
    if labelled:
        return {"label": escape(f" {edge.port} "), "taillabel": escape(f" {item} ")}
    return {"tooltip": escape(f"{item} {edge.port}".strip())}


def _resolution(place: dict[Node, tuple[int, int]]) -> int:
    """Dots per inch that keep a bitmap within what can be looked at."""
    columns = max(column for column, _ in place.values()) + 1
    rows = max(row for _, row in place.values()) + 1
    inches = max(columns * _COLUMN, rows * _ROW) / 72
    return max(1, min(96, int(_PIXELS / inches)))


def _show(picture: bytes) -> None:
    from IPython import get_ipython
    from IPython.display import SVG, display

    if getattr(get_ipython(), "kernel", None) is None:
        warnings.warn(
            "there is no notebook to show the dependency graph in; plot_dependency_graph_filename draws into a file",
            stacklevel=2,
        )
    display(SVG(picture.decode()))


def _format(filename: str) -> str:
    return os.path.splitext(filename)[1][1:].lower()


class _Short(reprlib.Repr):
    """Texts of a few words. Of objects only the type is named: their own texts may be long, and slow to make."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 24
        self.maxlevel = 3

    def repr1(self, x: Any, level: int) -> str:
        from concurrent.futures import Future

        if isinstance(x, Future):
            return "$"
        if callable(x) and hasattr(x, "__name__"):
            return x.__name__
        return super().repr1(x, level)

    def repr_instance(self, x: Any, level: int) -> str:
        text = repr(x) if type(x) in ATOMS else f"{type(x).__name__}()"
        return text if len(text) <= self.maxother else text[: self.maxother - 3] + "..."


_short = _Short()
