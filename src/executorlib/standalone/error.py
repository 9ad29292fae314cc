"""Files that errors are written to."""

from __future__ import annotations

import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def backend_write_error_file(error: BaseException, apply_dict: dict[str, Any]) -> None:
    """Append an error, and the call that it is of, to the file that the call names.

    Parameters:
        error (BaseException): what was raised.
        apply_dict (dict): "fn", "args", "kwargs", and "error_log_file": without that nothing is written.

    Raises:
        OSError: if the file cannot be written.
    """
    path = apply_dict.get("error_log_file")
    if path is None:
        return
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    with open(path, "a") as file:
        file.write(f"function: {apply_dict['fn']}\nargs: {apply_dict['args']}\nkwargs: {apply_dict['kwargs']}\n{text}")
