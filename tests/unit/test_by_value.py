"""What functools adds to functions of the main program goes with them."""

import functools

import cloudpickle
import pytest
import support

from executorlib import _by_value, _cache_key, _stable_key

PROGRAM = """
import functools, sys
from executorlib import SingleNodeExecutor
from executorlib.api import TestClusterExecutor

@functools.cache
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

@functools.lru_cache(maxsize=7, typed=True)
def square(x):
    return x * x

class Model:
    def __init__(self, size):
        self.size = size
    @functools.cached_property
    def area(self):
        return square(self.size)
    @functools.lru_cache
    def times(self, n):
        return self.area * n

def around(x):
    return square(x), square.cache_parameters()

def local():
    @functools.cache
    def inside(x):
        return -x
    return inside

for make in (
    lambda: SingleNodeExecutor(max_workers=1),
    lambda: SingleNodeExecutor(max_workers=1, block_allocation=True),
    lambda: SingleNodeExecutor(max_workers=1, cache_directory="cache"),
    lambda: TestClusterExecutor(cache_directory="files"),
):
    with make() as exe:
        futures = [
            exe.submit(fibonacci, 10), exe.submit(around, 3), exe.submit(Model(2).times, 5),
            exe.submit(local(), 1), exe.submit(Model, 4),
        ]
        *values, model = [future.result() for future in futures]
        assert type(model) is Model and model.area == 16
        print(*values)
"""


def test_functions_with_a_memory(tmp_path):
    done = support.run_script(tmp_path, PROGRAM, timeout=60 * support.TIME_FACTOR)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["55 (9, {'maxsize': 7, 'typed': True}) 20 -1"] * 4


@functools.cache
def importable(x):
    return x


def test_an_importable_one_goes_by_name():
    assert cloudpickle.loads(_by_value.dumps(importable)) is importable
    support_by_value = functools.cache(lambda x: x)
    again = cloudpickle.loads(_by_value.dumps(support_by_value))
    assert again(3) == 3 and again is not support_by_value and again.cache_info().currsize == 1


@pytest.mark.parametrize("key_of", [_cache_key.key_of, _stable_key.key_of])
def test_the_name_of_a_result_has_the_code_in_it(key_of):
    def made(text):
        names = {"__name__": "__main__", "cache": functools.cache}
        exec(f"@cache\ndef f(x): return {text}", names)
        return names["f"]

    keys = [key_of(made(text), (1,), {}) for text in ("x + 1", "x + 1", "x + 2")]
    assert keys[0] == keys[1] != keys[2]
