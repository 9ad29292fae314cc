"""References to results in files."""

from __future__ import annotations

from executorlib._job import load_result, read_output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PATIENCE = 1.0  # seconds that a file may take to show


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
        """The result or its selected item; raises the error that the file holds instead.

        Raises:
            FileNotFoundError: if the file is not there, or holds no result yet.
            CacheFileError: if it is torn, or no result file.
        """
        return load_result(self._file_name, self._selector, _PATIENCE)

    def done(self) -> bool:
        """Whether the file is there and holds a result or an error."""
        try:
            read_output(self._file_name)
        except FileNotFoundError:
            return False
        return True
