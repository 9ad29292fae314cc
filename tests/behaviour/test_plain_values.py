"""Numbers, short texts and tuples of them: what arrives is what was sent, at every size and depth."""

import enum
import math
import sys

import cloudpickle
import functions
import pytest
import support
from support import SOON, Mode

BOUNDS = [2**bits for bits in (0, 7, 8, 15, 16, 31, 32, 63, 64, 500)]
VALUES = [
    *(sign * bound + step for bound in BOUNDS for sign in (1, -1) for step in (-1, 0, 1)),
    *(0.0, -0.0, 1.5, -1e300, 5e-324, sys.float_info.max, math.inf, -math.inf),
    *("", "a", "a" * 127, "a" * 255, "a" * 256, "a" * 1000, "\x00", "ä", "\N{GREEK SMALL LETTER MU}m", "\ud800"),
    *(b"", b"\x00\xff", b"a" * 255, b"a" * 256),
    *(None, True, False, Ellipsis, 1j),
    *((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), tuple(range(1000)), ((1, ("a", (2.5, (None, (b"b", (True,)))))), 2)),
    *([1, 2], {"key": (1, 2)}, (1, [2, 3]), {1, 2}),
]


class Level(enum.IntEnum):
    LOW = 1


class Text(str):
    pass


@pytest.fixture(params=[Mode(block=True, workers=2)], ids=str)
def mode(request):
    return request.param


def described(value):
    return repr(value), type(value)


def test_values_arrive_as_they_were(exe):
    arguments = [exe.submit(described, value) for value in VALUES]
    results = [exe.submit(functions.identity, value) for value in VALUES]
    for value, argument, result in zip(VALUES, arguments, results, strict=True):
        assert argument.result(timeout=SOON) == described(value)
        assert described(result.result(timeout=SOON)) == described(value)


def test_a_nan_stays_one(exe):
    assert math.isnan(exe.submit(functions.identity, math.nan).result(timeout=SOON))


def test_subclasses_keep_their_type(exe):
    for value in (Level.LOW, Text("a")):
        found = exe.submit(functions.identity, value).result(timeout=SOON)
        assert (found, type(found)) == (value, type(value))


def test_keywords(exe):
    future = exe.submit(functions.echo, 1, "a", key=2.5, self=(3,))
    assert future.result(timeout=SOON) == ((1, "a"), {"key": 2.5, "self": (3,)})


MODULE = """
scale = 1

def scaled(number):
    return scale * number
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that workers can import, too."""
    (tmp_path / "plain_values_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    import plain_values_module

    yield plain_values_module
    del sys.modules[plain_values_module.__name__]


@pytest.fixture(params=[False, True], ids=["", "others by value"])
def by_value(request):
    """Whether some other module goes by value, which has cloudpickle look at all functions."""
    before = cloudpickle.list_registry_pickle_by_value()
    for name in before:
        cloudpickle.unregister_pickle_by_value(sys.modules[name])
    if request.param:
        cloudpickle.register_pickle_by_value(support)
    yield
    if request.param:
        cloudpickle.unregister_pickle_by_value(support)
    for name in before:
        cloudpickle.register_pickle_by_value(sys.modules[name])


def test_a_function_that_its_module_has_no_more_takes_its_globals_along(by_value, module, exe):
    function = module.scaled
    assert exe.submit(function, 3).result(timeout=SOON) == 3
    module.scale = 5
    assert exe.submit(function, 3).result(timeout=SOON) == 3, "by name: the worker's module"
    del module.scaled
    assert exe.submit(function, 3).result(timeout=SOON) == 15, "by value"
    module.scaled = function
    assert exe.submit(function, 3).result(timeout=SOON) == 3


def test_a_function_that_cannot_be_imported_fails_each_call_and_no_other(module, exe, tmp_path):
    (tmp_path / "plain_values_module.py").unlink()
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="plain_values_module"):
            exe.submit(module.scaled, 3).result(timeout=SOON)
        assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


@pytest.mark.parametrize("count", [1, 3, 300])
def test_results_of_other_calls_among_them(exe, count):
    futures = [exe.submit(functions.identity, (number, "a")) for number in range(count)]
    nested = (1, (futures[0], ("b", (futures[-1],))), *futures)
    expected = (1, ((0, "a"), ("b", ((count - 1, "a"),))), *((number, "a") for number in range(count)))
    assert exe.submit(functions.identity, nested).result(timeout=SOON) == expected
    assert exe.submit(functions.identity, [nested, {"key": nested}]).result(timeout=SOON) == [
        expected,
        {"key": expected},
    ]


def is_same(first, second):
    return first is second


def test_one_result_is_one_object(exe):
    future = exe.submit(functions.identity, (1, 2))
    assert exe.submit(is_same, future, future).result(timeout=SOON)


def test_text_that_looks_like_one(exe):
    texts = ("_executorlib_core", "_dependency", b"\x93K\x00\x85R")
    assert exe.submit(functions.identity, texts).result(timeout=SOON) == texts


def test_a_result_that_cannot_be_unpickled(exe):
    future = exe.submit(Unreadable)
    with pytest.raises(LookupError, match="cannot be read"):
        exe.submit(functions.identity, future).result(timeout=SOON)


class Unreadable:
    def __reduce__(self):
        return refuse, ()


def refuse():
    raise LookupError("cannot be read")
