"""What has been computed is not computed again."""

import os
import threading
import warnings
from concurrent.futures import as_completed, wait
from pathlib import Path

import functions
import pytest
import support

from executorlib import SingleNodeExecutor, _core, _store, get_cache_data, get_future_from_cache
from executorlib.api import ExecutorlibSocketError


@pytest.fixture(params=[support.Mode(False, 2), support.Mode(True, 2)], ids=str)
def mode(request):
    return request.param


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def counted(tmp_path):
    """Arguments of append_line, and how often it ran."""

    class Counted:
        path = str(tmp_path / "calls")

        @property
        def count(self):
            return len(Path(self.path).read_text().splitlines()) if os.path.exists(self.path) else 0

    return Counted()


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_hit_is_answered_at_submit_by_another_executor(make, folder, counted):
    assert make(cache_directory=folder).submit(functions.append_line, counted.path, "a").result() == "a"
    exe = make(cache_directory=str(folder))
    future = exe.submit(functions.append_line, counted.path, "a")
    assert future.done() and not future.running() and not future.cancelled()
    assert future.result() == "a" and future.exception() is None
    assert not future.cancel() and not future.terminate()
    assert wait([future]).done == {future} == set(as_completed([future]))
    assert isinstance(future, _core.Future)
    assert exe.submit(functions.append_line, counted.path, text="a").result() == "a"
    assert counted.count == 2 and len(files(folder)) == 2


def test_a_hit_needs_no_worker(folder, monkeypatch):
    with SingleNodeExecutor(max_workers=1, cache_directory=folder) as exe:
        exe.submit(functions.add, 1, 2).result()
    with SingleNodeExecutor(max_workers=1, cache_directory=folder) as exe:
        before = support.descendants(os.getpid())
        assert exe.submit(functions.add, 1, 2).result() == 3
        assert set(support.descendants(os.getpid())) <= set(before)


@pytest.mark.parametrize(
    "value", [None, "text", [1, {"a": (2.5, b"x")}], b"x" * 300_000], ids=["None", "str", "list", "large"]
)
def test_values(make, folder, value):
    for _ in range(2):
        assert make(cache_directory=folder).submit(functions.identity, value).result() == value


def test_arrays_are_the_callers_own(make, folder):
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(200_000.0)
    results = [make(cache_directory=folder).submit(functions.identity, array).result() for _ in range(3)]
    for result in results:
        assert (result == array).all()
        result += 1
    assert len(files(folder)) == 1


def test_exceptions_are_not_kept(make, folder):
    exe = make(cache_directory=folder)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError) as caught:
            exe.submit(functions.divide, 1, 0).result()
        assert "functions.py" in str(caught.value.__cause__)
        assert "_cache" not in str(caught.value.__cause__)
    assert files(folder) == []


def test_equal_calls_in_flight_are_computed_once(make, folder, gate, counted):
    exe = make(cache_directory=folder)
    futures = [gate.submit(exe, [counted.path]) for _ in range(3)]
    assert len(exe) == 3
    gate.arrival()
    assert not any(future.done() for future in futures)
    gate.open()
    results = [future.result(timeout=support.SOON) for future in futures]
    assert results == [[counted.path]] * 3
    assert len({id(result) for result in results}) == 3
    assert len(files(folder)) == 1
    with pytest.raises(TimeoutError):
        gate.arrival(timeout=0)


def test_giving_up_one_of_two_equal_calls_leaves_the_other(make, folder, gate):
    exe = make(cache_directory=folder)
    first, second, third = (gate.submit(exe, 1) for _ in range(3))
    gate.arrival()
    assert second.cancel() and second.cancelled()
    assert first.terminate()
    gate.arrival()
    gate.open()
    assert third.result(timeout=support.SOON) == 1
    with pytest.raises(ExecutorlibSocketError):
        first.result()


def test_equal_calls_that_fail_all_fail(make, folder, gate):
    exe = make(cache_directory=folder)
    blocker = [gate.submit(exe, number) for number in range(2)]
    futures = [exe.submit(functions.divide, 1, 0) for _ in range(2)]
    gate.open()
    for future in futures:
        with pytest.raises(ZeroDivisionError):
            future.result(timeout=support.SOON)
    assert [future.result() for future in blocker] == [0, 1]


def test_submitting_equal_calls_from_many_threads(make, folder, counted):
    exe = make(cache_directory=folder)
    results = []

    def submit():
        results.append(exe.submit(functions.append_line, counted.path, "a").result(timeout=support.SOON))

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["a"] * 8 and counted.count == 1


def test_futures_as_arguments(make, folder, gate, counted):
    for turn in range(2):
        exe = make(cache_directory=folder)
        text = gate.submit(exe, "text")
        consumer = exe.submit(functions.append_line, counted.path, text=text)
        nested = exe.submit(functions.echo, [text, {"a": text}], (text,), "text", key=text)
        assert consumer.done() == (turn == 1)
        gate.open()
        assert consumer.result(timeout=support.SOON) == "text"
        assert nested.result(timeout=support.SOON) == ((["text", {"a": "text"}], ("text",), "text"), {"key": "text"})
    assert counted.count == 1
    # A future in a tuple is found by a worker only: by the key that the worker makes of it.
    assert len(files(folder)) == 3


def test_a_call_that_awaits_its_arguments_looks_before_it_computes(make, folder, gate, counted):
    make(cache_directory=folder).submit(functions.append_line, counted.path, "text").result()
    exe = make(cache_directory=folder)
    consumer = exe.submit(functions.append_line, counted.path, gate.submit(exe, "text"))
    gate.open()
    assert consumer.result(timeout=support.SOON) == "text"
    assert counted.count == 1


def test_failed_and_cancelled_arguments(make, folder):
    exe = make(cache_directory=folder)
    failed = exe.submit(functions.divide, 1, 0)
    with pytest.raises(ZeroDivisionError):
        exe.submit(functions.add, failed, 1).result(timeout=support.SOON)
    failed.exception()
    with pytest.raises(ZeroDivisionError):
        exe.submit(functions.add, failed, 1).result(timeout=support.SOON)


def test_keys_and_directories_per_call(make, folder, tmp_path, counted):
    exe = make(cache_directory=folder)
    other = {"cache_directory": tmp_path / "other"}
    named = {"cache_key": "runs/first"}
    assert exe.submit(functions.append_line, counted.path, "a", resource_dict=named).result() == "a"
    assert exe.submit(functions.append_line, counted.path, "b", resource_dict=named).result() == "a"
    assert exe.submit(functions.append_line, counted.path, "b", resource_dict={**named, **other}).result() == "b"
    assert (folder / "runs" / "first_o.h5").exists()
    assert files(tmp_path / "other") == ["first_o.h5"]
    plain = make()
    for _ in range(2):
        assert plain.submit(functions.append_line, counted.path, "c", resource_dict=other).result() == "c"
        assert plain.submit(functions.append_line, counted.path, "d", resource_dict=named).result() == "d"
    assert counted.count == 2 + 1 + 2


def test_map_and_batched(make, folder, counted):
    for _ in range(2):
        exe = make(cache_directory=folder)
        texts = list(exe.map(functions.append_line, [counted.path] * 3, "abc"))
        assert texts == ["a", "b", "c"]
        assert list(exe.map(functions.append_line, [counted.path] * 3, "abc", chunksize=2)) == texts
        batches = exe.batched([exe.submit(functions.append_line, counted.path, text) for text in "abc"], 2)
        assert sorted(text for batch in batches for text in batch.result(timeout=support.SOON)) == texts
    assert counted.count == 3


def presets():
    return {"b": 10}


@pytest.mark.parametrize("mode", [support.Mode(True, 1)], ids=str)
def test_presets_do_not_count(make, folder):
    with pytest.warns(UserWarning, match="init_function"):
        exe = make(cache_directory=folder, init_function=presets)
    assert exe.submit(functions.add, 1).result() == 11
    assert [entry["input_kwargs"] for entry in get_cache_data(folder)] == [{}]
    assert exe.submit(functions.add, 1).done()


def test_without_futures_as_arguments(make, folder, gate):
    exe = make(cache_directory=folder, disable_dependencies=True)
    assert exe.submit(functions.add, [1], [1]).result() == [1, 1]
    assert exe.submit(functions.add, [1], [1]).done()
    pending = gate.submit(exe)
    with pytest.raises(ValueError, match="disable_dependencies"):
        exe.submit(functions.add, pending, 1)
    gate.open()


def test_after_shutdown(make, folder):
    exe = make(cache_directory=folder)
    exe.submit(functions.add, 1, 2).result()
    exe.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        exe.submit(functions.add, 1, 2)


def test_shutdown_ends_all_calls(make, folder, gate):
    exe = make(cache_directory=folder)
    futures = [gate.submit(exe, 1) for _ in range(3)]
    gate.arrival()
    gate.open()
    exe.shutdown()
    assert [future.result(timeout=0) for future in futures] == [1, 1, 1]


def test_shutdown_cancels_all_calls(make, folder, mode, gate):
    exe = make(cache_directory=folder)
    running = [gate.submit(exe, number) for number in range(mode.workers)]
    gate.arrivals(mode.workers)
    waiting = [gate.submit(exe, "waits") for _ in range(3)]
    exe.shutdown(wait=False, cancel_futures=True)
    gate.open()
    assert [future.result(timeout=support.SOON) for future in running] == list(range(mode.workers))
    assert all(future.cancelled() for future in waiting)


def test_what_get_cache_data_tells(make, folder, tmp_path):
    exe = make(cache_directory=folder, resource_dict={"cwd": str(tmp_path)})
    exe.submit(functions.add, 1, b=2).result()
    exe.submit(functions.add, 3, 4, resource_dict={"cache_key": "runs/first"}).result()
    entries = {entry["output"]: entry for entry in get_cache_data(folder)}
    assert list(entries) == [3, 7]
    assert list(entries[3]) == [
        "function", "input_args", "input_kwargs", "output", "resource_dict", "runtime", "filename",
    ]  # fmt: skip
    assert entries[3]["function"] is functions.add
    assert (entries[3]["input_args"], entries[3]["input_kwargs"]) == ((1,), {"b": 2})
    assert entries[3]["resource_dict"] == {"cwd": str(tmp_path)}
    assert 0 <= entries[3]["runtime"] < support.SOON
    assert entries[7]["filename"] == str(folder / "runs" / "first_o.h5")
    assert get_cache_data(tmp_path / "missing") == []


def test_get_cache_data_leaves_out_what_is_damaged(make, folder):
    make(cache_directory=folder).submit(functions.add, 1, 2).result()
    (folder / "damaged_o.h5").write_bytes(b"")
    with pytest.warns(UserWarning, match="damaged_o.h5.*empty"):
        assert [entry["output"] for entry in get_cache_data(folder)] == [3]


def test_get_future_from_cache(make, folder):
    import cloudpickle

    make(cache_directory=folder).submit(functions.add, 1, 2, resource_dict={"cache_key": "sum"}).result()
    assert get_future_from_cache(folder, "sum").result() == 3
    with pytest.raises(FileNotFoundError):
        get_future_from_cache(folder, "missing")
    _store.write(folder / "failed_o.h5", {"error": cloudpickle.dumps(KeyError("a"))})
    with pytest.raises(KeyError):
        get_future_from_cache(folder, "failed")
    _store.write(folder / "job_i.h5", {"function": cloudpickle.dumps(functions.add)})
    future = get_future_from_cache(folder, "job")
    assert not future.done()
    _store.write(folder / "job_o.h5", {"output": cloudpickle.dumps(5)})
    assert future.result(timeout=support.SOON) == 5


def test_a_cached_error_is_not_a_value(make, folder):
    import cloudpickle

    _store.write(_made(folder) / "key_o.h5", {"error": cloudpickle.dumps(KeyError("a"))})
    exe = make(cache_directory=folder)
    assert exe.submit(functions.add, 1, 2, resource_dict={"cache_key": "key"}).result() == 3
    assert exe.submit(functions.add, 1, 2, resource_dict={"cache_key": "key"}).done()


def _made(folder):
    folder.mkdir()
    return folder


SCRIPT = """
    import sys
    from executorlib import SingleNodeExecutor

    class Scale:
        def __init__(self, factor):
            self.factor = factor
        def __call__(self, value, offset=0):
            "Scaled."
            return value * self.factor + offset

    def add(a, b: int = 2, *, name="c") -> int:
        "The sum."
        import math
        return math.floor(a + b)

    if __name__ == "__main__":
        block, version = sys.argv[1] == "block", int(sys.argv[2])
        resources = {"cache_key_version": version}
        with SingleNodeExecutor(1, "cache", resource_dict=resources, block_allocation=block) as exe:
            first = exe.submit(add, 1, b=3)
            second = exe.submit(add, first, name="a")
            third = exe.submit(lambda a, b: [a, b], second, b=[first])
            futures = [first, second, third]
            print(sum(future.done() for future in futures), [future.result() for future in futures])
"""


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("block", [True, False], ids=["block", "per_call"])
def test_functions_of_the_main_program_hit_in_its_next_run(tmp_path, block, version):
    """Also those whose arguments were awaited in the first run: worker and driver agree on the key."""
    for expected in ("0 [4, 6, [6, [4]]]", "3 [4, 6, [6, [4]]]"):
        done = support.run_script(tmp_path, SCRIPT, "block" if block else "per_call", version)
        assert done.stderr == ""
        assert done.stdout.strip() == expected


@support.needs_mpi
@pytest.mark.parametrize("mode", [support.Mode(True, 1), support.Mode(False, 1)], ids=str)
def test_mpi_ranks(make, folder):
    import mpi_functions

    resources = {"cores": 2}
    for turn in range(2):
        exe = make(cache_directory=folder, resource_dict=resources)
        future = exe.submit(mpi_functions.whoami)
        assert future.done() == (turn == 1)
        assert future.result(timeout=support.SOON) == [(0, 2), (1, 2)]
    entry = get_cache_data(folder)[0]
    assert entry["output"] == [(0, 2), (1, 2)] and entry["resource_dict"] == resources


def test_no_warnings_in_good_times(make, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            exe = make(cache_directory=folder)
            assert exe.submit(functions.add, 1, 2).result() == 3
