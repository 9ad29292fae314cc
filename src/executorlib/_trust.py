"""Whom a file is from: what some files say is unpickled, which can run anything."""

from __future__ import annotations

import os
import stat

from executorlib._warn import warn_user


def read_private(path: str) -> str:
    """The text of a file that nobody but this user can have written or read.

    Raises:
        FileNotFoundError: if there is none.
        PermissionError: if others could have.
    """
    with open(path, encoding="utf-8") as file:
        check_private(file.fileno(), path)
        return file.read()


def check_private(descriptor: int, path: str) -> None:
    """Refuse a file that others may write or read.

    Raises:
        PermissionError: naming it.
    """
    status = os.fstat(descriptor)
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != os.geteuid() or mode & 0o077:
        raise PermissionError(
            f"{path} belongs to user {status.st_uid} with mode {mode:o}: it must belong to user {os.geteuid()}, and "
            "nobody else may have access. EXECUTORLIB_AGENT_DIRECTORY can name a directory where that is possible"
        )


def warn_of_cache(path: str) -> None:
    """Warn of a cache_directory in which anybody may put results, or may have made one before this user."""
    try:
        status = os.stat(path)
        parent = os.stat(os.path.dirname(os.path.abspath(path)))
    except OSError:
        return
    if status.st_mode & stat.S_IWOTH:
        why = "everybody may write there"
    elif status.st_uid not in (0, os.geteuid()) and parent.st_mode & stat.S_IWOTH:
        why = f"it belongs to user {status.st_uid}, and everybody could have made it"
    else:
        return
    warn_user(
        f"the cache_directory {os.path.abspath(path)} is not safe: {why}, and reading a result can run any code; "
        "use a directory that only you, or people you trust, can write to"
    )
