"""An executor inside a call."""

import functions
import pytest
from support import SOON

from executorlib import SingleNodeExecutor


@pytest.mark.parametrize("inner_block", [False, True], ids=["inner_per_call", "inner_block"])
def test_an_executor_inside_a_call(exe, inner_block):
    def outer(inner_block):
        import os

        from executorlib import SingleNodeExecutor

        with SingleNodeExecutor(block_allocation=inner_block) as inner:
            futures = [inner.submit(pow, n, 2) for n in range(3)]
            pid = inner.submit(os.getpid).result()
            return [future.result() for future in futures], pid != os.getpid()

    for _ in range(2):
        assert exe.submit(outer, inner_block).result(timeout=SOON) == ([0, 1, 4], True)
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_two_levels(exe):
    def descend(levels):
        from executorlib import SingleNodeExecutor

        if levels == 0:
            return 0
        with SingleNodeExecutor() as inner:
            return 1 + inner.submit(descend, levels - 1).result()

    assert exe.submit(descend, 2).result(timeout=SOON) == 2


def test_it_sees_only_the_cores_of_the_call(make, tmp_path):
    def outer(log):
        import functions

        from executorlib import SingleNodeExecutor

        with SingleNodeExecutor() as inner:
            for name in range(8):
                inner.submit(functions.record_span, log, name)
        return inner.max_workers, open(log).read().splitlines()

    exe = make(max_workers=1)
    _, lines = exe.submit(outer, str(tmp_path / "log")).result(timeout=SOON)
    assert lines == [f"{word} {name}" for name in range(8) for word in ("start", "end")]


@pytest.mark.parametrize("threads", [1, 2])
def test_core_count_inside_a_call_on_a_bigger_node(mode, threads, monkeypatch):
    monkeypatch.setenv("PYTHON_CPU_COUNT", "16")

    def outer():
        from executorlib import SingleNodeExecutor

        with SingleNodeExecutor() as inner:
            return inner._max_workers

    arguments = {"max_cores": 4, "resource_dict": {"threads_per_core": threads}, "block_allocation": mode.block}
    with SingleNodeExecutor(**arguments) as exe:
        assert exe.submit(outer).result(timeout=SOON) == threads


def test_an_inner_executor_left_open_ends_with_the_call(make, make_gate):
    """In a process of its own the call ends as an interpreter ends: pending work completes."""

    def outer(log):
        import functions

        from executorlib import SingleNodeExecutor

        inner = SingleNodeExecutor(max_workers=1)
        inner.submit(functions.append_line, log, "inner")
        return "outer"

    gate = make_gate()
    log = gate.folder + "/log"
    with make() as exe:
        assert exe.submit(outer, log).result(timeout=SOON) == "outer"
    assert open(log).read() == "inner\n"


def test_multiprocessing_inside_a_call(exe):
    def outer():
        import multiprocessing

        with multiprocessing.get_context("fork").Pool(2) as pool:
            return pool.map(abs, [-1, -2])

    assert exe.submit(outer).result(timeout=SOON) == [1, 2]
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_process_pool_inside_a_call(exe):
    def outer():
        import concurrent.futures

        with concurrent.futures.ProcessPoolExecutor(2) as pool:
            return list(pool.map(abs, [-1, -2]))

    assert exe.submit(outer).result(timeout=SOON) == [1, 2]


def test_submitting_to_the_outer_executor_from_a_call_is_refused(exe):
    with pytest.raises((TypeError, Exception), match="pickle|executor"):
        exe.submit(lambda: exe.submit(abs, 1)).result(timeout=SOON)
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_executors_side_by_side_do_not_count_for_each_other(make_gate):
    gate = make_gate()
    with SingleNodeExecutor(max_workers=1) as first, SingleNodeExecutor(max_workers=1) as second:
        held = [gate.submit(first), gate.submit(second)]
        assert len(set(gate.arrivals(2))) == 2
        gate.open()
        for future in held:
            future.result(timeout=SOON)
