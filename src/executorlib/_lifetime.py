"""How executors end without being told: collected as garbage, or alive when the interpreter exits.

In both cases the calls they have accepted are completed. After a fork, the child owns none of its parent's pools.
"""

from __future__ import annotations

import os
import threading
import weakref

from executorlib import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from executorlib.executor.base import BaseExecutor

# Pools that may still have work, also when their executors are gone.
_pools: set[_core.Pool] = set()


def adopt(executor: BaseExecutor, pool: _core.Pool) -> None:
    """See to it that the work of `pool` is completed whatever becomes of `executor`."""
    for other in [other for other in _pools if other.closed and len(other) == 0]:
        _pools.discard(other)
    _pools.add(pool)
    weakref.finalize(executor, _abandon, pool).atexit = False


def forget(pool: _core.Pool) -> None:
    """`pool` has ended."""
    _pools.discard(pool)


def _abandon(pool: _core.Pool) -> None:
    if pool in _pools:
        pool.shutdown(wait=False)


def _complete() -> None:
    try:
        while _pools:
            pool = next(iter(_pools))
            pool.shutdown(wait=True)
            _pools.discard(pool)
    except BaseException:  # Ctrl-C: nobody waits any longer
        for pool in list(_pools):
            pool.shutdown(wait=False, cancel_futures=True)
        raise


# At the point of the interpreter's exit at which the standard library's executors end, too.
threading._register_atexit(_complete)  # type: ignore[attr-defined]
os.register_at_fork(after_in_child=_pools.clear)
