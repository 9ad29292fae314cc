"""Texts in drawings, and what is found to be missing before a program starts."""

import functools
import os
import re
import subprocess
import sys

import functions
import pytest
from recorded import Recorded

from executorlib import _plot
from executorlib._plot import Drawing, check_drawing, draw, render


class Slow:
    def __repr__(self):
        raise AssertionError("an object's own text may take long to make")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (None, "None"),
        (1.5, "1.5"),
        ("text", "'text'"),
        (functions.add, "add"),
        (Slow, "Slow"),
        (Slow(), "Slow()"),
        ([Slow(), 2], "[Slow(), 2]"),
        (functools.partial(functions.add, 1), "partial()"),
        (len, "len"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_texts(value, text):
    assert Drawing().value(value, b"")[1] == text


@pytest.mark.parametrize("value", ["x" * 1000, 10**1000, b"x" * 1000, list(range(1000)), [[[[[[1]]]]]]])
def test_long_texts_are_cut(value):
    text = Drawing().value(value, b"")[1]
    assert len(text) <= 40 and "..." in text


@pytest.fixture
def two_calls():
    recorded = Recorded()
    recorded.call(functions.add, recorded.call(functions.identity, 'back\\slash "quote" <b>'), 1)
    return recorded.graph


def test_nodes_and_edges_of_a_drawing(two_calls):
    svg = render(two_calls, "svg").decode()
    assert svg.count('class="node"') == 4 and svg.count('class="edge"') == 3
    assert {"add", "identity", "1"} <= set(re.findall(r">([^<]+)</text>", svg))
    assert {" a ", " b ", " value "} <= set(re.findall(r">([^<]+)</text>", svg))
    assert svg.count("<ellipse") == 2


@pytest.mark.parametrize("name", ["graph.svg", "graph.PNG", "graph.pdf"])
def test_formats(two_calls, tmp_path, name):
    path = tmp_path / name
    check_drawing(str(path))
    draw(two_calls, str(path))
    start = {"svg": b"<?xml", "PNG": b"\x89PNG", "pdf": b"%PDF"}[name[-3:]]
    assert path.read_bytes().startswith(start)


def test_nothing_to_draw():
    assert b"<svg" in render(Recorded().graph, "svg")


def test_large_graphs_have_the_same_nodes_and_edges(monkeypatch, two_calls):
    monkeypatch.setattr(_plot, "_LARGEST_SPAN", 0)
    svg = render(two_calls, "svg").decode()
    assert svg.count('class="node"') == 4 and svg.count('class="edge"') == 3
    assert {"a", "b", "value"} <= set(re.findall(r'xlink:title="([^"]*)"', svg))
    assert render(two_calls, "png").startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["graph", "graph.", "graph.xyz", "folder.svg/graph"])
def test_unknown_formats(name):
    with pytest.raises(ValueError, match="picture format"):
        check_drawing(name)


def without(monkeypatch, module):
    find_spec = _plot.find_spec
    monkeypatch.setattr(_plot, "find_spec", lambda name: None if name == module else find_spec(name))
    monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.parametrize("filename", [None, "graph.svg"])
def test_missing_package(monkeypatch, filename):
    without(monkeypatch, "graphviz")
    with pytest.raises(ModuleNotFoundError, match=re.escape("pip install 'executorlib[graph]'")) as caught:
        check_drawing(filename)
    assert caught.value.name == "graphviz"


def test_missing_notebook(monkeypatch):
    without(monkeypatch, "IPython")
    check_drawing("graph.svg")
    with pytest.raises(ModuleNotFoundError, match=re.escape("pip install 'executorlib[graphnotebook]'")) as caught:
        check_drawing(None)
    assert caught.value.name == "IPython"


def test_missing_program(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="apt install graphviz"):
        check_drawing("graph.svg")


def test_a_file_that_cannot_be_written(two_calls, tmp_path):
    path = tmp_path / "missing" / "graph.svg"
    with pytest.raises(FileNotFoundError, match="missing"):
        draw(two_calls, str(path))
    assert not os.listdir(tmp_path)


def test_importing_the_package_loads_nothing_that_draws():
    done = subprocess.run(
        [sys.executable, "-c", "import executorlib, sys; print(sorted({'graphviz', 'IPython', 'json', 'cloudpickle'} "
         "& set(sys.modules)))"], capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.stdout.strip() == "[]", done.stderr


class Shell:
    """Stands for IPython's shell in a notebook, or without one."""

    def __init__(self, kernel):
        if kernel:
            self.kernel = object()


@pytest.mark.parametrize("shell", [Shell(kernel=True), Shell(kernel=False), None], ids=["kernel", "terminal", "script"])
def test_in_a_notebook_the_drawing_is_shown(monkeypatch, two_calls, shell):
    import IPython
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    monkeypatch.setattr(IPython.display, "display", shown.append)
    if getattr(shell, "kernel", None) is None:
        with pytest.warns(UserWarning, match="plot_dependency_graph_filename"):
            draw(two_calls, None)
    else:
        draw(two_calls, None)
    assert len(shown) == 1 and isinstance(shown[0], IPython.display.SVG)
    assert "identity" in shown[0].data
