"""Where a driver waits for its worker, and whom it lets in.

Workers on this host come through a Unix socket in a private folder, so the system itself keeps other users out. Only
for a spawner that says that its workers run elsewhere a network socket listens. Whoever connects is nobody until the
greeting of `link.py` has shown that it knows the secret: it is let in once, and then nothing listens any more.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time

from executorlib.backend import rendezvous
from executorlib.backend.link import Greeting, Link, keep_alive

#: So many may be at their greeting at once; one more takes the place of the oldest.
MAX_GREETINGS = 64
#: Seconds that a greeting may take.
GREETING_LIMIT = 5.0

_CREDENTIALS = struct.Struct("3i")


class Listener:
    """Waits for the one worker that knows the secret. Never blocks.

    Parameters:
        number (int): under which the worker looks.
        remote (bool): whether the worker may run on another host.

    Raises:
        OSError: if there is no place to wait at.
    """

    def __init__(self, number: int, remote: bool = False) -> None:
        self._path = ""
        self._greetings: dict[Greeting, float] = {}
        self._socket, address, folder = self._listen_to_hosts() if remote else self._listen_here(number)
        try:
            self._socket.setblocking(False)
            self._socket.listen(MAX_GREETINGS)
            self._rendezvous = rendezvous.Rendezvous(number, address, folder)
        except BaseException:
            self._unlisten()
            raise

    def _listen_here(self, number: int) -> tuple[socket.socket, str, str]:
        folder = rendezvous.local_folder()
        self._path = os.path.join(folder, f"{number}.socket")
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(self._path)
        return listening, f"unix:{self._path}", folder

    def _listen_to_hosts(self) -> tuple[socket.socket, str, str]:
        host = socket.gethostname()
        listening = socket.create_server((host, 0))
        return listening, f"tcp:{host}:{listening.getsockname()[1]}", rendezvous.shared_folder()

    def filenos(self) -> list[int]:
        """What to poll for reading before the next `step()`."""
        return [self._socket.fileno(), *(greeting.fileno() for greeting in self._greetings)]

    def timeout(self) -> float | None:
        """Seconds after which `step()` has something to do even if nothing arrives."""
        return max(0.0, min(self._greetings.values()) - time.monotonic()) if self._greetings else None

    def step(self) -> Link | None:
        """Let in who has connected, as far as what has arrived allows. Returns the link to the worker if it is in."""
        self._accept()
        now = time.monotonic()
        for greeting, deadline in list(self._greetings.items()):
            try:
                link = greeting.step()
            except (OSError, EOFError):
                self._refuse(greeting)
                continue
            if link is not None:
                del self._greetings[greeting]
                return link
            if now > deadline:
                self._refuse(greeting)
        return None

    def close(self) -> None:
        """Stop listening; whoever is at its greeting is sent away. May be called again."""
        self._rendezvous.close()
        self._unlisten()
        for greeting in list(self._greetings):
            self._refuse(greeting)

    def _accept(self) -> None:
        # No more than have a place, or those who go on connecting would keep the greetings from going on.
        for _ in range(MAX_GREETINGS):
            try:
                peer, _address = self._socket.accept()
            except BlockingIOError:
                return
            except OSError:
                continue  # it has gone already
            if not self._is_ours(peer):
                peer.close()
                continue
            if len(self._greetings) >= MAX_GREETINGS:
                self._refuse(next(iter(self._greetings)))
            self._greetings[Greeting(peer, self._rendezvous.secret)] = time.monotonic() + GREETING_LIMIT

    def _is_ours(self, peer: socket.socket) -> bool:
        if not self._path:
            keep_alive(peer)
            return True
        said = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return _CREDENTIALS.unpack(said)[1] == os.geteuid()

    def _refuse(self, greeting: Greeting) -> None:
        del self._greetings[greeting]
        greeting.close()

    def _unlisten(self) -> None:
        self._socket.close()
        if self._path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
