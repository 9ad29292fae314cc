"""One item of what a future will hold, as a future of its own."""

from __future__ import annotations

from concurrent.futures import Future
from threading import RLock

from executorlib import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What `Future.__init__` sets. A selector has them only once somebody watches it.
_WATCHED = frozenset({"_condition", "_state", "_result", "_exception", "_waiters", "_done_callbacks"})

# Held while a selector becomes watched; a selector of a selector nests.
_watching = RLock()


class FutureSelector(Future):
    """The future of one item of another future's result.

    It shares the other future's fate: it is done, running or cancelled when that one is, and cancelling or terminating
    it does that to the other one. If the result is None, so is the item. An item that does not exist shows in
    `result()` and `exception()`.

    It keeps no state until something waits on it other than through its own methods (`concurrent.futures.wait`,
    `as_completed`, `asyncio.wrap_future`, a callback). From then on it is a future in its own right, completed by
    the other one, so that several selectors of one future can be told apart.

    Parameters:
        future (Future): the future whose result has items.
        selector (int | str): index or key of the item.

    Example:
        >>> from concurrent.futures import Future
        >>> source = Future()
        >>> item = FutureSelector(source, "energy")
        >>> source.set_result({"energy": -1.5})
        >>> item.result()
        -1.5
    """

    __module__ = "executorlib.standalone.select"

    def __init__(self, future: Future, selector: int | str) -> None:
        self._future = future
        self._selector = selector

    def result(self, timeout: float | None = None) -> Any:
        """Wait up to `timeout` seconds (default: without limit) for the other future and return the item."""
        value = self._future.result(timeout)
        return None if value is None else value[self._selector]

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The exception that `result()` would raise, or None; waits like `result()`."""
        exception = self._future.exception(timeout)
        if exception is None:
            try:
                self.result()
            except Exception as missing:
                return missing
        return exception

    def cancel(self) -> bool:
        """Cancel the other future; False if it is too late for that."""
        return self._future.cancel()

    def terminate(self) -> bool:
        """End the call behind the other future, as that one's `terminate()` does."""
        return self._future.terminate()  # type: ignore[attr-defined]

    def cancelled(self) -> bool:
        """Whether the other future was cancelled."""
        return self._future.cancelled()

    def running(self) -> bool:
        """Whether the call behind the other future is being executed."""
        return self._future.running()

    def done(self) -> bool:
        """Whether the other future was cancelled or finished."""
        return self._future.done()

    def __getattr__(self, name: str) -> Any:
        if name in _WATCHED:
            self._watch()
            return self.__dict__[name]
        if name in ("_future", "_selector"):  # an instance that was never initialised
            raise AttributeError(name)
        return getattr(self._future, name)

    def __repr__(self) -> str:
        return f"<FutureSelector item={self._selector!r} of {self._future!r}>"

    def __reduce__(self) -> tuple:
        if not _core.submitting():
            raise TypeError("a future can be pickled only as an argument of a submitted call")
        return _core.select_item, (self._future, self._selector)

    def _watch(self) -> None:
        with _watching:
            if "_condition" in self.__dict__:
                return
            super().__init__()
        self._future.add_done_callback(self._follow)

    def _follow(self, source: Future) -> None:
        if source.cancelled():
            super().cancel()
            self.set_running_or_notify_cancel()
            return
        try:
            value = self.result()
        except BaseException as error:
            self.set_exception(error)
        else:
            self.set_result(value)


def split_future(future: Future, n: int) -> list[FutureSelector]:
    """Futures of the first `n` items of a future's result.

    Parameters:
        future (Future): a future of a tuple, a list or anything else with integer indices.
        n (int): how many items it will have; a wrong number shows only in the `result()` of the missing items.

    Returns:
        list[FutureSelector]: one future per item.

    Example:
        >>> with SingleNodeExecutor() as exe:
        ...     quotient, remainder = split_future(exe.submit(divmod, 7, 2), n=2)
        ...     print(quotient.result(), remainder.result())
        3 1
    """
    return [FutureSelector(future, index) for index in range(n)]


def get_item_from_future(future: Future, key: str) -> FutureSelector:
    """The future of one item of a dictionary that a future will hold.

    Parameters:
        future (Future): a future of a dictionary.
        key (str): which item; a wrong key shows only in `result()`.

    Returns:
        FutureSelector: the future of that item.

    Example:
        >>> with SingleNodeExecutor() as exe:
        ...     future = exe.submit(dict, energy=-1.5, steps=10)
        ...     print(get_item_from_future(future, key="energy").result())
        -1.5
    """
    return FutureSelector(future, key)


split_future.__module__ = get_item_from_future.__module__ = "executorlib.standalone.select"
