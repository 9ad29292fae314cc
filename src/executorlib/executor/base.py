"""What all executors have in common."""

from __future__ import annotations

from concurrent.futures import Executor
from functools import partial
from time import monotonic

from executorlib._batched import batched
from executorlib._map import check_sizes, resolve, windowed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from concurrent.futures import Future
    from queue import Queue
    from typing import Any


class BaseExecutor(Executor):
    """The interface of every executor, and the class to ask whether something is one.

    On its own it hands each request to another executor, which is how one can be wrapped. As a mixin before one of
    the concrete classes it changes what it overrides; `super()` reaches the concrete class.

    Parameters:
        executor: the executor to wrap: an object with this interface.

    Example:
        >>> class Verbose(BaseExecutor):
        ...     def submit(self, fn, /, *args, **kwargs):
        ...         print("submitting", fn.__name__)
        ...         return super().submit(fn, *args, **kwargs)
        >>> class VerboseSingleNodeExecutor(Verbose, SingleNodeExecutor):
        ...     pass
        >>> with VerboseSingleNodeExecutor(max_workers=1) as exe:
        ...     print(exe.submit(sum, [1, 2]).result())
        submitting sum
        3
    """

    def __init__(self, executor: Any) -> None:
        self._task_scheduler = executor

    @property
    def max_workers(self) -> int | None:
        """How many workers run at once, None if that was not limited.

        Can be set while the executor runs with `block_allocation=True`: new workers start, or workers end after
        the call they are at. Setting it raises NotImplementedError otherwise.
        """
        return self._task_scheduler.max_workers

    @max_workers.setter
    def max_workers(self, max_workers: int) -> None:
        self._task_scheduler.max_workers = max_workers

    @property
    def info(self) -> dict[str, Any] | None:
        """The settings of the executor by name; None after shutdown."""
        return self._task_scheduler.info

    @property
    def future_queue(self) -> Queue | None:
        """The queue of pending calls, to look at its length; None after shutdown."""
        return self._task_scheduler.future_queue

    def submit(  # type: ignore[override]
        self, fn: Callable, /, *args: Any, resource_dict: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Future:
        """Schedule the call `fn(*args, **kwargs)`.

        Futures anywhere among the arguments, also inside containers and objects, are replaced by their results
        before the function sees them, and the call starts once they are there.

        Parameters:
            fn (Callable): the function; it must not have a parameter named resource_dict.
            *args: its positional arguments. Large arrays are read when the call starts, not now.
            resource_dict (Mapping | None): what this call needs where it differs from the executor's
                `resource_dict`, with the same keys. It is not changed.
            **kwargs: its keyword arguments; any name but resource_dict, also `self` and `fn`.

        Returns:
            Future: holds what the function returns or raises. An exception has the worker's traceback as its cause.
                Beside the standard library's methods it has `terminate()`, which ends also a call that runs.

        Raises:
            RuntimeError: after shutdown.
            ValueError: if the function has a parameter named resource_dict, or if what the call needs is more than
                the executor has.
            TypeError: if `fn` is not callable.
            ResourceError: a ValueError and TypeError, for a key that is unknown or a value that makes no sense.

        Example:
            >>> with SingleNodeExecutor() as exe:
            ...     print(exe.submit(pow, 2, 10, resource_dict={"threads_per_core": 2}).result())
            1024
        """
        return self._task_scheduler.submit(fn, *args, resource_dict=resource_dict, **kwargs)

    def map(
        self,
        fn: Callable,
        *iterables: Iterable | Future,
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """Like the built-in `map`, with the calls made at once and in parallel.

        Parameters:
            fn (Callable): takes one item of each iterable.
            *iterables: where the items come from; a future of an iterable is waited for, and items may be futures.
            timeout (float | None): seconds from now until the last result must be there; None, the default, waits
                without limit.
            chunksize (int): how many items make one call of the executor, 1 by default. Without block allocation
                they share one process.
            buffersize (int | None): how many calls are on their way at a time: the next is made when a result is
                handed out. So there may be more items than fit into memory, or no end of them. None, the default,
                makes all calls at once.

        Returns:
            Iterator: the results in the order of the items. Closing it early cancels the calls still waiting.

        Raises:
            ValueError: if `chunksize` or `buffersize` is less than 1.
            TypeError: if `buffersize` is no integer, or `fn` is not callable.
            RuntimeError: after shutdown.
            TimeoutError: by the iterator, if a result is not there in time.

        Example:
            >>> with SingleNodeExecutor(block_allocation=True, max_workers=2) as exe:
            ...     print(list(exe.map(pow, [1, 2, 3], [2, 2, 2])))
            [1, 4, 9]
        """
        check_sizes(chunksize, buffersize)
        if type(self).submit is BaseExecutor.submit:
            window = {} if buffersize is None else {"buffersize": buffersize}
            return self._task_scheduler.map(fn, *iterables, timeout=timeout, chunksize=chunksize, **window)
        if buffersize is None:
            return super().map(fn, *resolve(iterables), timeout=timeout, chunksize=chunksize)
        deadline = None if timeout is None else monotonic() + timeout
        return windowed(partial(self.submit, fn), zip(*resolve(iterables), strict=False), buffersize, deadline)

    def batched(self, iterable: Iterable[Future], n: int) -> list[Future]:
        """Group futures into batches of `n` in the order in which they finish.

        Parameters:
            iterable (Iterable[Future]): the futures, of this or any other executor.
            n (int): how many results make a batch; the last one may be shorter.

        Returns:
            list[Future]: one future per batch, `ceil(len(iterable) / n)` of them, each of a list of results. Calls
                that failed are left out; batches that stay empty because of them raise what those calls raised.

        Raises:
            ValueError: if `n` is less than 1.

        Example:
            >>> with SingleNodeExecutor() as exe:
            ...     batches = exe.batched([exe.submit(abs, -i) for i in range(5)], n=2)
            ...     print([len(batch.result()) for batch in batches])
            [2, 2, 1]
        """
        of_wrapped = getattr(getattr(self, "_task_scheduler", None), "batched", None)
        return batched(iterable, n) if of_wrapped is None else of_wrapped(iterable, n)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls, and free the workers once the accepted ones are done.

        Calling it again does nothing. Leaving a `with` block calls it.

        Parameters:
            wait (bool): whether to return only when all calls are done and all workers have ended; True by default.
            cancel_futures (bool): whether to cancel the calls that have not started; False by default.
        """
        self._task_scheduler.shutdown(wait=wait, cancel_futures=cancel_futures)

    def __len__(self) -> int:
        """How many calls are not finished yet."""
        return len(self._task_scheduler)

    def __bool__(self) -> bool:
        """True, although a length of 0 would make it false."""
        return True
