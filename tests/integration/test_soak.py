"""A long mixed run: results stay right while memory, descriptors and processes stay flat."""

import os
import random
import signal
import time
from concurrent.futures import CancelledError, wait

import functions
import pytest
import support

from executorlib import SingleNodeExecutor
from executorlib.api import ExecutorlibSocketError

np = pytest.importorskip("numpy")

SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
#: Resident memory that the driver may gain after the first rounds, in KiB.
ALLOWED_GROWTH_KIB = 20 * 1024


def kill_this_worker():
    os.kill(os.getpid(), signal.SIGKILL)


def many_small(exe, rng):
    numbers = [rng.randrange(1000) for _ in range(200)]
    assert list(exe.map(functions.identity, numbers)) == numbers


def chain(exe, rng):
    future = 0
    for _ in range(50):
        future = exe.submit(functions.add, future, 1)
    assert future.result() == 50


def large_array(exe, rng):
    array = np.full(rng.randrange(1, 1 << 20), 1.0)
    assert (exe.submit(functions.add_one_in_place, array).result() == 2.0).all()
    assert (array == 1.0).all()


def failing(exe, rng):
    with pytest.raises(ZeroDivisionError):
        exe.submit(functions.divide, 1, 0).result()


def dying(exe, rng):
    with pytest.raises(ExecutorlibSocketError):
        exe.submit(kill_this_worker).result()
    assert exe.submit(functions.add, 1, 2).result() == 3


def cancelling(exe, rng):
    futures = [exe.submit(functions.identity, i) for i in range(50)]
    cancelled = {future for future in futures if rng.random() < 0.5 and future.cancel()}
    wait(futures)
    for i, future in enumerate(futures):
        if future in cancelled:
            with pytest.raises(CancelledError):
                future.result()
        else:
            assert future.result() == i


WORK = [many_small, chain, large_array, failing, dying, cancelling]


def run_round(rng):
    """All kinds of work, in any order, in both modes, each on executors of its own."""
    for arguments in ({"block_allocation": True}, {}):
        with SingleNodeExecutor(max_workers=2, **arguments) as exe:
            for work in rng.sample(WORK, len(WORK)):
                work(exe, rng)


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 120)
def test_soak():
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"\nseed {seed}")
    rng = random.Random(seed)
    for _ in range(5):
        run_round(rng)
    resident = support.resident_kib()
    descriptors = len(support.open_descriptors())
    rounds = 0
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        run_round(rng)
        rounds += 1
    growth = support.resident_kib() - resident
    print(f"{rounds} rounds, resident memory {growth:+} KiB")
    assert growth < ALLOWED_GROWTH_KIB
    assert len(support.open_descriptors()) <= descriptors
