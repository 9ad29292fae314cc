"""Programs that are shown instead of run: their calls are recorded, and the graph is drawn or exported at the end."""

from __future__ import annotations

import os
from concurrent.futures import Future
from functools import partial
from itertools import count
from threading import Lock

from executorlib._select import FutureSelector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from executorlib._graph import Form, Graph


def recorder_for(
    plot: bool,
    plot_filename: str | os.PathLike[str] | None,
    export_filename: str | os.PathLike[str] | None,
    disable_dependencies: bool = False,
) -> RecordingPool | None:
    """What takes the calls of an executor that is to show them; None if nobody wants to see them.

    Parameters:
        plot: whether to show a drawing in the notebook.
        plot_filename: the file to draw into.
        export_filename: the file to write the workflow to; then nothing is drawn.
        disable_dependencies: whether there are to be no dependencies.

    Raises:
        ModuleNotFoundError, FileNotFoundError: if a package or program that draws is missing.
        ValueError: if there is nothing to show, or the extension of `plot_filename` is no picture format.
    """
    if not plot and plot_filename is None and export_filename is None:
        return None
    if disable_dependencies:
        raise ValueError("a dependency graph needs the dependencies that disable_dependencies turns off")
    if export_filename is not None:
        from executorlib import _workflow

        return RecordingPool(_workflow.Workflow(), partial(_workflow.write, filename=os.fspath(export_filename)))
    from executorlib import _plot

    filename = None if plot_filename is None else os.fspath(plot_filename)
    _plot.check_drawing(filename)
    return RecordingPool(_plot.Drawing(), partial(_plot.draw, filename=filename))


class RecordedFuture(Future):
    """Stands for the result of a call that was recorded: done, and None."""

    def __init__(self) -> None:
        super().__init__()
        self.set_result(None)

    def terminate(self) -> bool:
        """False: there is no call to end."""
        return False


class RecordingPool:
    """Takes the place of a pool of the engine.

    Parameters:
        form: what the graph keeps of functions and values.
        finish: called once with the graph, when the pool is shut down.
    """

    lost = False

    def __init__(self, form: Form, finish: Callable[[Graph], None]) -> None:
        from executorlib._graph import Graph

        self.closed = False
        self._graph = Graph(form)
        self._finish = finish
        self._lock = Lock()

    def as_pool(self, **settings: Any) -> Any:
        """This one, whatever the settings of a pool: nothing runs under them."""
        return self

    def submit(self, fn: Callable, args: tuple, kwargs: dict[str, Any]) -> Future:
        future = RecordedFuture()
        with self._lock:
            if self.closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._graph.add_call(future, fn, args, kwargs)
        return future

    def map(self, fn: Callable, iterables: tuple[Iterable, ...]) -> list[Future]:
        return [self.submit(fn, items, {}) for items in zip(*iterables, strict=False)]

    def items(self, iterables: tuple[Iterable | Future, ...]) -> tuple[Iterable, ...]:
        """The iterables of a map, with the items of futures that have no result.

        How many these would have is unknown. The other iterables say how many are taken; if there are none, the future
        is itself the only item.
        """
        alone = all(self._stands_for_call(iterable) for iterable in iterables)
        return tuple(self._items(iterable, alone) for iterable in iterables)

    def batched(self, futures: Iterable[Future], n: int) -> list[Future]:
        """Batches of `futures` as they come, since it is unknown which would finish first."""
        if n < 1:
            raise ValueError(f"a batch needs at least one item, not {n}")
        futures = list(futures)
        batches = []
        for start in range(0, len(futures), n):
            members = futures[start : start + n]
            batch: Future = Future()
            batch.set_result([None] * len(members))
            with self._lock:
                self._graph.add_batch(batch, members)
            batches.append(batch)
        return batches

    def shutdown(self, wait: bool = True, cancel_futures: bool = False) -> None:
        with self._lock:
            if self.closed:
                return
            self.closed = True
        self._finish(self._graph)

    def resize(self, max_workers: int) -> None:
        """Nothing to do: there are no workers."""

    def pids(self) -> list[int]:
        return []

    def __len__(self) -> int:
        return 0

    def _stands_for_call(self, iterable: Any) -> bool:
        return isinstance(iterable, Future) and self._graph.knows(iterable)

    def _items(self, iterable: Any, alone: bool) -> Iterable:
        if not isinstance(iterable, Future):
            return iterable
        if not self._stands_for_call(iterable):
            return iterable.result()
        return [iterable] if alone else (FutureSelector(iterable, index) for index in count())
