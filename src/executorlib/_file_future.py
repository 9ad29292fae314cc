"""The future of a call whose result comes in a file."""

from __future__ import annotations

from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from threading import Lock

from executorlib._job import load_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class FileFuture(Future):
    """A future of the standard library that takes its result as the fields of an output file.

    They are unpickled when first asked for. A call that runs can be cancelled as well: its process or job is ended.

    Parameters:
        on_cancel: called with this future when it has been cancelled; None where nothing runs.
    """

    def __init__(self, on_cancel: Callable[[FileFuture], None] | None = None) -> None:
        super().__init__()
        self._on_cancel = on_cancel
        self._unpickling = Lock()
        self._fields: dict[str, bytes] | None = None
        self._path: str | None = None  # of the output file, once the call's key is known
        self.started = False

    def cancel(self) -> bool:
        """Cancel the call, also one that runs: then its process or job is ended. False once it is done."""
        cancelled = super().cancel()
        if cancelled and self.notify_cancel() and self._on_cancel is not None:
            self._on_cancel(self)
        return cancelled

    terminate = cancel

    def running(self) -> bool:
        """Whether a job for the call has been started."""
        return self.started and not self.done()

    def notify_cancel(self) -> bool:
        """Tell waiters of a cancellation; False if they have been told."""
        with self._condition:
            if self._state != "CANCELLED":
                return False
        return not self.set_running_or_notify_cancel()

    def finish(self, fields: dict[str, bytes]) -> None:
        """The output file is there."""
        self._fields = fields
        with suppress(InvalidStateError):  # it was cancelled
            self.set_result(None)

    def fail(self, error: BaseException) -> None:
        """No output file will come."""
        with suppress(InvalidStateError):
            self.set_exception(error)

    def result(self, timeout: float | None = None) -> Any:
        super().exception(timeout)
        self._unpickle()
        return super().result()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        super().exception(timeout)
        self._unpickle()
        return super().exception()

    def _unpickle(self) -> None:
        with self._unpickling:
            fields = self._fields
            if fields is not None:
                try:
                    self._result = load_output(fields)
                except BaseException as error:
                    self._exception = error
                self._fields = None
