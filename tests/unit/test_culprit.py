"""What could not be pickled is named in the error, on both ways."""

import dataclasses
import functools
import pickle
import threading

import pytest
from support import SOON

from executorlib import SingleNodeExecutor, _culprit
from executorlib.api import TestClusterExecutor

LOCK = threading.Lock()


@dataclasses.dataclass
class Solver:
    name: str
    lock: object = None

    def run(self):
        return self.name


class Slotted:
    __slots__ = ("lock",)

    def __init__(self):
        self.lock = LOCK


class Careful:
    """Leaves behind what cannot be sent."""

    def __init__(self):
        self.lock = LOCK
        self.cell = Solver("cg", LOCK)

    def __getstate__(self):
        return {"cell": self.cell}


class Endless:
    def __init__(self):
        self.itself = self
        self.lock = LOCK


async def wait_for_it():
    return 1


def relax(structure, cell=None):
    return structure


def returns(name):
    return {
        "lock": lambda: LOCK,
        "nested": lambda: {"energy": 1.0, "solver": [0, Solver("cg", LOCK)]},
        "generator": lambda: (i for i in range(3)),
        "coroutine": lambda: wait_for_it(),
        "deep": lambda: functools.reduce(lambda inner, _: [inner], range(100_000), None),
        "long": lambda: [*range(5000), LOCK, *range(5000)],
    }[name]()


def lock_for_30(i):
    return LOCK if i == 30 else i


@pytest.fixture(params=["call", "block", "cached", "files"])
def exe(request, tmp_path):
    exe = {
        "call": lambda: SingleNodeExecutor(max_workers=1),
        "block": lambda: SingleNodeExecutor(max_workers=1, block_allocation=True),
        "cached": lambda: SingleNodeExecutor(max_workers=1, cache_directory=tmp_path),
        "files": lambda: TestClusterExecutor(cache_directory=tmp_path),
    }[request.param]()
    yield exe
    exe.shutdown(cancel_futures=True)


def test_the_argument_is_named(exe):
    for args, kwargs, told in (
        ((1, [LOCK]), {}, r"args\[1\]\[0\], in argument 1 of relax\(\).*make it inside the function"),
        ((1,), {"cell": LOCK}, r"argument 'cell' of relax\(\)"),
        (((i for i in "ab"),), {}, r"argument 0 of relax\(\).*make a list of its items"),
    ):
        with pytest.raises(TypeError, match=f"cannot pickle .*: it is {told}"):  # now, or by a file's future
            exe.submit(relax, *args, **kwargs).result(timeout=SOON)
        assert exe.submit(relax, 2).result(timeout=SOON) == 2


def test_the_item_of_a_result_is_named(exe):
    told = r"cannot pickle .*: it is result\['solver'\]\[1\]\.lock, in the dict that returns\(\) returned"
    with pytest.raises(TypeError, match=told):
        exe.submit(returns, "nested").result(timeout=SOON)


@pytest.fixture
def worker():
    with SingleNodeExecutor(max_workers=1, block_allocation=True) as exe:
        yield exe


def test_results_of_all_kinds(worker):
    for name, told in (
        ("lock", r"the lock that returns\(\) returned.*return what can be pickled"),
        ("generator", r"the generator that returns\(\) returned.*make a list of its items"),
        ("coroutine", r"the coroutine that returns\(\) returned.*asyncio\.run"),
        ("long", r"result\[5000\], in the list"),
    ):
        with pytest.raises(TypeError, match=f"cannot pickle .*: it is {told}"):
            worker.submit(returns, name).result(timeout=SOON)


def test_what_is_too_deep_has_no_path(worker):
    with pytest.raises((RecursionError, pickle.PicklingError), match="recursion") as caught:
        worker.submit(returns, "deep").result(timeout=SOON)
    assert "[0][0]" not in str(caught.value)


def test_the_rest_of_a_batch_has_its_results():
    with SingleNodeExecutor(max_workers=2, block_allocation=True) as exe:
        for _ in range(3):  # the second map knows that calls are short, and sends batches
            results = exe.map(lock_for_30, range(60))
            with pytest.raises(TypeError, match=r"the lock that lock_for_30\(\) returned"):
                for i, result in enumerate(results):
                    assert result == i


@pytest.mark.parametrize("chunksize", [1, 2])
@pytest.mark.parametrize("block", [False, True])
def test_the_item_of_a_map_is_named(block, chunksize):
    with SingleNodeExecutor(max_workers=1, block_allocation=block) as exe:
        with pytest.raises(TypeError, match=r"it is items\[2\]\.lock of what map\(relax, \.\.\.\) was given"):
            exe.map(relax, [1, 2, Solver("cg", LOCK)], chunksize=chunksize)
        with pytest.raises(TypeError, match=r"it is items\[1\] of iterable 1 that map\(relax, \.\.\.\) was given"):
            exe.map(relax, iter([1, 2]), [1, LOCK], chunksize=chunksize)
        with pytest.raises(TypeError, match="cannot pickle '_thread.lock' object$"):
            exe.map(relax, iter([1, LOCK]), chunksize=chunksize)


def explained(fn, *args, **kwargs):
    """The text of the error for a call that cannot be pickled."""
    error = next(e for e in map(_culprit._fails, (*args, *kwargs.values(), fn)) if e is not None)
    _culprit.explain_call(error, fn, args, kwargs)
    return str(error)


def test_what_a_function_takes_from_around_it():
    lock = threading.Lock()
    solver = Solver("cg", [lock])

    def locked():
        return lock

    def solved(function=locked):
        return solver

    assert "it is lock, which locked() takes from around it." in explained(locked)
    assert "it is solver.lock[0], which solved() takes from around it." in explained(solved)
    assert "it is self.lock[0], in the Solver whose method run() is." in explained(solver.run)
    assert "it is func.lock, in the partial that is to be called." in explained(functools.partial(locked))
    assert "it is keywords['cell'], in the partial" in explained(functools.partial(relax, cell=lock))


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (Slotted(), "args[0].lock"),
        (Careful(), "args[0].cell.lock"),
        (Endless(), "args[0].lock"),
        ({"a" * 1000: LOCK}, None),
        ({1: ({2: LOCK},)}, "args[0][1][0][2]"),
        ([Solver("cg", LOCK).run], "args[0][0].__self__.lock"),
    ],
)
def test_the_path(value, path):
    told = explained(relax, value)
    assert f"it is {path}, in argument 0 of relax()" in told if path else len(told) < 300


def test_futures_are_passed_over():
    with SingleNodeExecutor(max_workers=1) as exe, pytest.raises(TypeError, match=r"argument 1 of relax\(\)"):
        exe.submit(relax, exe.submit(abs, 1), LOCK)


class Own(TypeError):
    def __init__(self, code, reason):
        super().__init__(code, reason)


class Refuses:
    def __reduce__(self):
        raise Own(7, "no")


class Bomb(list):
    def __getitem__(self, index):
        raise SystemError("boom")

    def __iter__(self):
        raise SystemError("boom")

    def __reduce__(self):
        raise TypeError("not me")


def test_an_error_of_an_unknown_kind_keeps_its_arguments():
    error = Own(7, "no")
    _culprit.explain_call(error, relax, (Refuses(),), {})
    assert error.args == (7, "no")
    notes = getattr(error, "__notes__", None)
    assert notes is None or "argument 0 of relax()" in notes[0]


def test_what_cannot_be_looked_at_leaves_the_error_alone():
    error = TypeError("not me")
    _culprit.explain_call(error, relax, (Bomb([1]),), {})
    assert str(error).startswith("not me")
    with SingleNodeExecutor(max_workers=1) as exe, pytest.raises(TypeError, match="not me"):
        exe.submit(relax, Bomb([1]))


def test_other_errors_are_left_alone():
    exe = SingleNodeExecutor(max_workers=1)
    exe.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown$"):
        exe.submit(relax, LOCK)
    error = TypeError("something else")
    _culprit.explain_call(error, relax, (LOCK,), {})
    assert error.args == ("something else",)
