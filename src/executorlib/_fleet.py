"""Agents: how the calls of an executor reach other nodes.

    executor  --hand-over file-->  launcher (srun, flux run)  --one per node-->  agent (_agent.py)
    executor  <========= TLS with a key from that file, both ways ========>  agent --> its own workers

The file is for the user's eyes only, and gone once all agents have come. Nothing of it is ever in a command line or the
environment.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import socket
import tempfile
from array import array
from typing import NamedTuple

from executorlib import _core
from executorlib._errors import ResourceError
from executorlib._trust import check_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_GRACE_MS = 60_000

# Calls that a core of a node, or one of its workers, is given at once: enough to hide the way there and back.
_DEPTH = {False: 2, True: 16}


# See `man netdevice`.
_SIOCGIFADDR = 0x8915
_SIZE_OF_IFREQ = 40

# Not `-m`, which looks in the working directory first, where a user may have a json.py. In one line, for templates of
# batch scripts.
_BOOT = (
    "import sys; sys.path[:] = [entry for entry in sys.path if entry]; sys.path.append({place!r}); "
    "from executorlib._agent import main; main(sys.argv[1:])"
)

# Variables that a launcher sets for what it starts, and that calls are to have as this process has them.
_OF_A_LAUNCHER = ("SLURM", "SRUN", "FLUX")


class Share(NamedTuple):
    """What an executor may use of one node.

    Attributes:
        cores (int): cores, which calls with a process of their own occupy together.
        calls (int): how many calls may run at once, 0 for as many as there are cores for; with persistent workers, how
            many of these there are. One that has none may get some later.
    """

    cores: int
    calls: int = 0


class Fleet:
    """The nodes on which an executor runs its calls.

    Parameters:
        launcher: the command that starts its further arguments once on each node, as `srun --ntasks-per-node=1` does.
            Each of them learns which one it is from SLURM_PROCID or FLUX_TASK_RANK.
        shares: what the executor may use of each node, in the launcher's order.
        room: with persistent workers, how many of them each node has room for.
        environ: environment of the launcher, by default that of this process. Agents have this process's anyhow, but
            for what the launcher adds.
        here: whether all nodes are this host; then nothing but the loopback interface is listened to.
        job: id of the allocation whose cores are shared with other executors in it, or None.
        grace: how long, in seconds, a node may be out of reach before its calls are given up; 60 by default.
        ends: when the allocation ends, in seconds since the epoch; None if nobody knows.
        asks: whether agents ask Slurm themselves when their job ends.

    Attributes:
        shares_imports (bool): whether workers of one node may have their imports from one template.

    Raises:
        OSError: when the hand-over file cannot be written. It is put into EXECUTORLIB_AGENT_DIRECTORY, else
            ~/.executorlib, which all nodes must see.
    """

    shares_imports = True

    def __init__(
        self,
        launcher: Sequence[str],
        shares: Sequence[Share],
        *,
        room: Sequence[int] = (),
        environ: Mapping[str, str] | None = None,
        here: bool = False,
        grace: float | None = None,
        ends: float | None = None,
        asks: bool = False,
        job: str | None = None,
    ) -> None:
        from executorlib import _tls

        _core.provide_tls(_tls.api)
        self._launcher = list(launcher)
        self.shares = list(shares)
        self.widest = max(share.cores for share in shares)
        self.room = list(room)
        self._key = os.urandom(32)
        self._name = f"executorlib-{os.getpid()}-{os.urandom(4).hex()}"
        self._grace_ms = _GRACE_MS if grace is None else int(grace * 1000)
        self._environ = environ
        self.here = here
        self._ends = ends
        self._asks = asks
        self.job = None if job is None else (job, list[str](), list[int]())
        self._workers: list[list[int]] = [[] for _ in shares]
        if room:
            self._number_workers([share.calls for share in shares])

    @property
    def config(self) -> tuple[str, str, bytes, int, int, int, bool]:
        """What the engine is told: address, name, key, agents, depth, grace time in milliseconds, whether agents are
        renewed."""
        address = "127.0.0.1" if self.here else "0.0.0.0"
        return address, self._name, self._key, len(self.shares), _DEPTH[bool(self.room)], self._grace_ms, False

    def launch(self, pool: _core.Pool, setup: bytes, **settings: Any) -> None:
        """Start the agents of `pool`: `settings` are arguments of theirs."""
        environ = os.environ if self._environ is None else self._environ
        file = write_privately(self.hand_over(pool, setup, settings))
        try:
            command = self._command(agent_command(file))
            pool.launch(command, [f"{name}={value}" for name, value in environ.items()], file)
        except BaseException:
            os.unlink(file)
            raise

    def kept(self, pool: _core.Pool) -> Any:
        """What the executor uses as its pool, once `launch` has been called."""
        return pool

    def hand_over(self, pool: _core.Pool, setup: bytes, settings: dict[str, Any], **changes: Any) -> str:
        """The text of the hand-over file."""
        told = {
            "addresses": ["127.0.0.1"] if self.here else addresses(),
            "port": pool.port,
            "name": self._name,
            "key": self._key.hex(),
            "grace_ms": self._grace_ms,
            "shares": self.shares,
            "workers": self._workers,
            "environ": {name: value for name, value in os.environ.items() if name.startswith(_OF_A_LAUNCHER)},
            "setup": base64.b64encode(setup).decode("ascii"),
            "settings": settings,
            "pilot": False,
            "asks": self._asks,
            "ends": self._ends,
        }
        return json.dumps(told | changes)

    def _command(self, agent: list[str]) -> list[str]:
        """What the launcher is to run for this command to run on each node."""
        return [*self._launcher, *agent]

    def _number_workers(self, counts: Sequence[int]) -> list[list[int]]:
        """The ids of the persistent workers of each node, now that there are to be so many.

        They go from 0 on over all nodes. One that stays keeps its id.
        """
        for ids, count in zip(self._workers, counts, strict=True):
            del ids[count:]  # a node ends those with the highest ids
        taken = {number for ids in self._workers for number in ids}
        free = (number for number in range(sum(counts)) if number not in taken)
        # One after the other, so that neighbours in number are not neighbours on a node.
        while any(len(ids) < count for ids, count in zip(self._workers, counts, strict=True)):
            for ids, count in zip(self._workers, counts, strict=True):
                if len(ids) < count:
                    ids.append(next(free))
        for ids in self._workers:
            ids.sort()
        return self._workers

    def resize(self, pool: _core.Pool, count: int) -> None:
        """Set how many persistent workers `pool` has on all nodes together.

        Raises:
            ResourceError: if there is no room for as many.
        """
        self.check_room(count)
        pool.resize_agents([array("I", ids).tobytes() for ids in self._number_workers(spread(self.room, count))])

    def check_room(self, count: int) -> None:
        if count > sum(self.room):
            raise ResourceError(
                f"{count} workers need more than the nodes of this executor have: there is room for "
                f"{', '.join(map(str, self.room))} of them"
            )


def spread(room: Sequence[int], count: int) -> list[int]:
    """So many things over places of limited room, so that all places are filled to the same part.

    Example:
        >>> spread([4, 4, 2], 5)
        [2, 2, 1]
    """
    total = sum(room)
    given = [count * each // total for each in room]
    order = sorted(range(len(room)), key=lambda i: given[i] / room[i] if room[i] else 1)
    for i in [*order, *order]:
        if sum(given) < count and given[i] < room[i]:
            given[i] += 1
    return given


def agent_command(file: str) -> list[str]:
    """What starts an agent that reads this hand-over file."""
    from executorlib._environment import interpreter

    place = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return [*interpreter(), "-c", _BOOT.format(place=place), file]


def private_directory() -> str:
    """Where files are that only this user's processes may read, on all nodes; made if missing."""
    home = os.environ.get("EXECUTORLIB_AGENT_DIRECTORY") or os.path.join(os.path.expanduser("~"), ".executorlib")
    os.makedirs(home, mode=0o700, exist_ok=True)
    return os.path.abspath(home)


def write_privately(text: str, directory: str | None = None) -> str:
    """Write a hand-over file, into this directory or the usual one; returns its path.

    Raises:
        PermissionError: where others could read it, whatever its mode.
        OSError: if it cannot be written.
    """
    if directory is not None:
        os.makedirs(directory, mode=0o700, exist_ok=True)
    descriptor, path = tempfile.mkstemp(prefix="agents-", suffix=".json", dir=directory or private_directory())  # 0600
    with open(descriptor, "w", encoding="utf-8") as file:
        try:
            check_private(descriptor, path)  # not all file systems have owners and modes
        except PermissionError:
            os.unlink(path)
            raise
        file.write(text)
    return path


def addresses() -> list[str]:
    """Numeric addresses of this host at which other nodes may reach it, the likeliest first."""
    found: list[str] = []
    host = os.environ.get("EXECUTORLIB_DRIVER_ADDRESS")
    for name in [host] if host else [socket.gethostname(), socket.getfqdn()]:
        try:
            entries = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
        except OSError:
            continue
        found += [str(entry[4][0]) for entry in entries]
    if not host:
        found += _interfaces()
    # The hosts file may know this host by a loopback address only.
    found.sort(key=lambda address: address.startswith("127."))
    return list(dict.fromkeys([*found, "127.0.0.1"]))


def _interfaces() -> list[str]:
    """The IPv4 address of each network interface."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            request = name.encode().ljust(_SIZE_OF_IFREQ, b"\0")
            try:
                answer = fcntl.ioctl(any_socket, _SIOCGIFADDR, request)
            except OSError:  # it has none
                continue
            found.append(socket.inet_ntoa(answer[20:24]))
    return found
