"""Classes built on ours, as workflow packages build them."""

import functions
import pytest
from support import SOON

from executorlib import BaseExecutor, SingleNodeExecutor


class Counting(SingleNodeExecutor):
    """Takes an argument of its own and sees every submission."""

    def __init__(self, *args, tag, **kwargs):
        super().__init__(*args, **kwargs)
        self.tag = tag
        self.submitted = 0

    def submit(self, fn, /, *args, **kwargs):
        self.submitted += 1
        return super().submit(fn, *args, **kwargs)


class Announcing(BaseExecutor):
    """A mixin put before the class that runs the calls."""

    def __init__(self, *args, announce, **kwargs):
        self.announce = announce
        super().__init__(*args, **kwargs)

    def submit(self, fn, /, *args, **kwargs):
        self.announce.append(fn)
        future = super().submit(fn, *args, **kwargs)
        future.announced = True
        return future


class Combined(Announcing, SingleNodeExecutor):
    pass


def test_subclass(make):
    with make(Counting, tag="mine") as exe:
        assert exe.submit(functions.add, 1, b=2).result(timeout=SOON) == 3
        assert (exe.tag, exe.submitted) == ("mine", 1)
        assert exe.submit(functions.echo, self=1, fn=2).result(timeout=SOON) == ((), {"self": 1, "fn": 2})


@pytest.mark.parametrize(
    "executor_class", [Combined, type("Made", (Announcing, SingleNodeExecutor), {})], ids=["class", "type()"]
)
def test_mixin_before_the_executor(make, executor_class):
    seen = []
    with make(executor_class, announce=seen) as exe:
        future = exe.submit(functions.add, 1, 2)
        assert future.result(timeout=SOON) == 3
        assert seen == [functions.add] and future.announced
        assert isinstance(exe, BaseExecutor)


def test_class_attributes_and_methods_survive(make):
    Named = type(
        "Named", (SingleNodeExecutor,), {"label": "x", "twice": lambda self, n: self.submit(functions.add, n, n)}
    )
    with make(Named) as exe:
        assert exe.label == "x" and exe.twice(4).result(timeout=SOON) == 8
        assert exe.max_workers == exe.info["max_workers"]


def test_batched_and_map_of_a_subclass(make):
    with make(Counting, tag="mine") as exe:
        assert list(exe.map(functions.identity, range(3), timeout=SOON)) == [0, 1, 2]
        futures = [exe.submit(functions.identity, n) for n in range(2)]
        assert sorted(exe.batched(futures, 2)[0].result(timeout=SOON)) == [0, 1]


def test_futures_take_attributes(exe):
    future = exe.submit(functions.identity, 1)
    future.note = "mine"
    assert future.note == "mine" and future.result(timeout=SOON) == 1
