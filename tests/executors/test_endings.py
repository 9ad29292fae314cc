"""One script, all executors: how they are made and how they end."""

import concurrent.futures
import signal

import functions
import pytest
import session_library
import support
from session_library import Client
from support import SOON

from executorlib import get_cache_data
from executorlib.api import ExecutorlibSocketError

pytestmark = pytest.mark.timeout(120)
LONG = 3 * SOON


@pytest.fixture
def gate(tmp_path):
    gate = support.Gate(tmp_path / "gate")
    yield gate
    gate.close()


def test_cancelled_calls_do_not_run(make, kind, gate):
    exe = make(workers=1)
    running = gate.submit(exe, "ran")
    gate.arrival(LONG)
    # A node is given some calls before it can begin them; these run.
    given = [] if kind.by_files else [exe.submit(functions.identity, i) for i in range(40)]
    waiting = exe.submit(functions.identity, "never")
    dependent = exe.submit(functions.add, waiting, 1)
    assert len(exe) == 3 + len(given) and not running.done()
    with pytest.raises(concurrent.futures.TimeoutError):
        running.result(timeout=0)
    assert waiting.cancel() and waiting.cancelled() and waiting.done()
    with pytest.raises(concurrent.futures.CancelledError):
        dependent.result(timeout=LONG)
    assert running.cancel() is kind.by_files
    gate.open()
    if not kind.by_files:
        assert running.result(timeout=LONG) == "ran"
        assert [future.result(timeout=LONG) for future in given] == list(range(40))


def test_leaving_completes_the_calls(make, gate):
    with pytest.raises(LookupError), make() as exe:
        futures = [exe.submit(functions.square, i) for i in range(4)]
        futures.append(exe.submit(functions.add, futures[3], 1))
        raise LookupError
    assert [future.result(timeout=0) for future in futures] == [0, 1, 4, 9, 10]
    assert exe.info is None and len(exe) == 0 and exe.max_workers is None
    for _ in range(2):
        exe.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        exe.submit(functions.identity, 1)
    with pytest.raises(TypeError):
        exe.shutdown(True, True)


def test_leaving_with_cancel(make, kind, gate):
    exe = make(workers=1)
    running = gate.submit(exe, "ran")
    gate.arrival(LONG)
    waiting = [exe.submit(functions.identity, i) for i in range(3)]
    exe.shutdown(wait=False, cancel_futures=True)
    assert concurrent.futures.wait(waiting, timeout=LONG).not_done == set()
    assert all(future.cancelled() for future in waiting)
    gate.open()
    if kind.by_files:
        assert running.cancelled()
    else:
        assert running.result(timeout=LONG) == "ran"


def test_presets(make, kind):
    def presets(executorlib_worker_id):
        return {"a": 1, "b": 2, "worker": executorlib_worker_id}

    if not kind.block:
        with pytest.raises(ValueError):
            make(init_function=presets)
        return
    exe = make(init_function=presets)
    futures = [exe.submit(functions.add), exe.submit(functions.add, b=5), exe.submit(functions.add, 7)]
    assert [future.result(timeout=LONG) for future in futures] == [3, 6, 9]
    assert exe.submit(lambda worker: worker).result(timeout=LONG) in (0, 1)


def test_a_library_that_talks_to_one_object(make, kind, tmp_path):
    folder = {"cache_directory": tmp_path / "cache"} if kind.by_files else {}
    with make(workers=2, **folder) as exe:
        client = Client(exe)
        assert client.remember(1).result(timeout=LONG) == [1]
        assert client.remember(2).result(timeout=LONG) == [1, 2]
        assert exe.submit(functions.add, 1, 2).result(timeout=LONG) == 3
        assert len(exe) == 0
        with pytest.raises(ExecutorlibSocketError, match="SIGKILL"):
            client.call(session_library.die).result(timeout=LONG)
    assert not [path for path in tmp_path.glob("cache/*.h5") if "session" in path.name]


def test_no_futures_as_arguments(make):
    exe = make(disable_dependencies=True)
    future = exe.submit(functions.identity, 1)
    with pytest.raises(ValueError, match="disable_dependencies"):
        exe.submit(functions.identity, future)
    assert [batch.result(timeout=LONG) for batch in exe.batched([future], n=2)] == [[1]]


def note_and_square(ledger, number):
    functions.append_line(ledger, str(number))
    return number * number


def test_results_are_kept(make, tmp_path):
    ledger, cache = tmp_path / "ledger", tmp_path / "kept"
    for _ in range(2):
        with make(cache_directory=cache) as exe:
            futures = [exe.submit(note_and_square, str(ledger), number) for number in (2, 3, 3)]
        assert [future.result(timeout=0) for future in futures] == [4, 9, 9]
    assert sorted(ledger.read_text().split()) == ["2", "3"]
    assert [entry["output"] for entry in get_cache_data(str(cache))].count(9) == 1


def test_calls_shown_instead_of_run(make, tmp_path):
    with make(export_workflow_filename=tmp_path / "flow.json") as exe:
        total = exe.submit(functions.add, exe.submit(functions.add, 1, 2), 3)
        assert total.done() and total.result() is None
    assert "functions.add" in (tmp_path / "flow.json").read_text()


SCRIPT = """
    import sys
    from executorlib import *
    from executorlib.api import TestClusterExecutor

    print("once")

    def double(x):
        return 2 * x

    exe = {make}
    future = exe.submit(double, exe.submit(double, 3))
    future.add_done_callback(lambda future: print(future.result(), flush=True))
"""

INTERRUPTED = """
    import sys, functions
    from executorlib import *
    from executorlib.api import TestClusterExecutor

    with {make} as exe:
        future = functions and exe.submit(functions.pass_gate, sys.argv[1], 7)
        print("submitted", flush=True)
        try:
            future.result()
        except KeyboardInterrupt:
            print("interrupted", future.done(), flush=True)
    print("value", future.result(timeout=0), flush=True)
"""


def made(kind, text):
    arguments = ", ".join(f"{key}={value!r}" for key, value in kind.arguments(1).items())
    return text.replace("{make}", f"{kind.name}({arguments})")


def test_script_that_ends_without_a_word(make, kind, place, tmp_path):
    make().shutdown()  # skips where there is none
    done = support.run_script(tmp_path, made(kind, SCRIPT), timeout=LONG)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["once", "12"]
    assert "Traceback" not in done.stderr


def test_interrupt(make, kind, place, gate, tmp_path):
    make().shutdown()
    with support.Driver(tmp_path, made(kind, INTERRUPTED), gate.folder) as driver:
        driver.expect("submitted", LONG)
        gate.arrival(LONG)
        support.wait_asleep(driver.pid, LONG)
        driver.process.send_signal(signal.SIGINT)
        assert driver.expect("interrupted", LONG) == "False"
        gate.open()
        assert driver.expect("value", LONG) == "7"
        assert driver.process.wait(LONG) == 0
