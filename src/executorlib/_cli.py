"""The command `executorlib`: one subcommand per module `_cli_*`."""

from __future__ import annotations

import argparse
import os
import sys

from executorlib import __version__, _cli_cache, _cli_report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters:
        argv: arguments without the program's name; those of the process by default.

    Returns:
        The exit status: 0, or 1 after an error that has been told on stderr.
    """
    parser = argparse.ArgumentParser(prog="executorlib", description="Tools for users of executorlib.")
    parser.add_argument("--version", action="version", version=f"executorlib {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _cli_cache.add_commands(commands)
    _cli_report.add_commands(commands)
    arguments = parser.parse_args(argv)
    try:
        return arguments.run(arguments)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, ValueError, ImportError) as error:
        print(f"executorlib: {_words(error)}", file=sys.stderr)
        return 1


def _words(error: Exception) -> str:
    named = isinstance(error, OSError) and error.strerror and error.filename
    return f"{error.filename}: {error.strerror}" if named else str(error)  # type: ignore[attr-defined]
