"""GPUs of calls and workers. There need not be any: a variable says which there are."""

import contextlib
import os
from concurrent.futures import wait

import functions
import pytest
from support import SOON, most_at_once, needs_mpi

from executorlib import SingleNodeExecutor
from executorlib.api import ExecutorlibSocketError

UUIDS = ["GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-0f0f0f0f-d72c-4106-c12f-20bd9faed9f6"]
MIGS = ["MIG-GPU-8932f937-d72c-4106-c12f-20bd9faed9f6/1/0", "MIG-6a3f1d2c-93b1-5d3c-8a3e-0d2a7d5a1b11"]

GPU_VARIABLES = [
    "EXECUTORLIB_GPUS", "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "SLURM_JOB_GPUS",
    "SLURM_STEP_GPUS",
]  # fmt: skip


@pytest.fixture(autouse=True)
def four_gpus(monkeypatch):
    for name in GPU_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EXECUTORLIB_GPUS", "0,1,2,3")


@pytest.fixture(params=["per_call", "block"])
def make_wide(request):
    """Executors that run many calls at once, whatever the machine has."""
    made = []

    def make_executor(workers, gpus, **arguments):
        kind = {"max_cores": 64} if request.param == "per_call" else {"max_workers": workers, "block_allocation": True}
        made.append(SingleNodeExecutor(**kind, resource_dict={"gpus_per_core": gpus}, **arguments))
        return made[-1]

    yield make_executor
    for executor in made:
        executor.shutdown(wait=True, cancel_futures=True)


def results(futures):
    return [future.result(timeout=SOON) for future in futures]


def test_a_call_sees_its_gpus_only(make):
    exe = make(max_workers=1, resource_dict={"gpus_per_core": 2})
    assert exe.submit(functions.visible_gpus).result(timeout=SOON) == ["0", "1"]


def test_no_two_calls_on_one_gpu(make_wide):
    exe = make_wide(4, 1)
    spans = results([exe.submit(functions.span_on_gpus, 0.03) for _ in range(40)])
    assert all(len(gpus) == 1 for gpus, *_ in spans)
    assert most_at_once(spans) == dict.fromkeys("0123", 1)


@pytest.mark.parametrize("kinds", [(False, False), (True, True), (True, False)], ids=["per_call", "block", "mixed"])
def test_executors_side_by_side_spread_over_the_gpus(kinds):
    """As far as they go; with none left, an executor does not wait for another, which may keep its own for good."""
    needs = {"resource_dict": {"gpus_per_core": 2}, "max_workers": 1}
    with contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(SingleNodeExecutor(block_allocation=kind, **needs)) for kind in kinds)
        spans = results([exe.submit(functions.span_on_gpus, 0.2) for exe in (first, second)])
        assert most_at_once(spans) == dict.fromkeys("0123", 1)
        third = stack.enter_context(SingleNodeExecutor(max_workers=1, resource_dict={"gpus_per_core": 4}))
        assert third.submit(functions.visible_gpus).result(timeout=SOON) == ["0", "1", "2", "3"]


def test_calls_of_different_width():
    with SingleNodeExecutor(max_cores=64) as exe:
        needs = [(n % 4 + 1) if n % 5 else 0.5 for n in range(40)]
        spans = results(
            exe.submit(functions.span_on_gpus, 0.01, resource_dict={"gpus_per_core": need}) for need in needs
        )
    assert [len(gpus) for gpus, *_ in spans] == [1 if need == 0.5 else need for need in needs]
    whole = [span for span, need in zip(spans, needs, strict=True) if need != 0.5]
    shared = [span for span, need in zip(spans, needs, strict=True) if need == 0.5]
    assert set(most_at_once(whole).values()) == {1}
    assert max(most_at_once(shared).values()) <= 2
    for gpus, began, ended in shared:
        assert not any(
            set(gpus) & set(others) and first < ended and began < last for others, first, last in whole
        )  # fmt: skip


def test_calls_without_gpus_do_not_wait_for_those_with(gate):
    with SingleNodeExecutor(max_cores=64) as exe:
        holder = gate.submit(exe, resource_dict={"gpus_per_core": 4})
        gate.arrival()
        waiting = exe.submit(functions.visible_gpus, resource_dict={"gpus_per_core": 1})
        assert results([exe.submit(functions.visible_gpus) for _ in range(100)]) == [None] * 100
        assert not waiting.running() and not waiting.done()
        gate.open()
        assert waiting.result(timeout=SOON) == ["0"]
        wait([holder], timeout=SOON)


def test_two_halves_share_one(make_wide, make_gate):
    gate = make_gate()
    exe = make_wide(2, 0.5)
    futures = [exe.submit(arrive_on_gpus, gate.folder) for _ in range(2)]
    gate.arrivals(2)
    gate.open()
    assert results(futures) == [["0"], ["0"]]


def arrive_on_gpus(folder):
    functions.pass_gate(folder)
    return functions.visible_gpus()


def test_no_more_than_fit_share_one(monkeypatch):
    monkeypatch.setenv("EXECUTORLIB_GPUS", "0,1")
    with SingleNodeExecutor(max_cores=64, resource_dict={"gpus_per_core": 1 / 3}) as exe:
        spans = results([exe.submit(functions.span_on_gpus, 0.05) for _ in range(30)])
    most = most_at_once(spans)
    assert set(most) == {"0", "1"} and 2 <= max(most.values()) <= 3


@pytest.mark.parametrize("names", [UUIDS, MIGS, [*MIGS, *UUIDS]], ids=["uuid", "mig", "both"])
def test_names_other_than_numbers(make, monkeypatch, names):
    monkeypatch.delenv("EXECUTORLIB_GPUS")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(names))
    exe = make(max_workers=1, resource_dict={"gpus_per_core": 2})
    assert exe.submit(functions.visible_gpus).result(timeout=SOON) == names[:2]


@pytest.mark.parametrize("variable", ["HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"])
def test_gpus_of_amd(make, monkeypatch, variable):
    monkeypatch.delenv("EXECUTORLIB_GPUS")
    monkeypatch.setenv(variable, "4,6")
    exe = make(max_workers=1, resource_dict={"gpus_per_core": 1})
    assert exe.submit(functions.visible_gpus, variable).result(timeout=SOON) == ["4"]


def test_the_numbers_of_a_scheduler_stay(make, monkeypatch):
    monkeypatch.delenv("EXECUTORLIB_GPUS")
    monkeypatch.setenv("SLURM_JOB_GPUS", "6,7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    exe = make(max_workers=1, resource_dict={"gpus_per_core": 2})
    assert exe.submit(functions.visible_gpus).result(timeout=SOON) == ["0", "1"]


def test_a_variable_that_changed_since_does_not_give_a_call_more(make, monkeypatch):
    monkeypatch.setenv("EXECUTORLIB_GPUS", "2")
    exe = make(max_workers=1, resource_dict={"gpus_per_core": 1})
    assert exe.submit(functions.visible_gpus).result(timeout=SOON) == ["2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert exe.submit(functions.visible_gpus).result(timeout=SOON) == ["2"]


@pytest.mark.parametrize("value", [None, "1,3"])
def test_who_asks_for_none_sees_what_the_program_sees(make, monkeypatch, value):
    if value is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    exe = make()
    assert exe.submit(functions.visible_gpus).result(timeout=SOON) == (value and value.split(","))


def test_the_variable_is_set_before_the_first_import(make_wide, tmp_path, monkeypatch):
    (tmp_path / "looks_for_gpus.py").write_text("import os\nfound = os.environ['CUDA_VISIBLE_DEVICES']\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def find():
        import looks_for_gpus

        return [looks_for_gpus.found]

    exe = make_wide(4, 1)
    seen = [(found, 0, 0) for found in results([exe.submit(find) for _ in range(12)])]
    assert {gpu for gpus, *_ in seen for gpu in gpus} <= set("0123")


def test_an_initializer_sees_them_too():
    def initialize():
        return {"gpus": functions.visible_gpus()}

    def tell(gpus):
        return gpus == functions.visible_gpus(), gpus

    exe = SingleNodeExecutor(
        max_workers=1, block_allocation=True, init_function=initialize, resource_dict={"gpus_per_core": 1}
    )
    with exe:
        assert exe.submit(tell).result(timeout=SOON) == (True, ["0"])


def test_a_library_that_looks_at_import_is_not_imported_ahead(tmp_path, monkeypatch):
    # As an installed library: those are what templates import.
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "slow_gpu_library.py").write_text(
        "import os, time\ntime.sleep(0.01)\nfound = os.environ.get('CUDA_VISIBLE_DEVICES')\n"
    )
    monkeypatch.syspath_prepend(str(folder))

    def find():
        import slow_gpu_library

        return slow_gpu_library.found

    with SingleNodeExecutor(max_workers=1) as exe:
        for _ in range(5):
            assert exe.submit(find).result(timeout=SOON) is None
            assert exe.submit(find, resource_dict={"gpus_per_core": 1}).result(timeout=SOON) == "0"


def test_a_crash_gives_the_gpus_back(make_wide):
    exe = make_wide(2, 2)
    for _ in range(6):
        with pytest.raises(ExecutorlibSocketError):
            exe.submit(os._exit, 3).result(timeout=SOON)
    spans = results([exe.submit(functions.span_on_gpus, 0.02) for _ in range(10)])
    assert most_at_once(spans) == dict.fromkeys("0123", 1)


def test_a_restarted_call_has_gpus_again(make, mode, tmp_path):
    if not mode.block:
        pytest.skip("only lasting workers are restarted")

    def crash_once(path):
        if not os.path.exists(path):
            open(path, "w").close()
            os.abort()
        return functions.visible_gpus()

    exe = make(max_workers=1, restart_limit=1, resource_dict={"gpus_per_core": 4})
    assert exe.submit(crash_once, str(tmp_path / "crashed")).result(timeout=SOON) == ["0", "1", "2", "3"]


def test_cancelled_calls_hold_none(gate):
    with SingleNodeExecutor(max_cores=64, resource_dict={"gpus_per_core": 4}) as exe:
        running = gate.submit(exe)
        gate.arrival()
        waiting = [exe.submit(functions.visible_gpus) for _ in range(5)]
        assert all(future.cancel() for future in waiting[:4])
        gate.open()
        assert waiting[4].result(timeout=SOON) == ["0", "1", "2", "3"]
        running.result(timeout=SOON)


def test_more_or_fewer_workers():
    with SingleNodeExecutor(max_workers=1, block_allocation=True, resource_dict={"gpus_per_core": 2}) as exe:
        assert exe.submit(functions.visible_gpus).result(timeout=SOON) == ["0", "1"]
        with pytest.raises(ValueError, match="gpus_per_core"):
            exe.max_workers = 3
        exe.max_workers = 2
        spans = results([exe.submit(functions.span_on_gpus, 0.02) for _ in range(8)])
        assert most_at_once(spans).keys() == set("0123")
        for count in (1, 2, 1, 2):
            exe.max_workers = count
            spans += results([exe.submit(functions.span_on_gpus, 0.01) for _ in range(8)])
    assert set(most_at_once(spans).values()) == {1}


@pytest.mark.parametrize("block", [False, True], ids=["inner_per_call", "inner_block"])
def test_an_executor_inside_a_call_has_that_calls_gpus(make, block):
    def outer(block):
        kind = {"max_workers": 2, "block_allocation": True} if block else {"max_cores": 8}
        with SingleNodeExecutor(**kind, resource_dict={"gpus_per_core": 1}) as inner:
            found = {inner.submit(functions.visible_gpus).result()[0] for _ in range(8)}
            try:
                SingleNodeExecutor(resource_dict={"gpus_per_core": 3})
            except ValueError as error:
                return found, str(error)

    exe = make(max_workers=1, resource_dict={"gpus_per_core": 2})
    found, refusal = exe.submit(outer, block).result(timeout=SOON)
    assert found <= {"0", "1"}
    assert "there are 2" in refusal


def test_more_gpus_than_there_are(make, mode, monkeypatch):
    monkeypatch.setenv("EXECUTORLIB_GPUS", "0,1")
    exe = make()
    with pytest.raises(ValueError, match="gpus_per_core"):
        exe.submit(functions.visible_gpus, resource_dict={"gpus_per_core": 3})
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3
    with pytest.raises(ValueError, match=r"there are 2.*EXECUTORLIB_GPUS"):
        make(resource_dict={"gpus_per_core": 3})
    with pytest.raises(ValueError, match="2 workers need"):
        SingleNodeExecutor(max_workers=2, block_allocation=True, resource_dict={"gpus_per_core": 2})
    with pytest.raises(ValueError, match="5 shares of 0.5|5 workers need"):
        SingleNodeExecutor(max_workers=5, block_allocation=True, resource_dict={"gpus_per_core": 0.5})


@pytest.mark.parametrize("variable", ["EXECUTORLIB_GPUS", "CUDA_VISIBLE_DEVICES"])
@pytest.mark.parametrize("value", ["", "-1", "NoDevFiles"])
def test_no_gpus(monkeypatch, variable, value):
    if variable == "EXECUTORLIB_GPUS" and value:
        pytest.skip("its names are taken as they are")
    monkeypatch.delenv("EXECUTORLIB_GPUS")
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=rf"none was found in {variable}"):
        SingleNodeExecutor(resource_dict={"gpus_per_core": 1})


@pytest.mark.parametrize("value", [-1, 1.5, "1", float("nan"), -0.5])
def test_wrong_requests(make, value):
    with pytest.raises(TypeError, match="gpus_per_core"):
        make(resource_dict={"gpus_per_core": value})


@needs_mpi
@pytest.mark.parametrize(("each", "seen"), [(2, [["0", "1"], ["2", "3"]]), (0.5, [["0"], ["0"]])])
def test_each_rank_has_its_own(make, monkeypatch, each, seen):
    # The driver's variable comes with the setup, and must not win.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    exe = make(max_workers=1, resource_dict={"cores": 2, "gpus_per_core": each})
    for _ in range(2):
        assert exe.submit(functions.visible_gpus).result(timeout=SOON) == seen


@needs_mpi
def test_ranks_of_different_calls_share_no_gpu():
    with SingleNodeExecutor(max_cores=4, resource_dict={"openmpi_oversubscribe": True}) as exe:
        futures = [
            exe.submit(functions.span_on_gpus, 0.05, resource_dict={"cores": ranks, "gpus_per_core": 1})
            for ranks in (2, 1, 2, 1, 1)
        ]
        answers = results(futures)
    spans = [span for answer in answers for span in (answer if isinstance(answer, list) else [answer])]
    assert len(spans) == 7
    assert set(most_at_once(spans).values()) == {1}


@needs_mpi
def test_more_gpus_than_there_are_for_all_ranks(make):
    with pytest.raises(ValueError, match="needs 6 GPU"):
        make(max_workers=1, resource_dict={"cores": 2, "gpus_per_core": 3})
