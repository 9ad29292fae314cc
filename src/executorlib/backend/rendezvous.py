"""Where a driver and its worker meet: a file that only their user can read says the address and the secret.

The worker knows nothing but a number from its command line. The file named by it lies in a folder of mode 0700, so
neither the command line, nor the environment, nor a log has the secret. No number is drawn twice: a worker that comes
late finds nobody, rather than somebody else.

    /run/user/UID/executorlib/NUMBER        where the system made that folder for the user, else
    /tmp/executorlib_UID/NUMBER
    ~/.cache/executorlib/NUMBER             for workers on other hosts that share the home directory
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat

#: Bytes of a secret.
SECRET_SIZE = 32

_SMALLEST = 1 << 16  # above every TCP port, so that nobody takes the number for one
_FILE_LIMIT = 4096


class Rendezvous:
    """What a driver has put down for its worker; gone after `close()`.

    Parameters:
        number (int): as `draw()` has returned it.
        address (str): "unix:" and a path, or "tcp:", a host, ":" and a port.
        folder (str): one of `local_folder()` and `shared_folder()`.

    Attributes:
        secret (bytes): made for this worker.

    Raises:
        OSError: if the file cannot be written.
    """

    def __init__(self, number: int, address: str, folder: str) -> None:
        self.secret = secrets.token_bytes(SECRET_SIZE)
        self._name = str(number)
        self._folder = _open_folder(folder)
        try:
            self._file = self._write(f"{address}\n{self.secret.hex()}\n".encode())
        except BaseException:
            os.close(self._folder)
            raise

    def _write(self, text: bytes) -> int:
        """Nobody finds the file before it is complete and locked: the lock says that its driver lives."""
        hidden = "." + self._name
        file = os.open(
            hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self._folder
        )
        try:
            with contextlib.suppress(OSError):  # some network file systems have no locks
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(file, text)
            os.rename(hidden, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except BaseException:
            os.close(file)
            os.unlink(hidden, dir_fd=self._folder)
            raise
        return file

    def close(self) -> None:
        """Take it away. May be called again."""
        if self._folder < 0:
            return
        _remove(self._folder, self._name)
        os.close(self._file)
        os.close(self._folder)
        self._folder = -1


def draw() -> int:
    """A number that no other driver has or will have."""
    return secrets.randbelow((1 << 53) - _SMALLEST) + _SMALLEST


def find(number: int | str) -> tuple[str, bytes]:
    """What the driver has put down under a number.

    Returns:
        tuple[str, bytes]: the address and the secret.

    Raises:
        FileNotFoundError: if there is nothing.
        PermissionError: if a folder or the file could be read or made by others.
    """
    name = str(int(number))
    refused = None
    for path in (*_local_folders(), shared_folder()):
        try:
            folder = _open_folder(path, create=False)
            try:
                return _read(folder, name)
            finally:
                os.close(folder)
        except FileNotFoundError:
            continue
        except PermissionError as error:  # who squats one folder does not close the others
            refused = refused or error
    raise refused or FileNotFoundError(
        f"no driver waits for a worker under number {name} on this host: it has ended, or it runs on another host and "
        "its spawner does not say so (remote = True)"
    )


def leave(number: int | str, words: bytes) -> None:
    """Leave bytes for the driver that waits under a number, which looks for them when its worker has died."""
    folder = _open_folder(local_folder())
    try:
        how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(_words(number) + ".part", how, 0o600, dir_fd=folder), "wb") as file:
            file.write(words)
        os.rename(_words(number) + ".part", _words(number), src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        os.close(folder)


def left(number: int | str) -> bytes | None:
    """What a worker has left under a number, and takes it away; None if it has left nothing."""
    try:
        folder = _open_folder(local_folder())
    except OSError:
        return None
    try:
        with open(os.open(_words(number), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), "rb") as file:
            _check(file.fileno(), _words(number))
            os.unlink(_words(number), dir_fd=folder)
            return file.read()
    except OSError:
        return None
    finally:
        os.close(folder)


def _words(number: int | str) -> str:
    return f"{number}.words"


def local_folder() -> str:
    """The private folder for workers on this host, made if missing; rendezvous of drivers that died are removed."""
    problems = []
    for path in _local_folders():
        try:
            folder = _open_folder(path)
        except OSError as error:
            problems.append(str(error))
            continue
        try:
            _sweep(folder)
        finally:
            os.close(folder)
        return path
    raise PermissionError(f"there is no private folder in which a worker could find its driver: {'; '.join(problems)}")


def shared_folder() -> str:
    """The folder for workers on other hosts."""
    return os.path.join(os.path.expanduser("~"), ".cache", "executorlib")


def _local_folders() -> tuple[str, ...]:
    user = os.geteuid()
    return f"/run/user/{user}/executorlib", f"/tmp/executorlib_{user}"


def _open_folder(path: str, create: bool = True) -> int:
    """A descriptor of a folder that is ours alone. In /tmp anybody can have made one of that name, or a link."""
    if create:
        with contextlib.suppress(FileExistsError):
            if path == shared_folder():
                os.makedirs(os.path.dirname(path), exist_ok=True)
            os.mkdir(path, 0o700)
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError:
        raise PermissionError(f"{path} is not a folder, or a link: remove it") from None
    try:
        _check(folder, path)
    except BaseException:
        os.close(folder)
        raise
    return folder


def _read(folder: int, name: str) -> tuple[str, bytes]:
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        _check(file, name)
        address, secret = os.read(file, _FILE_LIMIT).decode().split()
    finally:
        os.close(file)
    return address, bytes.fromhex(secret)


def _check(descriptor: int, path: str) -> None:
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise PermissionError(
            f"{path} belongs to user {status.st_uid} with mode {stat.S_IMODE(status.st_mode):o}: it must belong to "
            f"user {os.geteuid()}, and nobody else may have access; remove it"
        )


def _sweep(folder: int) -> None:
    """Remove what killed drivers have left: who lives has a lock on its file."""
    for name in os.listdir(folder):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError):
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(file).st_nlink:  # else its driver has just removed it, and may have made it anew
                    _remove(folder, name, f"{name}.socket", _words(name))
            finally:
                os.close(file)


def _remove(folder: int, *names: str) -> None:
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
