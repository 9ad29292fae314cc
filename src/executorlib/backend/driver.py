"""The driver, as its worker sees it."""

from __future__ import annotations

import os
import select
import signal
import threading

from . import link, rendezvous


def connect(number: str) -> link.Link:
    """Connect to the driver that waits under a number. Waits until it is ready.

    Raises:
        OSError: if there is none, or it is not the one that started this worker.
        EOFError: if it ends first.
    """
    return link.connect(*rendezvous.find(number))


class Watch:
    """Ends this process, and what it started, when its driver dies, even in the middle of a call.

    Parameters:
        connection (link.Link): to the driver.
        group (bool): whether this process is to have a process group of its own, which then ends with it. Signals of
            the driver's terminal no longer reach it.
    """

    def __init__(self, connection: link.Link, group: bool) -> None:
        if group and os.getpgrp() != os.getpid():
            os.setpgid(0, 0)
        self._group = group
        self._on = True
        threading.Thread(target=self._wait, args=(connection.fileno(),), daemon=True).start()

    def call_off(self) -> None:
        """The end of the connection will mean nothing."""
        self._on = False

    def _wait(self, descriptor: int) -> None:
        link.wait(descriptor, select.POLLRDHUP)
        if self._on:
            os.kill(0 if self._group else os.getpid(), signal.SIGKILL)
