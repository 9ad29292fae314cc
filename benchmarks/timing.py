"""Timing of repeated calls."""

import statistics
import time

median = statistics.median


def quantile(values, fraction):
    """The smallest of `values` that at least `fraction` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


def elapsed(function, *args):
    """Seconds that one call takes."""
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def repeat(function, seconds, minimum=3):
    """Durations in seconds of calls of `function`, repeated for `seconds` and at least `minimum` times."""
    durations = []
    deadline = time.perf_counter() + seconds
    while len(durations) < minimum or time.perf_counter() < deadline:
        durations.append(elapsed(function))
    return durations


def rate(function, seconds, start, most=200_000):
    """Items per second of `function(count)`, with `count` chosen so that it runs for about `seconds`."""
    count = start
    duration = elapsed(function, count)
    while duration < seconds / 4 and count < most:
        count = min(most, max(2 * count, int(count * seconds / max(duration, 1e-6) / 2)))
        duration = elapsed(function, count)
    return count / duration
