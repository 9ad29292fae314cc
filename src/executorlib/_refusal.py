"""A command of the scheduler that refuses."""

from __future__ import annotations

import shlex
from subprocess import CalledProcessError


class CommandError(CalledProcessError):
    """A command that ended with an error; unlike its base class it says what the command wrote."""

    def __str__(self) -> str:
        words = (self.output or "").strip() or "it wrote nothing"
        return f"{self.cmd[0]} ended with status {self.returncode}: {words}\n(the command was {shlex.join(self.cmd)})"
