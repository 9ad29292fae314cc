"""The driving side of a probe: one child process, asked for one round after the other."""

import contextlib
import json
import os
import pathlib
import select
import signal
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CLOSE_S = 10.0
TERMINATE_S = 3.0


class ProbeError(Exception):
    """A probe that failed, hung or ended; the message says which."""


def _environment():
    """That of this process, with the benchmarks to be found, and without PYTHONDONTWRITEBYTECODE: a user's interpreter
    keeps the bytecode of a module, which each measured process would otherwise compile anew."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": path}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


class Probe:
    """One measurement of one peer in a fresh process.

    Parameters
    ----------
    python : str
        Interpreter whose environment has the peer.
    measurement, peer : str
        Names, as in `benchmarks.measure.NAMES` and `benchmarks.peers.PEERS`.
    quick : bool
        Shorter rounds.
    timeout_s : float
        Longest time in seconds for start-up and for each round.
    log : file
        Receives what the process and its workers print.

    Raises
    ------
    ProbeError
        From `start` and `sample`: the peer is not installed, the round failed, or time ran out.
    """

    def __init__(self, python, measurement, peer, quick, timeout_s, log):
        self._timeout_s = timeout_s
        self._buffer = b""
        log.write(f"--- {measurement} {peer}\n")
        log.flush()
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.probe", measurement, peer, "quick" if quick else "full"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,
            cwd=ROOT,
            env=_environment(),
            start_new_session=True,
        )

    def start(self):
        """Wait until the peer is imported; returns its version."""
        return self._receive()["version"]

    def sample(self):
        """One round; returns its metrics."""
        self._process.stdin.write(b"next\n")
        return self._receive()["sample"]

    def close(self, abandon=False):
        """Shut the executor down, or with `abandon` do not even wait for that. What does not end by itself is
        terminated with its whole process group, then killed."""
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0 if abandon else CLOSE_S)
        # Trackers of multiprocessing and loky ignore SIGTERM and clean up once everybody else is gone.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
            deadline = time.monotonic() + TERMINATE_S
            while time.monotonic() < deadline:
                self._process.poll()
                os.killpg(self._process.pid, 0)
                time.sleep(0.02)
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()

    def _receive(self):
        deadline = time.monotonic() + self._timeout_s
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise ProbeError(f"no answer within {self._timeout_s:.0f} s")
            data = self._process.stdout.read(1 << 16)
            if not data:
                raise ProbeError(f"ended with status {self._process.wait()}")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        message = json.loads(line)
        if "error" in message:
            raise ProbeError(message["error"])
        return message
