"""A function whose module imports NumPy at its top, as most scientific modules do."""

import numpy


def norm(size):
    return float(numpy.sqrt((numpy.arange(size, dtype=float) ** 2).sum()))
