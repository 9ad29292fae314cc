"""Programs that workers are started with."""

from executorlib._unavailable import unavailable


def get_command_path(executable: str) -> str:
    """The path of a worker program of this package. Not available in this release."""
    raise unavailable(f"get_command_path({executable!r})")
