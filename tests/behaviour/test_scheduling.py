"""Which call runs when: cores, width, priority."""

import time

import functions
import pytest
from support import SOON

from executorlib import SingleNodeExecutor

WIDE = {"threads_per_core": 2}


@pytest.fixture
def two_cores():
    with SingleNodeExecutor(max_cores=2) as exe:
        yield exe


@pytest.fixture
def held(two_cores, make_gate):
    """One core of two is taken until the gate opens."""
    gate = make_gate()
    gate.submit(two_cores)
    gate.arrival()
    yield gate
    gate.open()


def test_narrow_calls_fill_the_gap_before_a_wide_one(two_cores, held):
    wide = two_cores.submit(functions.identity, "wide", resource_dict=WIDE)
    narrow = two_cores.submit(functions.identity, "narrow")
    assert narrow.result(timeout=SOON) == "narrow"
    assert not wide.done()
    held.open()
    assert wide.result(timeout=SOON) == "wide"


def arrives(gate, timeout):
    try:
        gate.arrival(timeout)
    except TimeoutError:
        return False
    return True


def test_narrow_calls_do_not_starve_a_wide_one(two_cores, held, make_gate):
    """Narrow calls overlap, so that two free cores never come about by chance."""
    wide = two_cores.submit(functions.identity, "wide", resource_dict=WIDE)
    current, deadline = held, time.monotonic() + SOON
    while not wide.done():
        following = make_gate()
        following.submit(two_cores)
        started = arrives(following, 0.05)
        current.open()
        # One that has not started beside the current one is held back for the wide call, or merely slow.
        while not started and not wide.done():
            started = arrives(following, 0.05)
            assert time.monotonic() < deadline, "the wide call starved"
        assert time.monotonic() < deadline, "the wide call starved"
        current = following
    current.open()


def test_a_wide_call_does_not_starve_narrow_ones(two_cores, make_gate):
    gates = [make_gate() for _ in range(5)]
    for gate in gates:
        gate.submit(two_cores, resource_dict=WIDE)
    narrow = two_cores.submit(functions.identity, "narrow")
    for gate in gates:
        gate.arrival()
        gate.open()
    assert narrow.result(timeout=SOON) == "narrow"


def test_cores_are_counted_with_threads(two_cores, tmp_path):
    log = str(tmp_path / "log")
    futures = [two_cores.submit(functions.record_span, log, n, resource_dict=WIDE) for n in range(8)]
    for future in futures:
        future.result(timeout=SOON)
    assert open(log).read().splitlines() == [f"{word} {n}" for n in range(8) for word in ("start", "end")]


def test_two_narrow_calls_run_beside_each_other(two_cores, held):
    assert held.submit(two_cores) is not None
    assert held.arrival()


def test_a_call_wider_than_the_machine_runs_alone(tmp_path):
    log = str(tmp_path / "log")
    with SingleNodeExecutor() as exe:
        wide = {"threads_per_core": 1000}
        futures = [exe.submit(functions.record_span, log, n, resource_dict=wide if n % 2 else None) for n in range(6)]
        for future in futures:
            future.result(timeout=SOON)
    lines = open(log).read().splitlines()
    for n in (1, 3, 5):
        start = lines.index(f"start {n}")
        assert lines[start + 1] == f"end {n}"


def test_priority_then_order(make, gate, tmp_path):
    exe = make(max_workers=1)
    gate.submit(exe)
    gate.arrival()
    log = str(tmp_path / "log")
    for name, priority in (("a", 0), ("b", 5), ("c", 10), ("d", 5), ("e", 0)):
        exe.submit(functions.append_line, log, name, resource_dict={"priority": priority})
    gate.open()
    exe.shutdown()
    assert open(log).read().split() == ["c", "b", "d", "a", "e"]


def test_equal_calls_run_in_the_order_of_submission(make, tmp_path):
    log = str(tmp_path / "log")
    with make(max_workers=1) as exe:
        for n in range(50):
            exe.submit(functions.append_line, log, n)
    assert open(log).read().split() == [str(n) for n in range(50)]


def test_short_calls_do_not_wait_behind_a_long_one(make, mode, gate):
    if mode.workers < 2:
        pytest.skip("one worker has nobody beside it")
    exe = make()
    count = 1000 if mode.block else 200
    long = gate.submit(exe)
    gate.arrival()
    futures = [exe.submit(functions.identity, n) for n in range(count)]
    assert [future.result(timeout=SOON) for future in futures] == list(range(count))
    assert not long.done()


def test_short_calls_submitted_before_and_after_a_long_one(make, mode, gate):
    """What has been sent ahead to a worker must not wait there for the long call before it."""
    if mode.workers < 2:
        pytest.skip("one worker has nobody beside it")
    exe = make()
    before = [exe.submit(functions.identity, n) for n in range(50)]
    long = gate.submit(exe)
    after = [exe.submit(functions.identity, n) for n in range(50)]
    for future in before + after:
        future.result(timeout=SOON)
    assert not long.done()
    gate.open()
    long.result(timeout=SOON)


def test_items_of_a_map_do_not_wait_behind_a_long_one(make, mode, make_gate):
    if mode.workers < 2:
        pytest.skip("one worker has nobody beside it")
    gate, others = make_gate(), make_gate()

    def item(n, long, short):
        functions.pass_gate(long) if n == 0 else functions.announce(short, n)
        return n

    with make() as exe:
        results = exe.map(item, range(40), [gate.folder] * 40, [others.folder] * 40)
        gate.arrival()
        assert sorted(others.arrivals(39)) == list(range(1, 40))
        gate.open()
        assert list(results) == list(range(40))


def test_a_ready_call_overtakes_one_that_waits_for_its_argument(make, make_gate):
    gate = make_gate()
    exe, other = make(max_workers=1), make(max_workers=1)
    source = gate.submit(other)
    waiting = exe.submit(functions.identity, source)
    assert exe.submit(functions.identity, "ready").result(timeout=SOON) == "ready"
    assert not waiting.done()
    gate.open()
    assert waiting.result(timeout=SOON) is None
