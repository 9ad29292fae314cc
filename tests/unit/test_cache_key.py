"""The names under which results are kept."""

import functools
import hashlib
import pathlib
import subprocess
import sys
from concurrent.futures import Future

import cloudpickle
import functions
import pytest

from executorlib import _cache_key, _stable_key


def published(fn, args, kwargs):
    return hashlib.md5(cloudpickle.dumps({"fn": fn, "args": args, "kwargs": kwargs})).hexdigest()


class Callable:
    def __call__(self):
        return 1


def local():
    return 1


def test_the_key_is_the_name_and_the_sum_of_the_pickle():
    assert _cache_key.key_of(functions.add, (1,), {"b": 2}) == "add" + published(functions.add, (1,), {"b": 2})
    instance = Callable()
    assert _cache_key.key_of(instance, (), {}) == "Callable" + published(instance, (), {})


def test_the_number_of_a_notebook_kernel_does_not_count():
    keys = {_cache_key.key_of_dumped(local, b"code /tmp/ipykernel_%d/1234.py more" % number) for number in (1, 20, 300)}
    assert keys == {"local" + hashlib.md5(b"code /tmp/ipykernel_/1234.py more").hexdigest()}


def done(value):
    future = Future()
    future.set_result(value)
    return future


def test_futures_count_with_their_results():
    inner = [1]
    args, kwargs = _cache_key.resolved((done(1), [done(2)], inner, inner, (3,)), {"x": {"y": done(4)}})
    assert (args, kwargs) == ((1, [2], [1], [1], (3,)), {"x": {"y": 4}})
    assert args[2] is not args[3]


def test_futures_without_results():
    failed, cancelled = Future(), Future()
    failed.set_exception(ValueError())
    cancelled.cancel()
    for future in (Future(), failed, cancelled):
        with pytest.raises(_cache_key.PendingArgument):
            _cache_key.resolved(([future],), {})


# ---- version 2 ----


def key(fn, *args, **kwargs):
    return _stable_key.key_of(fn, args, kwargs)


SAME = [
    ((1,), (1,)),
    (([1, 2], [1, 2]), ([1, 2], [1, 2])),
    (({"a": 1, "b": 2},), ({"b": 2, "a": 1},)),
    (({3, 1, 2},), ({2, 3, 1},)),
    ((pathlib.Path("a"),), (pathlib.Path("a"),)),
    (("ab",), ("a" + "b",)),
]

DIFFERENT = [
    (), (1,), (1.0,), (True,), ("1",), (b"1",), (bytearray(b"1"),), (None,), ([1],), ((1,),), ({1},), (frozenset({1}),),
    ({1: 1},), (1, 1), ([1, 1],), ([[1], 1],), ([[1, 1]],), ("",), ([],), ((),), (1j,), (-1,), (float("nan"),), (0.0,),
    (-0.0,), (len,), (int,), (pathlib.Path("1"),), (functions.add,), (functions.identity,),
    (functools.partial(functions.add, 1),), (functools.partial(functions.add, 2),), ([].append,), ([1].append,), (sys,),
    (lambda: 1,), (lambda: 2,), (lambda x: x,), (Callable(),), (10**30,), (...,),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME, ids=repr)
def test_equal_values_have_one_key(one, other):
    assert key(functions.echo, *one) == key(functions.echo, *other)


def test_different_values_have_different_keys():
    keys = [key(functions.echo, *args) for args in DIFFERENT]
    assert len(set(keys)) == len(DIFFERENT)


def test_arrays():
    numpy = pytest.importorskip("numpy")
    arrays = [
        numpy.zeros(3), numpy.zeros((3, 1)), numpy.zeros(3, "f4"), numpy.ones(3), numpy.array([]), numpy.array(0.0),
        numpy.array([None]), numpy.float64(1), numpy.arange(6).reshape(2, 3), numpy.arange(6).reshape(2, 3).T,
    ]  # fmt: skip
    assert len({key(functions.echo, array) for array in arrays}) == len(arrays)
    ordered = numpy.arange(6).reshape(2, 3)
    assert key(functions.echo, ordered) == key(functions.echo, numpy.asfortranarray(ordered))
    assert key(numpy.sin, 1) != key(numpy.cos, 1)


def test_containers_that_hold_themselves_have_a_key():
    one, other = [1], [2]
    one.append(one)
    other.append(other)
    assert key(functions.echo, one) == key(functions.echo, one) != key(functions.echo, other)


def test_what_has_no_value_has_no_key():
    for value in (Future(), (item for item in "ab"), open(__file__)):
        with pytest.raises(TypeError):
            key(functions.echo, [value])
        if hasattr(value, "close"):
            value.close()


MAIN = """
import sys
sys.path.insert(0, {folder!r})
from executorlib import _stable_key
SCALE = {scale}
class Shape:
    sides = {sides}
def helper(x):
    return x * SCALE
def work(x):
    return helper(x){text}
def make(n):
    return lambda x: x + n
first, second = lambda x: x, lambda x: x + 1
for call in ((work, 1), (work, Shape), (make({closed}), 1), (first, 1), (second, 1)):
    print(_stable_key.key_of(call[0], call[1:], dict(a=1, b=2)))
"""


def keys_of_script(tmp_path, scale=2, text="", closed=3, sides=4):
    script = tmp_path / "script.py"
    script.write_text(MAIN.format(folder=str(tmp_path), scale=scale, text=text, closed=closed, sides=sides))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=200, check=True)
    return done.stdout.split()


def test_functions_of_the_main_program(tmp_path):
    """Their text, what they enclose, and the globals that they name count, however deep."""
    work, shape, closure, first, second = keys_of_script(tmp_path)
    assert len({work, shape, closure, first, second}) == 5
    assert keys_of_script(tmp_path) == [work, shape, closure, first, second]
    for change in ({"scale": 3}, {"text": " + 1"}):
        changed = keys_of_script(tmp_path, **change)
        assert changed[0] != work and changed[2:] == [closure, first, second]
    assert keys_of_script(tmp_path, closed=4)[2] != closure
    changed = keys_of_script(tmp_path, sides=5)
    assert changed[0] == work and changed[1] != shape


def test_the_layout_of_a_text_does_not_count(tmp_path):
    plain = keys_of_script(tmp_path)[0]
    assert keys_of_script(tmp_path, text="   \n\n")[0] == plain
