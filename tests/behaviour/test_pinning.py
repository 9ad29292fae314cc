"""Calls bound to processors of their own, and the variables by which libraries choose a number of threads."""

import os

import functions
import pytest
from support import SOON, most_at_once, needs_mpi

from executorlib import SingleNodeExecutor

PROCESSORS = sorted(os.sched_getaffinity(0))
THREAD_VARIABLES = [
    f"{name}_NUM_THREADS" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB", "NUMBA")
]  # fmt: skip

several = pytest.mark.skipif(len(PROCESSORS) < 2, reason="with one processor there is nothing to choose")


def results(futures):
    return [future.result(timeout=SOON) for future in futures]


def test_a_call_is_not_pinned_unless_asked_for(exe):
    assert exe.submit(functions.own_processors).result(timeout=SOON) == PROCESSORS


def test_no_two_pinned_calls_on_one_processor(make, mode):
    exe = make(max_workers=len(PROCESSORS), resource_dict={"pin": True})
    spans = results([exe.submit(functions.span_on_processors, 0.01) for _ in range(20)])
    assert all(len(processors) == 1 for processors, *_ in spans)
    assert set(most_at_once(spans).values()) == {1}
    assert {processors[0] for processors, *_ in spans} <= set(PROCESSORS)


@several
def test_two_executors_run_on_the_same_machine(make, make_gate):
    gate = make_gate()
    first = make(max_workers=1, resource_dict={"pin": True})
    second = make(max_workers=1, resource_dict={"pin": True})
    held = first.submit(arrive_on_processors, gate.folder)
    gate.arrival()
    found = second.submit(functions.own_processors).result(timeout=SOON)
    gate.open()
    assert len(found) == 1 and found != held.result(timeout=SOON)


def arrive_on_processors(folder):
    functions.pass_gate(folder)
    return functions.own_processors()


@several
def test_as_many_as_threads(make):
    exe = make(max_workers=1, resource_dict={"pin": True, "threads_per_core": 2})
    assert len(exe.submit(functions.own_processors).result(timeout=SOON)) == 2


def test_a_call_wider_than_the_machine_runs_unpinned(make):
    exe = make(max_workers=1, resource_dict={"pin": True, "threads_per_core": len(PROCESSORS) + 1})
    assert exe.submit(functions.own_processors).result(timeout=SOON) == PROCESSORS


def test_more_calls_than_processors(make, make_gate):
    gate = make_gate()
    count = len(PROCESSORS) + 1
    exe = make(max_workers=count, resource_dict={"pin": True})
    futures = [exe.submit(arrive_on_processors, gate.folder) for _ in range(count)]
    gate.arrivals(count)
    gate.open()
    found = sorted(results(futures), key=len)
    assert found[-1] == PROCESSORS
    assert sorted(found[:-1]) == [[processor] for processor in PROCESSORS]


def test_a_crash_gives_the_processors_back(make):
    exe = make(max_workers=len(PROCESSORS), resource_dict={"pin": True})
    for _ in range(2 * len(PROCESSORS)):
        with pytest.raises(RuntimeError):
            exe.submit(os._exit, 3).result(timeout=SOON)
    assert len(exe.submit(functions.own_processors).result(timeout=SOON)) == 1


def test_children_of_a_pinned_call_are_pinned_too(make):
    def count_in_child():
        import subprocess
        import sys

        command = [sys.executable, "-c", "import os; print(len(os.sched_getaffinity(0)))"]
        return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    exe = make(max_workers=1, resource_dict={"pin": True})
    assert exe.submit(count_in_child).result(timeout=SOON) == 1


def test_pinned_or_not_call_by_call():
    with SingleNodeExecutor(max_workers=1) as exe:
        pinned = exe.submit(functions.own_processors, resource_dict={"pin": True})
        assert len(pinned.result(timeout=SOON)) == 1
        assert exe.submit(functions.own_processors).result(timeout=SOON) == PROCESSORS


def test_lasting_workers_are_pinned_or_not_from_the_start():
    with (
        SingleNodeExecutor(max_workers=1, block_allocation=True) as exe,
        pytest.raises(ValueError, match="pin"),
    ):
        exe.submit(functions.own_processors, resource_dict={"pin": True})


@pytest.mark.parametrize("value", [1, "yes", [0]])
def test_wrong_values(make, value):
    with pytest.raises(TypeError, match="pin"):
        make(resource_dict={"pin": value})


@pytest.mark.parametrize("pin", [False, True])
def test_thread_variables_are_set_before_the_first_import(make, mode, tmp_path, monkeypatch, pin):
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "counts_threads.py").write_text(
        "import os\n"
        f"found = [os.environ.get(name) for name in {THREAD_VARIABLES!r}]\n"
        "processors = len(os.sched_getaffinity(0))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    def initialize():
        import counts_threads

        return {"first": counts_threads.found}

    def find(first=None):
        import counts_threads

        return counts_threads.found, first or counts_threads.found, counts_threads.processors

    arguments = {"init_function": initialize} if mode.block else {}
    exe = make(max_workers=1, resource_dict={"threads_per_core": 2, "pin": pin}, **arguments)
    processors = 2 if pin and len(PROCESSORS) > 1 else len(PROCESSORS)
    assert exe.submit(find).result(timeout=SOON) == (["2"] * 6, ["2"] * 6, processors)


@several
@needs_mpi
def test_each_rank_has_its_own(make):
    exe = make(max_workers=1, resource_dict={"cores": 2, "pin": True, "openmpi_oversubscribe": True})
    first, second = exe.submit(functions.own_processors).result(timeout=SOON)
    assert len(first) == len(second) == 1 and first != second


@needs_mpi
def test_thread_variables_of_ranks_are_set_before_the_first_import(make, tmp_path, monkeypatch):
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "counts_threads_of_ranks.py").write_text(
        f"import os\nfound = [os.environ.get(name) for name in {THREAD_VARIABLES!r}]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    def find():
        import counts_threads_of_ranks

        return counts_threads_of_ranks.found

    exe = make(max_workers=1, resource_dict={"cores": 2, "threads_per_core": 3, "openmpi_oversubscribe": True})
    assert exe.submit(find).result(timeout=SOON) == [["3"] * 6] * 2
