"""Large numbers: memory stays flat, descriptors stay few, big arguments are not copied."""

import functions
import pytest
from support import SOON, resident_kib, run_script

MIB = 1024


def submit_and_drop(exe, count):
    for number in range(count):
        assert exe.submit(functions.identity, number).result(timeout=SOON) == number


@pytest.mark.memory
def test_memory_is_flat_over_many_calls(exe, mode):
    rounds = 2000 if mode.block else 100
    submit_and_drop(exe, rounds)
    before = resident_kib()
    submit_and_drop(exe, 2 * rounds)
    assert resident_kib() - before < 4 * MIB


@pytest.mark.memory
def test_memory_is_flat_over_arrays(exe, mode):
    numpy = pytest.importorskip("numpy")
    values = numpy.zeros(1 << 18)

    def round_trips(count):
        for _ in range(count):
            exe.submit(functions.identity, values).result(timeout=SOON)

    round_trips(20)
    before = resident_kib()
    round_trips(100)
    assert resident_kib() - before < 16 * MIB


@pytest.mark.memory
def test_memory_is_flat_over_failing_calls(exe, mode):
    def failures(count):
        for _ in range(count):
            assert exe.submit(functions.divide, 1, 0).exception(timeout=SOON) is not None

    count = 400 if mode.block else 40
    failures(count)
    before = resident_kib()
    failures(2 * count)
    assert resident_kib() - before < 4 * MIB


@pytest.mark.memory
def test_memory_is_flat_over_observed_futures(exe, mode):
    import concurrent.futures

    def waits(count):
        for _ in range(count):
            concurrent.futures.wait([exe.submit(functions.identity, 1) for _ in range(10)], timeout=SOON)

    count = 100 if mode.block else 8
    waits(count)
    before = resident_kib()
    waits(2 * count)
    assert resident_kib() - before < 4 * MIB


def test_pending_calls_on_one_large_array_do_not_copy_it(exe, mode, gate):
    numpy = pytest.importorskip("numpy")
    for _ in range(mode.workers):
        gate.submit(exe)
    gate.arrivals(mode.workers)
    values = numpy.zeros(64 << 17)
    exe.submit(len, values)
    before = resident_kib()
    futures = [exe.submit(len, values) for _ in range(10_000)]
    assert resident_kib() - before < 200 * MIB
    for future in futures[10:]:
        assert future.cancel()
    gate.open()
    assert [future.result(timeout=SOON) for future in futures[:10]] == [64 << 17] * 10


@pytest.mark.memory
def test_many_pending_calls_are_small(exe, mode, gate):
    for _ in range(mode.workers):
        gate.submit(exe)
    gate.arrivals(mode.workers)
    count = 50_000
    [exe.submit(functions.identity, 1) for _ in range(100)]
    before = resident_kib()
    futures = [exe.submit(functions.identity, 1) for _ in range(count)]
    assert (resident_kib() - before) / count * 1024 < 1536, "bytes per pending call"
    exe.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in futures)


def test_held_results_do_not_hold_descriptors(tmp_path, mode):
    result = run_script(
        tmp_path,
        f"""
        import os, resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
        from executorlib import SingleNodeExecutor
        from functions import identity
        with SingleNodeExecutor(max_workers={mode.workers}, block_allocation={mode.block}) as exe:
            payloads = [exe.submit(bytearray, 2 << 20) for _ in range(300)]
            lengths = {{len(future.result()) for future in payloads}}
            arrived = exe.submit(lambda values: sum(map(len, values)), payloads[:200]).result()
        print(lengths == {{2 << 20}}, arrived == 200 * (2 << 20))
        """,
    )
    assert result.stderr == "" and result.stdout == "True True\n"


def test_untouched_results_do_not_hold_descriptors(tmp_path, mode):
    """Results that nobody has unpickled yet are still the engine's."""
    result = run_script(
        tmp_path,
        f"""
        import concurrent.futures, os, resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
        from executorlib import SingleNodeExecutor
        exe = SingleNodeExecutor(max_workers={mode.workers}, block_allocation={mode.block})
        futures = [exe.submit(bytearray, 2 << 20) for _ in range(300)]
        exe.shutdown()
        print(len(os.listdir("/proc/self/fd")) < 128, all(future.done() for future in futures))
        print({{len(future.result()) for future in futures}} == {{2 << 20}})
        """,
    )
    assert result.stderr == "" and result.stdout.split() == ["True"] * 3


def test_the_limit_of_processes_is_not_reached(make, mode):
    """Many calls in processes of their own leave no zombie behind while they go on."""
    exe = make()
    for _ in range(100):
        exe.submit(functions.identity, 1).result(timeout=SOON)
    import os

    from support import children, is_zombie

    assert not any(is_zombie(pid) for pid in children(os.getpid()))
