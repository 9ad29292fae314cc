"""Waiting for what announces itself to nobody."""

import select
import time

#: Seconds between two looks: about what one question to Slurm takes.
PAUSE = 0.02


def until(condition, timeout, what):
    """Return the first true value of *condition()*, which is looked at again until *timeout* seconds have passed.

    Only for states of other programs that no event tells of, such as that of a node in Slurm.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout} s in vain for {what}")
        select.select([], [], [], PAUSE)
    return value
