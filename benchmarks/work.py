"""The functions that are submitted: importable by name, and free of imports that would blur what is timed."""

import os
import pathlib
import select

PAGE_STEP = 512  # float64 values per 4 KiB page


def noop():
    return None


def echo(value):
    return value


def increment(value):
    return value + 1


def total(values):
    return sum(values)


def touch(array):
    """Read one value per page, so that lazily mapped memory is paid for by whoever receives it."""
    array[::PAGE_STEP].sum()
    return array


def add_one(array):
    array += 1
    return array


def megabytes(count):
    """A fresh array of `count` MiB, every page written."""
    import numpy

    return numpy.ones(count * 131072)


def hold(started, gate, seconds):
    """Keep a worker busy until the FIFO `gate` becomes readable, for at most `seconds`."""
    descriptor = os.open(gate, os.O_RDONLY | os.O_NONBLOCK)
    try:
        pathlib.Path(started).touch()
        select.select([descriptor], [], [], seconds)
    finally:
        os.close(descriptor)
