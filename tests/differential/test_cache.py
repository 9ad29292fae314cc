"""Caches that the reference has written serve ours, and the other way round."""

import subprocess
import sys

import pytest

from differential.test_differential import TIME_LIMIT, environment, pytestmark, reference  # noqa: F401

SCRIPT = """
import os

import numpy

from executorlib import SingleNodeExecutor, get_cache_data, get_future_from_cache


def add(a, b: int = 2, *, name="c"):
    "The sum."
    import math

    return math.floor(a + b)


def shifted(n):
    def shift(x):
        return x + n

    return shift


def pair(a, b):
    return a, b


def mean(values):
    return float(values.mean())


def ones(n):
    return numpy.ones(n)


if __name__ == "__main__":
    with SingleNodeExecutor(max_workers=1, cache_directory="cache", block_allocation=True) as exe:
        same = [1, 2]
        futures = [
            exe.submit(add, 1, b=3),
            exe.submit(add, 1, name="a"),
            exe.submit(shifted(3), 4),
            exe.submit(lambda x: [x], "x"),
            exe.submit(mean, numpy.arange(6.0)),
            exe.submit(ones, 100_000),
            exe.submit(sum, same, start=5),
            exe.submit(pair, same, b=same),
            exe.submit(pow, 2, 100),
        ]
        results = [future.result() for future in futures]
        last = exe.submit(add, futures[0], b=futures[2])
        nested = exe.submit(sum, [futures[0], futures[2]])
        futures += [last, nested]
        results = [future.result() for future in futures]
        print([result if not hasattr(result, "sum") else float(result.sum()) for result in results])
    with SingleNodeExecutor(max_workers=1, cache_directory="cache") as exe:
        print(exe.submit(add, 7, 8, resource_dict={"cache_key": "named"}).result())
    print(sorted(os.listdir("cache")))
    names = ["function", "input_args", "input_kwargs", "output", "resource_dict", "runtime", "filename"]
    entries = get_cache_data("cache")
    print(len(entries), all(list(entry) == names for entry in entries))
    print(sorted(str(type(entry["input_args"])) + str(entry["input_kwargs"]) for entry in entries))
    print(get_future_from_cache("cache", "named").result())
    try:
        get_future_from_cache("cache", "missing")
    except FileNotFoundError:
        print("nothing there")
"""


def run(python, folder):
    """In one place for both: the path of a script is a part of its functions' pickles."""
    done = subprocess.run(
        [python, "-W", "error::UserWarning:executorlib", "script.py"], stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=TIME_LIMIT, cwd=folder, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    stamps = {path.name: path.stat().st_mtime_ns for path in (folder / "cache").iterdir()}
    return done.stdout.splitlines(), stamps


@pytest.mark.parametrize("ours_first", [False, True], ids=["reference_first", "ours_first"])
def test_one_finds_what_the_other_has_computed(reference, tmp_path, ours_first):  # noqa: F811
    (tmp_path / "script.py").write_text(SCRIPT)
    pythons = [reference, sys.executable]
    if ours_first:
        pythons.reverse()
    lines, written = run(pythons[0], tmp_path)
    again, found = run(pythons[1], tmp_path)
    assert again == lines
    assert len(written) == 12
    assert found == written, "nothing was to be computed"
