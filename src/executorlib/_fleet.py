"""Agents: how the calls of an executor reach other nodes.

    executor  --hand-over file-->  launcher (srun, flux run)  --one per node-->  agent (_agent.py)
    executor  <========= TLS with a key from that file, both ways ========>  agent --> its own workers

The file is for the user's eyes only and goes with the executor. Nothing of it is ever in a command line or the
environment.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import tempfile
from typing import NamedTuple

from executorlib import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_GRACE_MS = 60_000

# Calls that a core of a node, or one of its workers, is given at once: enough to hide the way there and back.
_DEPTH = {False: 2, True: 16}


class Share(NamedTuple):
    """What an executor may use of one node: cores, and workers that stay (0: one process per call)."""

    cores: int
    workers: int = 0


class Fleet:
    """The nodes on which an executor runs its calls.

    Parameters:
        launcher: the command that starts its further arguments once on each node, as `srun --ntasks-per-node=1` does.
            Each of them learns which one it is from SLURM_PROCID or FLUX_TASK_RANK.
        shares: what the executor may use of each node, in the launcher's order.
        here: whether all nodes are this host; then nothing but the loopback interface is listened to.
        grace: how long, in seconds, a node may be out of reach before its calls are given up.

    Raises:
        OSError: when the hand-over file cannot be written. It is put into EXECUTORLIB_AGENT_DIRECTORY, else
            ~/.executorlib, which all nodes must see.
    """

    def __init__(
        self, launcher: Sequence[str], shares: Sequence[Share], *, here: bool = False, grace: float = _GRACE_MS / 1000
    ) -> None:
        from executorlib import _tls

        _core.provide_tls(_tls.api)
        self._launcher = list(launcher)
        self.shares = list(shares)
        self.persistent = any(share.workers for share in shares)
        self._key = os.urandom(32)
        self._name = f"executorlib-{os.getpid()}-{os.urandom(4).hex()}"
        self._grace_ms = int(grace * 1000)
        self._here = here
        self._file: str | None = None

    @property
    def config(self) -> tuple[str, str, bytes, int, int, int]:
        """What the engine is told: address, name, key, agents, depth and grace time in milliseconds."""
        address = "127.0.0.1" if self._here else "0.0.0.0"
        return address, self._name, self._key, len(self.shares), _DEPTH[self.persistent], self._grace_ms

    def launch(self, pool: _core.Pool, setup: bytes, **settings: Any) -> None:
        """Start the agents of `pool`: `settings` are arguments of theirs."""
        told = {
            "addresses": ["127.0.0.1"] if self._here else _addresses(),
            "port": pool.port,
            "name": self._name,
            "key": self._key.hex(),
            "grace_ms": self._grace_ms,
            "shares": self.shares,
            "setup": base64.b64encode(setup).decode("ascii"),
            "settings": settings,
        }
        self._file = _write_privately(json.dumps(told))
        command = [*self._launcher, *_agent_command(self._file)]
        try:
            pool.launch(command, [f"{name}={value}" for name, value in os.environ.items()])
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the hand-over file. Idempotent."""
        path, self._file = self._file, None
        if path is not None:
            shutil.rmtree(os.path.dirname(path), ignore_errors=True)


def _agent_command(file: str) -> list[str]:
    import sys

    from executorlib._environment import _interpreter_flags

    return [sys.executable, *_interpreter_flags(), "-m", "executorlib._agent", file]


def _write_privately(text: str) -> str:
    home = os.environ.get("EXECUTORLIB_AGENT_DIRECTORY") or os.path.join(os.path.expanduser("~"), ".executorlib")
    os.makedirs(home, mode=0o700, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="agents-", dir=home)  # 0700
    path = os.path.join(folder, "handover.json")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return path


def _addresses() -> list[str]:
    """Numeric addresses of this host at which other nodes may reach it, the likeliest first."""
    found: list[str] = []
    host = os.environ.get("EXECUTORLIB_DRIVER_ADDRESS")
    for name in [host] if host else [socket.gethostname(), socket.getfqdn()]:
        try:
            entries = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
        except OSError:
            continue
        found += [str(entry[4][0]) for entry in entries]
    # The hosts file may know this host by a loopback address only.
    found.sort(key=lambda address: address.startswith("127."))
    return list(dict.fromkeys([*found, "127.0.0.1"]))
