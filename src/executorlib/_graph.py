"""The graph of a program's calls: what was called, and where each argument comes from.

    submit(f, 1, [a, b])         1 ──▶ f ◀── get_list ◀── a
                                                      ◀── b

A node is a call, a container that collects futures for one, or a value that the program gave. What is kept of
functions and values is decided by a `Form`, when the call is made: the program may change its objects afterwards.
"""

from __future__ import annotations

import inspect
from concurrent.futures import Future
from functools import partial
from hashlib import blake2b
from io import BytesIO

import cloudpickle

from executorlib._select import FutureSelector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable
    from typing import Any, Protocol

    class Form(Protocol):
        """What to keep of the things in a graph. Each method raises TypeError for what it has no way to keep."""

        def function(self, fn: Any, ports: list[tuple[str, Any]]) -> str:
            """The text for a call's function."""

        def value(self, value: Any, digest: bytes | None) -> tuple[Hashable | None, Any]:
            """What decides whether two values are one node (None: never), and what to keep of the value."""

        def container(self, value: Any) -> str:
            """The text for a list, tuple, set or dict that holds futures."""

        def opaque(self, value: Any) -> str:
            """The text for any other object that holds futures."""

        def foreign(self, future: Future) -> Any:
            """What to keep of a future that no call of this graph made."""

        def items(self, selectors: list[Any]) -> str:
            """The text for the way from a result to one of its items."""


class Node:
    """A call or container ("function"), or a value ("input")."""

    __slots__ = ("kind", "name", "value")

    def __init__(self, kind: str, name: str, value: Any) -> None:
        self.kind = kind
        self.name = name
        self.value = value


class Edge:
    """The result of `source`, or an item of it, is the argument `port` of `target`."""

    __slots__ = ("item", "port", "source", "target")

    def __init__(self, source: Node, target: Node, port: str, item: str | None = None) -> None:
        self.source = source
        self.target = target
        self.port = port
        self.item = item


class Graph:
    """Grows by one call at a time; a call that cannot be kept leaves nothing behind. Not safe among threads.

    Attributes:
        calls (list[Node]): in the order of submission.
        others (list[Node]): containers and values, in the order of their first use.
        edges (list[Edge]): in the order of calls, and of each call's arguments.
    """

    def __init__(self, form: Form) -> None:
        self.calls: list[Node] = []
        self.others: list[Node] = []
        self.edges: list[Edge] = []
        self._form = form
        self._inputs: dict[Hashable, Node] = {}
        self._producers: dict[Future, Node] = {}
        self._batches: dict[Future, list[Future]] = {}

    def nodes(self) -> list[Node]:
        """All nodes: calls first, so that the position of a call is the order of its submission."""
        return [*self.calls, *self.others]

    def add_call(self, future: Future, fn: Any, args: tuple, kwargs: dict[str, Any]) -> None:
        """Add the call `fn(*args, **kwargs)`, whose result `future` stands for."""
        mark = len(self.others), len(self.edges), len(self._inputs)
        fn, arguments = _ports(fn, args, kwargs)
        try:
            call = Node("function", _name(fn), self._form.function(fn, arguments))
            for port, value in arguments:
                self._connect(value, call, port)
        except BaseException:
            self._cut_back(*mark)
            raise
        self.calls.append(call)
        self._producers[future] = call

    def add_batch(self, future: Future, members: list[Future]) -> None:
        """From now on `future` stands for the list of the results of `members`."""
        self._batches[future] = members

    def knows(self, future: Future) -> bool:
        """Whether a call of this graph, or a batch of them, is what `future` stands for."""
        source, _ = _source(future)
        return source in self._producers or source in self._batches

    def _connect(self, value: Any, target: Node, port: str) -> None:
        if isinstance(value, Future):
            source, selectors = _source(value)
            item = self._form.items(selectors) if selectors else None
            self.edges.append(Edge(self._producer(source), target, port, item))
            return
        digest, futures = (None, []) if type(value) in ATOMS else _look_through(value)
        if futures:
            self._connect_holder(value, futures, target, port)
        else:
            self.edges.append(Edge(self._input(value, digest, port), target, port))

    def _connect_holder(self, value: Any, futures: list[Future], target: Node, port: str) -> None:
        """An edge from a node of its own for `value`, which has `futures` somewhere inside."""
        parts = _parts(value)
        if parts is None:
            holder = self._other("function", type(value).__name__, self._form.opaque(value))
            parts = (("", future) for future in futures)
        else:
            holder = self._other("function", type(value).__name__, self._form.container(value))
        self.edges.append(Edge(holder, target, port))
        for key, part in parts:
            self._connect(part, holder, key)

    def _producer(self, future: Future) -> Node:
        node = self._producers.get(future)
        if node is None:
            members = self._batches.get(future)
            if members is None:
                node = self._other("input", "future", self._form.foreign(future))
            else:
                node = self._other("function", "list", self._form.container(members))
                for index, member in enumerate(members):
                    self._connect(member, node, str(index))
            self._producers[future] = node
        return node

    def _input(self, value: Any, digest: bytes | None, port: str) -> Node:
        key, kept = self._form.value(value, digest)
        node = None if key is None else self._inputs.get(key)
        if node is None:
            node = self._other("input", port, kept)
            self._inputs[node if key is None else key] = node
        return node

    def _other(self, kind: str, name: str, value: Any) -> Node:
        node = Node(kind, name, value)
        self.others.append(node)
        return node

    def _cut_back(self, others: int, edges: int, inputs: int) -> None:
        removed = set(self.others[others:])
        del self.others[others:], self.edges[edges:]
        while len(self._inputs) > inputs:
            self._inputs.popitem()
        for future in [future for future, node in self._producers.items() if node in removed]:
            del self._producers[future]


def _ports(fn: Any, args: tuple, kwargs: dict[str, Any]) -> tuple[Any, list[tuple[str, Any]]]:
    """The function itself, without `functools.partial`, and its arguments by the names of its parameters.

    Arguments that it cannot take, and those of built-in functions that tell no names, are named by their positions.
    """
    while isinstance(fn, partial):
        fn, args, kwargs = fn.func, (*fn.args, *args), {**fn.keywords, **kwargs}
    try:
        signature = inspect.signature(fn)
        bound = signature.bind_partial(*args, **kwargs).arguments
    except (TypeError, ValueError):
        return fn, [*((str(index), value) for index, value in enumerate(args)), *kwargs.items()]
    arguments: list[tuple[str, Any]] = []
    for name, value in bound.items():
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            arguments += value.items()
        else:
            arguments.append((name, value))
    return fn, arguments


def _name(fn: Any) -> str:
    return getattr(fn, "__name__", None) or type(fn).__name__


def _source(future: Future) -> tuple[Future, list[Any]]:
    """The future that `future` is an item of, if any, and the selectors that lead from that to it."""
    selectors: list[Any] = []
    while isinstance(future, FutureSelector):
        selectors.insert(0, future._selector)
        future = future._future
    return future, selectors


def _parts(value: Any) -> Iterable[tuple[str, Any]] | None:
    """The items of a container with the ports by which they are given to it; None if it is none."""
    if type(value) is dict:
        return ((str(key), part) for key, part in value.items())
    if type(value) in (list, tuple, set, frozenset):
        return ((str(index), part) for index, part in enumerate(value))
    return None


def _look_through(value: Any) -> tuple[bytes | None, list[Future]]:
    """What tells `value` from other values, None if nothing does; and the futures inside it.

    Pickling visits everything that a submitted call would send. What cannot be pickled would fail its call, but the
    graph of the program can be shown nevertheless.
    """
    finder = _Finder(BytesIO())
    try:
        finder.dump(value)
    except Exception:
        return None, finder.futures
    finder.digest.update(finder.sink.getbuffer())
    return finder.digest.digest(), finder.futures


class _Finder(cloudpickle.Pickler):
    """Pickles into a buffer and a digest, and notes the futures that it comes across."""

    def __init__(self, sink: BytesIO) -> None:
        self.sink = sink
        self.digest = blake2b(digest_size=16)
        self.futures: list[Future] = []
        super().__init__(sink, protocol=5, buffer_callback=lambda buffer: self.digest.update(buffer.raw()))

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Future):
            self.futures.append(obj)
            return Future, ()
        return super().reducer_override(obj)


# What has no parts, and is told from others by its text.
ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})
