"""Run pytest on two shares of the tests at once, since each waits much of the time; what failed comes last.

usage: run_tests.py SECONDS [ARGUMENT OF PYTEST...]

After so many seconds whatever still runs is interrupted. With arguments that name tests there is one share, theirs.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: Those that take about half of the time; the other share are all others.
BESIDE = ["tests/faults", "tests/integration", "tests/slurm"]


class Share:
    """One process of pytest, whose output goes to the terminal or, until it has ended, into a file."""

    def __init__(self, arguments, folder, quiet):
        self.words = Path(folder, "words")
        self.log = Path(folder, "log")
        command = [sys.executable, "-m", "pytest", "-m", "not soak", "--durations=15", *arguments]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log if quiet else None, stderr=subprocess.STDOUT if quiet else None,
                env={**os.environ, "EXECUTORLIB_TEST_LAST_WORDS": str(self.words)},
            )  # fmt: skip

    def end(self, deadline):
        """Return the exit status, not long after *deadline*."""
        try:
            return self.process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            print(f"run_tests.py: out of time, interrupting {self.process.args}", flush=True)
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            # One that no handler of Python's can end.
            self.process.kill()
            self.process.wait()
        return self.process.returncode or 1


def main(seconds, arguments):
    deadline = time.monotonic() + float(seconds)
    shares = [arguments] if arguments else [["tests", *(f"--ignore={folder}" for folder in BESIDE)], BESIDE]
    with tempfile.TemporaryDirectory() as folder:
        running = []
        for number, share in enumerate(shares):
            os.mkdir(f"{folder}/{number}")
            running.append(Share(share, f"{folder}/{number}", quiet=number > 0))
        statuses = [share.end(deadline) for share in running]
        for share in running:
            sys.stdout.write(share.log.read_text(errors="replace"))
        for share in running:
            if share.words.exists():
                print(share.words.read_text(), end="")
        for share, status in zip(running, statuses, strict=True):
            if status not in (0, 1):
                print(f"run_tests.py: {' '.join(share.process.args)} ended with status {status}")
    return next(filter(None, statuses), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
