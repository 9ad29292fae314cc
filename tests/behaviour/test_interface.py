"""What an executor tells about itself, and how it is shut down."""

import concurrent.futures

import functions
import pytest
from support import SOON

from executorlib import BaseExecutor, SingleNodeExecutor


def test_classes():
    assert issubclass(SingleNodeExecutor, BaseExecutor)
    assert issubclass(BaseExecutor, concurrent.futures.Executor)


def test_truth_and_length(exe, mode, gate):
    assert bool(exe) is True
    assert len(exe) == 0
    for _ in range(mode.workers):
        gate.submit(exe)
    gate.arrivals(mode.workers)
    first = exe.submit(functions.identity, 1)
    exe.submit(functions.identity, first)
    assert len(exe) == mode.workers + 2
    assert bool(exe) is True
    gate.open()
    exe.shutdown()
    assert len(exe) == 0 and bool(exe) is True


def test_length_counts_down_with_the_results(exe):
    futures = [exe.submit(functions.identity, n) for n in range(10)]
    for future in futures:
        future.result(timeout=SOON)
    assert len(exe) == 0


def test_info(make, mode, tmp_path):
    exe = make(resource_dict={"cwd": str(tmp_path)}, log_obj_size=False)
    info = exe.info
    expected = {
        "cores": 1,
        "cwd": str(tmp_path),
        "openmpi_oversubscribe": False,
        "cache_directory": None,
        "hostname_localhost": None,
        "log_obj_size": False,
        "max_workers": mode.workers,
    }
    assert {key: info.get(key, "missing") for key in expected} == expected
    exe.shutdown()
    assert exe.info is None


def test_max_workers_as_other_packages_read_it(exe, mode):
    assert exe._max_workers == mode.workers


def test_max_workers_without_limits():
    with SingleNodeExecutor() as exe:
        assert isinstance(exe._max_workers, int) and exe._max_workers >= 1


def test_submit_after_shutdown(exe):
    exe.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        exe.submit(functions.identity, 1)


def test_submit_after_with(make):
    with make() as exe:
        future = exe.submit(functions.identity, 1)
    assert future.done() and future.result() == 1
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        exe.submit(functions.identity, 1)


def test_shutdown_is_idempotent(exe):
    future = exe.submit(functions.identity, 1)
    for wait in (True, False, True):
        exe.shutdown(wait=wait)
    assert future.result(timeout=SOON) == 1


def test_shutdown_takes_cancel_futures_by_keyword_only(exe):
    with pytest.raises(TypeError):
        exe.shutdown(True, True)


def test_shutdown_completes_pending_calls(exe):
    futures = [exe.submit(functions.identity, n) for n in range(20)]
    exe.shutdown()
    assert all(future.done() for future in futures)
    assert [future.result() for future in futures] == list(range(20))


def test_shutdown_without_waiting(exe, mode, gate):
    held = [gate.submit(exe, n) for n in range(mode.workers)]
    gate.arrivals(mode.workers)
    pending = exe.submit(functions.identity, "pending")
    exe.shutdown(wait=False)
    assert not any(future.done() for future in held)
    gate.open()
    assert pending.result(timeout=SOON) == "pending"
    assert [future.result(timeout=SOON) for future in held] == list(range(mode.workers))


def test_shutdown_cancels_what_has_not_started(exe, mode, gate):
    held = [gate.submit(exe, n) for n in range(mode.workers)]
    gate.arrivals(mode.workers)
    pending = [exe.submit(functions.identity, n) for n in range(5)]
    pending.append(exe.submit(functions.identity, pending[0]))
    exe.shutdown(wait=False, cancel_futures=True)
    done, _ = concurrent.futures.wait(pending, timeout=SOON)
    assert done == set(pending) and all(future.cancelled() for future in pending)
    gate.open()
    exe.shutdown(wait=True)
    assert [future.result() for future in held] == list(range(mode.workers))


def test_shutdown_of_an_unused_executor(make):
    make().shutdown()
    with make():
        pass


def test_leaving_with_an_exception_still_completes_pending_calls(make):
    futures = []
    with pytest.raises(LookupError), make() as exe:
        futures += [exe.submit(functions.identity, n) for n in range(5)]
        raise LookupError
    assert [future.result(timeout=0) for future in futures] == list(range(5))


def test_two_executors_do_not_mix(make):
    first, second = make(), make()
    a = [first.submit(functions.identity, ("first", n)) for n in range(10)]
    b = [second.submit(functions.identity, ("second", n)) for n in range(10)]
    first.shutdown()
    assert [future.result(timeout=SOON) for future in a] == [("first", n) for n in range(10)]
    assert [future.result(timeout=SOON) for future in b] == [("second", n) for n in range(10)]


def test_many_executors_one_after_the_other(mode):
    for number in range(20):
        with SingleNodeExecutor(**mode.arguments()) as exe:
            assert exe.submit(functions.identity, number).result(timeout=SOON) == number


def test_the_callers_dictionary_is_not_touched(make):
    resources = {"cores": 1}
    first, second = make(resource_dict=resources), make(resource_dict=resources)
    assert first.submit(functions.identity, 1, resource_dict={}).result(timeout=SOON) == 1
    assert second.submit(functions.identity, 2, resource_dict=None).result(timeout=SOON) == 2
    assert resources == {"cores": 1}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"resource_dict": {"bogus": 1}}, ValueError),
        ({"resource_dict": {"bogus": 1}}, TypeError),
        ({"resource_dict": {"cores": 0}}, ValueError),
        ({"resource_dict": {"cores": -1}}, ValueError),
        ({"resource_dict": {"cores": "1"}}, (TypeError, ValueError)),
        ({"resource_dict": {"threads_per_core": 0}}, ValueError),
        ({"max_workers": 0}, ValueError),
        ({"max_workers": -1}, ValueError),
        ({"max_workers": None, "max_cores": 0}, ValueError),
        ({"wait": False}, ValueError),
        ({"disable_dependencies": True, "refresh_rate": 1.0}, ValueError),
        ({"disable_dependencies": True, "plot_dependency_graph": True}, ValueError),
    ],
    ids=str,
)
def test_bad_arguments_of_the_constructor(mode, arguments, error):
    with pytest.raises(error):
        SingleNodeExecutor(**{**mode.arguments(), **arguments})


def test_bad_resources_of_a_call(exe):
    for resources in ({"bogus": 1}, {"cores": 0}, {"cores": -1}, {"threads_per_core": 0}):
        with pytest.raises(ValueError):
            exe.submit(functions.identity, 1, resource_dict=resources)
    assert len(exe) == 0
    assert exe.submit(functions.identity, 1).result(timeout=SOON) == 1


def test_a_function_with_a_parameter_named_resource_dict(exe):
    def function(resource_dict):
        return resource_dict

    with pytest.raises(ValueError, match="resource_dict"):
        exe.submit(function, 1)


def test_what_a_persistent_worker_cannot_satisfy(make, mode):
    if not mode.block:
        pytest.skip("only persistent workers have fixed resources")
    exe = make()
    with pytest.raises(ValueError):
        exe.submit(functions.identity, 1, resource_dict={"threads_per_core": 2})
    assert exe.submit(functions.identity, 1, resource_dict={"cores": 1, "priority": 5}).result(timeout=SOON) == 1


def test_wider_than_max_cores(mode):
    if mode.block:
        pytest.skip("persistent workers have fixed resources")
    with SingleNodeExecutor(max_cores=2) as exe:
        for resources in ({"cores": 3}, {"threads_per_core": 3}, {"cores": 2, "threads_per_core": 2}):
            with pytest.raises(ValueError):
                exe.submit(functions.identity, 1, resource_dict=resources)
        assert exe.submit(functions.identity, 1, resource_dict={"threads_per_core": 2}).result(timeout=SOON) == 1
