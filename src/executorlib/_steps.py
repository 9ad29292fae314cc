"""Calls that a scheduler starts: each by a launcher of its own, on one node or several.

    head (a process of this host)  --launcher-->  ranks on their nodes  ==TLS==>  head

The head is that of every group of MPI ranks (ARCHITECTURE.md); what differs between schedulers is its launcher.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from executorlib._resources import Request


@dataclass(frozen=True)
class Step:
    """What a launcher is told besides cores: a call that has one is run by it.

    Attributes:
        nodes (int): on how many nodes; 0 leaves it to the scheduler.
        gpus (int): GPUs of each rank.
        exclusive (bool): whether the nodes are the call's alone.
        mpi (str | None): how the scheduler is to tell ranks of each other, None for what the ranks' MPI speaks.
        here (bool): whether all nodes are this host.
    """

    nodes: int
    gpus: int
    exclusive: bool
    mpi: str | None
    here: bool

    #: What the launcher is called in errors.
    name = "the launcher"
    #: Where in its command, and how, it is told names of nodes, which are known once the call starts.
    nodelist = (1, "--nodelist=")
    #: Milliseconds that it may take to end what it has started, however short the grace time of the call is.
    ending_ms = 0

    def setup(self, request: Request, rank: Sequence[str]) -> dict[str, Any]:
        """The part of a setup that is about ranks, each of which runs the command `rank`."""
        from executorlib._mpi import of_a_job

        command = self.command(request)
        return {
            "ranks": request.ranks,
            "launch": [*command, *rank],
            "launch_environ": {},
            "launcher": self.describe(request),
            "forks": False,
            "inherited": (*of_a_job(), *self.unwanted()),
            "job": of_a_job(),
            "nodelist": self.nodelist,
            "step": (*self._door(), self.name.encode(), *self.pace()),
        }

    def command(self, request: Request) -> list[str]:
        """The launcher with its options; what each rank runs follows."""
        raise NotImplementedError

    def describe(self, request: Request) -> str:
        """The launcher, for a message about ranks that do not know of each other."""
        raise NotImplementedError

    def unwanted(self) -> Sequence[str]:
        """Beginnings of names of variables that the launcher does not get."""
        raise NotImplementedError

    def pace(self) -> tuple[bytes, int, int]:
        """How often the launcher may start: the file with the count, milliseconds from one to the next, and how many
        may start at once before that counts. No file, no limit."""
        return b"", 0, 0

    def _door(self) -> tuple[bytes, bytes]:
        """Where ranks find their head, and where the file is that tells them."""
        from executorlib._fleet import addresses, private_directory

        found = ["127.0.0.1"] if self.here else addresses()
        return " ".join(found).encode(), os.fsencode(private_directory())
