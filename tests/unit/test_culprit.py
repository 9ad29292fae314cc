"""Which argument could not be pickled."""

import sys
import threading
from concurrent.futures import Future

import pytest

from executorlib import SingleNodeExecutor

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="exceptions have notes from Python 3.11 on")

LOCK = threading.Lock()


def relax(structure, cell=None):
    return structure


@pytest.mark.parametrize(
    ("args", "kwargs", "told"),
    [
        ((1, [LOCK]), {}, "argument 1 (list) of relax()"),
        ((1,), {"cell": LOCK}, "argument 'cell' (lock) of relax()"),
        ((Future(), LOCK), {}, "argument 1 (lock) of relax()"),
    ],
)
@pytest.mark.parametrize("block", [False, True])
def test_the_argument_is_named(args, kwargs, told, block):
    with SingleNodeExecutor(max_workers=1, block_allocation=block) as exe:
        with pytest.raises(TypeError, match="cannot pickle") as caught:
            exe.submit(relax, *args, **kwargs)
        assert [note for note in caught.value.__notes__ if told in note]


def test_a_function_that_takes_it_from_around_is_named():
    lock = threading.Lock()

    def locked():
        return lock

    with SingleNodeExecutor(max_workers=1) as exe:
        with pytest.raises(TypeError, match="cannot pickle") as caught:
            exe.submit(locked)
        assert ["the code" in note and "locked()" in note for note in caught.value.__notes__] == [True]


def test_other_errors_are_left_alone():
    exe = SingleNodeExecutor(max_workers=1)
    exe.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown") as caught:
        exe.submit(relax, LOCK)
    assert not hasattr(caught.value, "__notes__")
