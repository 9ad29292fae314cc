"""One script, all executors: what becomes of calls.

Each test submits everything before it waits, since a batch job takes a while to start.
"""

import asyncio
import concurrent.futures
import functools
import itertools
import os
import pickle
import threading
from concurrent.futures import ALL_COMPLETED, FIRST_EXCEPTION, Future

import functions
import pytest
from beds.waiting import until
from support import SOON

from executorlib import BaseExecutor, get_item_from_future, split_future
from executorlib.api import ExecutorlibSocketError, ResourceError

pytestmark = pytest.mark.timeout(120)
#: For a round of batch jobs on a loaded machine.
LONG = 3 * SOON


def value_of(future):
    return future.result(timeout=LONG)


def values_of(futures):
    return [value_of(future) for future in futures]


def test_class(exe, kind):
    assert type(exe).__name__ == kind.name
    assert isinstance(exe, BaseExecutor) and isinstance(exe, concurrent.futures.Executor)
    assert bool(exe) is True


def test_any_callable_with_any_arguments(exe):
    base = 10

    def closure(x):
        return x + base

    futures = [
        exe.submit(functions.add, 1, b=2),
        exe.submit(functions.echo, 1, self=2, fn=3, args=4, kwargs=5),
        exe.submit(lambda x: x * base, 2),
        exe.submit(closure, 1),
        exe.submit(functools.partial(functions.add, b=5), 1),
        exe.submit("a-b".split, "-"),
        exe.submit(functions.Box, 3),
        exe.submit(functions.identity, None),
    ]
    assert all(isinstance(future, Future) for future in futures)
    *found, box, nothing = values_of(futures)
    assert found == [3, ((1,), {"self": 2, "fn": 3, "args": 4, "kwargs": 5}), 20, 11, 6, ["a", "b"]]
    assert box.content == 3 and nothing is None
    for future in futures:
        assert future.done() and not future.running() and not future.cancelled() and not future.cancel()
        assert future.exception() is None
    with pytest.raises(TypeError):
        exe.submit(fn=functions.identity, value=1)
    with pytest.raises(TypeError):
        exe.submit(3)
    with pytest.raises(ValueError, match="resource_dict"):
        exe.submit(lambda resource_dict: resource_dict, 1)


def test_futures_as_arguments(exe):
    one, two = exe.submit(functions.identity, 1), exe.submit(functions.identity, 2)
    three = exe.submit(functions.add, one, b=two)
    nested = exe.submit(functions.nested_total, [one, {"x": (two, [three])}])
    inside = exe.submit(functions.point_sum, functions.Point(one, two))
    chain = one
    for _ in range(2):
        chain = exe.submit(functions.add, chain, 1)
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        others = exe.submit(functions.add, threads.submit(functions.identity, 5), one)
        assert values_of([three, nested, inside, chain, others]) == [3, 6, 3, 3, 6]


def test_items_of_futures(exe):
    both = exe.submit(functions.quotient_and_remainder, 17, 5)
    quotient, remainder = get_item_from_future(both, "quotient"), get_item_from_future(both, "remainder")
    first, second = split_future(exe.submit(divmod, 17, 3), 2)
    total = exe.submit(functions.total, [quotient, remainder, first, second])
    missing = get_item_from_future(both, "nothing")
    assert value_of(total) == 3 + 2 + 5 + 2
    assert set(concurrent.futures.as_completed([quotient, remainder], timeout=LONG)) == {quotient, remainder}
    assert values_of([quotient, remainder, first, second]) == [3, 2, 5, 2]
    with pytest.raises(KeyError):
        missing.result(timeout=LONG)


def test_map(exe):
    several = exe.map(functions.add, [1, 2], [10, 20])
    chunked = exe.map(functions.square, range(3), chunksize=2)
    of_futures = exe.map(functions.square, [exe.submit(functions.identity, 3), 4])
    endless = exe.map(functions.square, itertools.count(), buffersize=2)
    whole = exe.submit(list, range(2))
    failing = exe.map(functions.divide, [4, 1], [2, 0])
    assert list(several) == [11, 22]
    assert list(itertools.islice(endless, 4)) == [0, 1, 4, 9]
    endless.close()
    assert list(chunked) == [0, 1, 4]
    assert list(of_futures) == [9, 16]
    assert list(exe.map(functions.square, whole)) == [0, 1]
    assert list(exe.map(functions.square, [])) == []
    assert next(failing) == 2
    with pytest.raises(ZeroDivisionError):
        next(failing)
    with pytest.raises(ValueError, match="chunksize"):
        exe.map(functions.square, [1], chunksize=0)


def test_batched(exe):
    futures = [exe.submit(functions.divide, 6, i) for i in (1, 2, 0, 3)]
    batches = exe.batched(futures, n=2)
    assert len(batches) == 2
    assert sorted(value for batch in values_of(batches) for value in batch) == [2, 3, 6]


def test_exceptions(exe):
    failed = exe.submit(functions.divide, 1, 0)
    picky = exe.submit(functions.crash, "picky exception")
    dependent = exe.submit(functions.add, failed, 1)
    good = exe.submit(functions.add, 1, 1)
    error = failed.exception(timeout=LONG)
    assert type(error) is ZeroDivisionError and failed.exception() is error
    assert "in divide" in str(error.__cause__) and "return a / b" in str(error.__cause__)
    with pytest.raises(ZeroDivisionError):
        dependent.result(timeout=LONG)
    with pytest.raises(functions.Picky) as caught:
        picky.result(timeout=LONG)
    assert (caught.value.code, caught.value.reason) == (3, "does not round-trip")
    assert value_of(good) == 2


def test_what_cannot_be_pickled(exe):
    back = exe.submit(threading.Lock)
    good = exe.submit(functions.add, 1, 2)
    with pytest.raises((TypeError, pickle.PicklingError), match=r"pickle.* argument 0 of identity\(\)"):
        exe.submit(functions.identity, threading.Lock()).result(timeout=LONG)
    with pytest.raises((TypeError, pickle.PicklingError), match=r"pickle.* that \w+\(\) returned"):
        back.result(timeout=LONG)
    assert value_of(good) == 3
    with pytest.raises(TypeError, match="executor"):
        pickle.dumps(exe)


def test_a_lost_call(exe):
    lost, good = exe.submit(functions.crash, "os._exit"), exe.submit(functions.add, 1, 3)
    with pytest.raises(ExecutorlibSocketError, match="status 7"):
        lost.result(timeout=LONG)
    assert value_of(good) == 4


def test_watching_futures(exe):
    futures = [exe.submit(functions.divide, 6, i) for i in (1, 2, 3)]
    told = []
    for future in futures:
        future.add_done_callback(told.append)
    assert {value_of(future) for future in concurrent.futures.as_completed(futures, timeout=LONG)} == {6, 3, 2}
    assert concurrent.futures.wait(futures, timeout=LONG, return_when=ALL_COMPLETED).not_done == set()
    assert sorted(map(id, told)) == sorted(map(id, futures))
    more = [exe.submit(functions.divide, 6, i) for i in (0, 4)]
    assert more[0] in concurrent.futures.wait(more, timeout=LONG, return_when=FIRST_EXCEPTION).done

    async def gather():
        return await asyncio.gather(asyncio.wrap_future(more[1]), asyncio.wrap_future(futures[0]))

    assert asyncio.run(asyncio.wait_for(gather(), LONG)) == [1.5, 6]


def test_from_many_threads(exe):
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        futures = list(threads.map(lambda i: exe.submit(functions.square, i), range(4)))
    assert values_of(futures) == [i * i for i in range(4)]


def test_large_arrays(exe):
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(1 << 19, dtype=float)
    plus_one = exe.submit(functions.add_one_in_place, array)
    plus_two = exe.submit(functions.add_one_in_place, plus_one)
    assert (value_of(plus_two) == array + 2).all()
    assert (value_of(plus_one) == array + 1).all()


def test_environment_and_output(exe, kind, tmp_path, monkeypatch):
    resources = {
        "cwd": tmp_path / "new" / "place", "stdout_file": "out.txt", "stderr_file": "err.txt",
        "error_log_file": "errors.txt",
    }  # fmt: skip
    per_call = {} if kind.block else {"resource_dict": resources}
    monkeypatch.setenv("SET_BEFORE_SUBMIT", "yes")
    place = exe.submit(functions.working_directory, **per_call)
    said = exe.submit(functions.write_everywhere, "heard", **per_call)
    failed = exe.submit(functions.divide, 2, 0, **per_call)
    seen = exe.submit(functions.environment, "SET_BEFORE_SUBMIT", "OMP_NUM_THREADS")
    assert isinstance(failed.exception(timeout=LONG), ZeroDivisionError)
    assert value_of(said) is None
    if kind.block:
        return  # persistent workers are what the executor was made with
    assert value_of(seen)["SET_BEFORE_SUBMIT"] == "yes"
    assert value_of(place) == str(tmp_path / "new" / "place")
    folder = tmp_path / "new" / "place"
    assert set((folder / "out.txt").read_text().split("\n")) >= {"print heard", "write heard", "child heard"}
    assert "error heard" in (folder / "err.txt").read_text()
    assert "ZeroDivisionError" in (folder / "errors.txt").read_text()


def test_forms_of_resources(exe, kind):
    numpy = pytest.importorskip("numpy")
    resources = {"cores": numpy.int64(1), "priority": 3}
    futures = [exe.submit(functions.identity, i, resource_dict=form) for i, form in enumerate(({}, None, resources))]
    if not kind.block:
        futures.append(
            exe.submit(lambda: int(os.environ["OMP_NUM_THREADS"]) + 1, resource_dict={"threads_per_core": 2})
        )
    assert values_of(futures) == list(range(len(futures)))
    assert resources == {"cores": 1, "priority": 3}
    for wrong in ({"cores": 0}, {"cores": "1"}, {"threads_per_core": 0}, {"run_time_max": -1}):
        with pytest.raises(ResourceError):
            exe.submit(functions.identity, 1, resource_dict=wrong)
    if kind.by_files:
        with pytest.warns(UserWarning, match="bogus"):
            exe.submit(functions.identity, 1, resource_dict={"bogus": 1}).cancel()
    else:
        with pytest.raises(ResourceError, match="bogus"):
            exe.submit(functions.identity, 1, resource_dict={"bogus": 1})


def test_a_call_ends_as_an_interpreter_does(exe, kind, tmp_path):
    if kind.block:
        return  # its worker stays
    exit_handler = exe.submit(functions.write_at_exit, str(tmp_path / "handler"), "ran")
    open_file = exe.submit(functions.write_without_closing, str(tmp_path / "file"), "flushed")
    values_of([exit_handler, open_file])
    until(lambda: (tmp_path / "handler").exists() and (tmp_path / "handler").read_text() == "ran", LONG, "the handler")
    until(lambda: (tmp_path / "file").read_text() == "flushed", LONG, "the end of the other call")


def test_calls_share_no_random_numbers(exe):
    # With an argument each: equal calls may be one.
    first, second = values_of([exe.submit(lambda i: functions.numpy_random_numbers(), i) for i in range(2)])
    assert not set(first) & set(second)


def test_what_an_executor_tells(exe, kind):
    assert exe.info["cores"] == 1
    assert {"cwd", "cache_directory", "openmpi_oversubscribe", "max_workers"} <= exe.info.keys()
    assert exe.max_workers == 3 == exe.info["max_workers"]
    assert exe.future_queue.qsize() == len(exe)
    if not kind.block:
        with pytest.raises(NotImplementedError, match="block_allocation"):
            exe.max_workers = 2
