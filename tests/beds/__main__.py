"""Run a command, by default a shell, with a Slurm of its own: `scripts/slurm-bed [--network] [COMMAND…]`."""

import argparse
import os
import subprocess
import sys

from beds import network, slurm


def main():
    parser = argparse.ArgumentParser(prog="scripts/slurm-bed", description=__doc__)
    parser.add_argument("--network", action="store_true", help="each node in a network namespace of its own")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    reason = slurm.missing() or (arguments.network and network.missing())
    if reason:
        sys.exit(f"scripts/slurm-bed: {reason}")
    with slurm.SlurmBed(networked=arguments.network) as bed:
        command = arguments.command or [os.environ.get("SHELL", "sh")]
        return subprocess.run(command, env={**os.environ, **bed.variables}).returncode


if __name__ == "__main__":
    sys.exit(main())
