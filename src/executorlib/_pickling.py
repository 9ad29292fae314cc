"""How a call is pickled when plain pickle cannot: cloudpickle, which takes code by value.

Imported with the first such call, because cloudpickle takes longer to import than the rest of the package.
"""

from __future__ import annotations

from concurrent.futures import Future

from executorlib import _by_value, _core
from executorlib._select import FutureSelector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class CloudPickler(_by_value.Pickler):
    """A cloudpickler that also takes the futures of other executors.

    Futures of our own kind pickle themselves as placeholders, which the worker fills with results.
    """

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Future) and not isinstance(obj, (_core.Future, FutureSelector)):
            return _core.foreign_future(obj)
        return super().reducer_override(obj)


def dumps(obj: Any) -> bytes:
    """`obj` pickled by value where that is needed, without futures."""
    return _by_value.dumps(obj)
