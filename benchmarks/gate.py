"""A gate holds workers busy, so that what is submitted behind them stays pending until it opens."""

import os
import pathlib
import tempfile
import time

from benchmarks import work


class Gate:
    """Context manager; on leaving it opens, so that no worker stays held.

    Parameters
    ----------
    seconds : float, default 600
        Longest time that a worker is held, in seconds.
    """

    def __init__(self, seconds=600.0):
        self._seconds = seconds

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory()
        self._path = os.path.join(self._folder.name, "gate")
        os.mkfifo(self._path)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_NONBLOCK)
        self._held = 0
        return self

    def __exit__(self, *exc_info):
        self.open()
        os.close(self._descriptor)
        self._folder.cleanup()

    def submit(self, executor):
        """Submit one held call; returns its future and the path that exists once it runs."""
        started = os.path.join(self._folder.name, f"started-{self._held}")
        self._held += 1
        return executor.submit(work.hold, started, self._path, self._seconds), pathlib.Path(started)

    def hold(self, executor, count, timeout=60.0):
        """Submit `count` held calls and return their futures once all of them run.

        Raises
        ------
        TimeoutError
            When they do not all run within `timeout` seconds.
        """
        futures, marks = zip(*(self.submit(executor) for _ in range(count)))
        deadline = time.monotonic() + timeout
        while not all(mark.exists() for mark in marks):
            if time.monotonic() > deadline:
                raise TimeoutError("the held calls did not start")
            time.sleep(0.005)
        self._folder.cleanup()  # the holders have the FIFO open: from here on nothing is left behind, however this ends
        return list(futures)

    def open(self):
        # Nobody reads the byte, so the FIFO stays readable for every holder, also those still to come.
        os.write(self._descriptor, b".")
