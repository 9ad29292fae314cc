"""References to results in files."""

from __future__ import annotations

from executorlib._unavailable import unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class FutureItem:
    """Stands for a result file among the arguments of a call that travels in a file.

    Parameters:
        file_name (str): the file the result will be in.
        selector (int | str | None): index or key of the item of the result that is meant; None means all of it.
    """

    def __init__(self, file_name: str, selector: int | str | None = None) -> None:
        self._file_name = file_name
        self._selector = selector

    def result(self) -> Any:
        """The result or its selected item. Not available in this release."""
        raise unavailable("FutureItem.result")

    def done(self) -> bool:
        """Whether the file holds a result. Not available in this release."""
        raise unavailable("FutureItem.done")
