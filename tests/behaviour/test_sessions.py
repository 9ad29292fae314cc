"""Calls that need what their module's init_function makes, on executors that were given none."""

import gc
import os
import sys
import threading
import types
from concurrent.futures import wait

import functions
import pytest
import session_library
import session_library_closing as closing
from session_library import Client
from support import SOON, alive_after

from executorlib import SingleNodeExecutor, _session
from executorlib.api import ExecutorlibSocketError

pytestmark = pytest.mark.timeout(300)


class Known(_session.Library):
    opening = frozenset({"start"})
    closing = frozenset({"stop"})


@pytest.fixture
def known(monkeypatch):
    name = "executorlib.integration.session_library_closing"
    monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(library=Known()))
    _session.library_of.cache_clear()
    yield
    _session.library_of.cache_clear()


@pytest.fixture(params=["per_call", "block"])
def pair(request):
    """An executor with two places."""
    with SingleNodeExecutor(max_workers=2, block_allocation=request.param == "block") as exe:
        yield exe


def result(future):
    return future.result(timeout=SOON)


def test_a_session_keeps_its_state(pair):
    client = Client(pair)
    assert result(client.remember(1)) == [1]
    assert result(client.remember(2)) == [1, 2]


def test_a_script_is_one_client(pair):
    assert result(pair.submit(session_library.remember, value=1)) == [1]
    assert result(pair.submit(session_library.remember, value=2)) == [1, 2]


def test_clients_are_told_apart(pair):
    first, second = Client(pair), Client(pair)
    for turn in range(5):
        assert result(first.remember(turn)) == list(range(turn + 1))
        assert result(second.remember(-turn)) == [-n for n in range(turn + 1)]
    assert result(first.where()) != result(second.where())


def test_clients_in_threads():
    with SingleNodeExecutor(max_workers=8) as exe:
        clients = [Client(exe) for _ in range(4)]
        found = {}

        def talk(number):
            for turn in range(10):
                found[number] = result(clients[number].remember((number, turn)))

        threads = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {number: [(number, turn) for turn in range(10)] for number in range(4)}


def test_a_session_ends_with_its_client(pair):
    client = Client(pair)
    pid = result(client.where())
    del client
    gc.collect()
    assert not alive_after([pid], SOON)
    assert result(Client(pair).remember(1)) == [1]


def test_plain_calls_beside_a_session(pair):
    client = Client(pair)
    assert result(client.remember(1)) == [1]
    assert list(pair.map(abs, [-1, -2], timeout=SOON)) == [1, 2]
    assert result(pair.submit(functions.add, 1, 2)) == 3
    assert result(pair.submit(session_library.complete, 1)) == 3
    assert result(client.remember(2)) == [1, 2]


@pytest.mark.parametrize("chunksize", [1, 2])
def test_map_goes_to_the_session(pair, chunksize):
    for turn in (0, 3):
        found = pair.map(session_library.scaled, range(turn, turn + 3), chunksize=chunksize, timeout=SOON)
        assert list(found) == [(10 * n, list(range(n + 1))) for n in range(turn, turn + 3)]
    assert result(pair.submit(session_library.remember, value=6)) == list(range(7))


def test_complete_calls_open_no_session(pair):
    assert list(pair.map(session_library.complete, [1, 2], chunksize=2, timeout=SOON)) == [3, 4]
    assert result(pair.submit(session_library.complete, 1)) == 3
    assert result(pair.submit(session_library.remember, {"calls": []}, 5)) == [5]
    with pytest.raises(TypeError, match="unexpected"):
        result(pair.submit(session_library.remember, nobody=1))
    assert pair._sessions is None


def test_futures_as_arguments(pair):
    client = Client(pair)
    assert result(client.remember(pair.submit(functions.add, 1, 2))) == [3]
    assert result(pair.submit(len, client.remember(4))) == 2


def test_a_call_that_fails_leaves_the_session(pair):
    client = Client(pair)
    assert result(client.remember(1)) == [1]
    with pytest.raises(LookupError, match="asked to"):
        result(client.call(session_library.fail))
    assert result(client.remember(2)) == [1, 2]


def test_an_executor_with_presets_needs_no_session():
    with SingleNodeExecutor(max_workers=1, block_allocation=True, init_function=session_library.init_function) as exe:
        assert result(Client(exe).remember(1)) == [1]
        assert result(Client(exe).remember(2)) == [1, 2]
        assert exe._sessions is None


def test_wrong_presets_stay_an_error():
    with (
        SingleNodeExecutor(max_workers=1, block_allocation=True, init_function=dict) as exe,
        pytest.raises(TypeError, match="state"),
    ):
        result(Client(exe).remember(1))


def test_a_call_that_cannot_fit_beside_the_session():
    with SingleNodeExecutor(max_cores=2) as exe:
        client = Client(exe)
        assert result(client.remember(1)) == [1]
        with pytest.raises(ValueError, match=r"session_library \(1 core\)") as caught:
            exe.submit(abs, -1, resource_dict={"threads_per_core": 2})
        assert isinstance(caught.value, TypeError)
        assert result(exe.submit(abs, -1)) == 1
        assert result(client.remember(2)) == [1, 2]


def test_a_session_that_cannot_fit_beside_another():
    with SingleNodeExecutor(max_cores=2) as exe:
        wide = Client(exe, resource_dict={"threads_per_core": 2})
        assert result(wide.remember(1)) == [1]
        with pytest.raises(ValueError, match=r"session_library \(2 cores\)"):
            Client(exe).remember(1)
        with pytest.raises(ValueError, match="session_library"):
            exe.map(abs, [-1])
        assert result(wide.remember(2)) == [1, 2]


@pytest.mark.parametrize("block", [False, True])
def test_a_session_in_the_only_place(block):
    with SingleNodeExecutor(max_workers=1, block_allocation=block) as exe:
        before = [exe.submit(functions.identity, number) for number in range(20)]
        client = Client(exe)
        assert result(client.remember(1)) == [1]
        assert [result(future) for future in before] == list(range(20))
        with pytest.raises(ValueError, match="max_workers is 1"):
            exe.submit(abs, -1)
        del client
        gc.collect()
        assert result(exe.submit(abs, -1)) == 1


def test_a_session_waits_for_its_cores(make_gate):
    gate, inside = make_gate(), make_gate()
    with SingleNodeExecutor(max_cores=2) as exe:
        running = [gate.submit(exe) for _ in range(2)]
        gate.arrivals(2)
        client = Client(exe)
        entered = client.call(session_library.at_gate, folder=inside.folder)
        late = exe.submit(abs, -1)
        assert not entered.done() and not late.done()
        gate.open()
        wait(running)
        inside.arrival()
        assert result(late) == 1
        inside.open()
        result(entered)


def test_earlier_wide_calls_do_not_wait_for_the_session_to_close(gate):
    with SingleNodeExecutor(max_cores=2) as exe:
        first = gate.submit(exe, -1)
        gate.arrival()
        ready = exe.submit(abs, -1, resource_dict={"threads_per_core": 2})
        later = exe.submit(abs, first, resource_dict={"threads_per_core": 2})
        client = Client(exe)
        mine = client.remember(1)
        gate.open()
        assert result(ready) == result(later) == 1
        assert result(mine) == [1]


def test_cores_come_back(known):
    with SingleNodeExecutor(max_cores=2) as exe:
        for _ in range(5):
            client = Client(exe, resource_dict={"threads_per_core": 2})
            assert result(client.remember(1)) == [1]
            del client
            gc.collect()
            assert result(exe.submit(abs, -1, resource_dict={"threads_per_core": 2})) == 1


def test_exclusive_calls_and_sessions():
    with SingleNodeExecutor(max_cores=2) as exe:
        plain, alone = Client(exe), Client(exe, resource_dict={"exclusive": True})
        assert result(plain.remember(1)) == [1]
        with pytest.raises(ValueError, match="exclusive"):
            exe.submit(abs, -1, resource_dict={"exclusive": True})
        with pytest.raises(ValueError, match="exclusive"):
            alone.remember(1)
        del plain
        gc.collect()
        assert result(alone.remember(1)) == [1]
        with pytest.raises(ValueError, match="exclusive"):
            exe.submit(abs, -1)


def test_a_call_of_a_session_that_is_ended(pair, gate):
    client = Client(pair)
    running = client.call(session_library.at_gate, folder=gate.folder)
    gate.arrival()
    waiting = client.remember(1)
    assert running.terminate()
    for future in (running, waiting):
        with pytest.raises(ExecutorlibSocketError):
            result(future)
    assert result(pair.submit(abs, -1)) == 1


def test_gpus_of_a_session(monkeypatch):
    monkeypatch.setenv("EXECUTORLIB_GPUS", "0,1")
    one = {"gpus_per_core": 1}
    with SingleNodeExecutor(max_cores=4) as exe:
        client = Client(exe, resource_dict=one)
        mine = result(client.call(session_library.gpus))
        other = result(exe.submit(functions.environment, "CUDA_VISIBLE_DEVICES", resource_dict=one))
        assert {mine, *other.values()} == {"0", "1"}
        with pytest.raises(ValueError, match="more GPUs than are left beside"):
            exe.submit(abs, -1, resource_dict={"gpus_per_core": 2})
        assert result(exe.submit(abs, -1)) == 1
        assert result(client.call(session_library.gpus)) == mine


def test_other_resources_than_the_session_has(pair):
    client = Client(pair)
    assert result(client.remember(1)) == [1]
    client.request = {"resource_dict": {"threads_per_core": 2}}
    with pytest.raises(ValueError, match="threads_per_core"):
        client.remember(2)


def test_a_lost_worker(pair):
    client = Client(pair)
    pid = result(client.where())
    with pytest.raises(ExecutorlibSocketError, match="SIGKILL"):
        result(client.call(session_library.die))
    assert not alive_after([pid], SOON)
    with pytest.raises(ExecutorlibSocketError, match="SIGKILL"):
        result(client.remember(2))
    assert result(pair.submit(abs, -1)) == 1
    assert result(client.remember(3)) == [3]


def test_a_worker_lost_between_two_calls(pair):
    client = Client(pair)
    pid = result(client.where())
    os.kill(pid, 9)
    assert not alive_after([pid], SOON)
    with pytest.raises(ExecutorlibSocketError, match="SIGKILL"):
        result(client.remember(1))
    if client.executor._sessions._open:  # the call was sent before the engine had heard of it: one more has the error
        with pytest.raises(ExecutorlibSocketError, match="SIGKILL"):
            result(client.remember(2))
    assert result(client.remember(3)) == [3]


def test_shutdown_ends_sessions(pair):
    client = Client(pair)
    pid = result(client.where())
    last = client.remember(1)
    pair.shutdown(wait=True)
    assert last.done() and last.result() == [1]
    assert not alive_after([pid], 0)
    with pytest.raises(RuntimeError, match="after shutdown"):
        client.remember(2)


def test_shutdown_can_cancel(make_gate):
    gate = make_gate()
    exe = SingleNodeExecutor(max_workers=2)
    client = Client(exe)
    running = client.call(session_library.at_gate, folder=gate.folder)
    gate.arrival()
    waiting = [client.remember(number) for number in range(3)]
    assert len(exe) == 4
    exe.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting)
    gate.open()
    result(running)
    exe.shutdown()


def test_an_executor_that_is_garbage_ends_its_sessions():
    exe = SingleNodeExecutor(max_workers=2)
    client = Client(exe)
    pid = result(client.where())
    client.executor = None
    del exe
    gc.collect()
    assert not alive_after([pid], SOON)


def test_calls_are_refused_in_a_fork(pair):
    assert result(Client(pair).remember(1)) == [1]
    pid = os.fork()
    if pid == 0:
        try:
            Client(pair).remember(1)
        except BaseException as error:
            os._exit(0 if isinstance(error, RuntimeError) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# ---- libraries of which it is known how they open and close ----


def test_two_libraries_interleaved_and_reopened(pair, known):
    for _ in range(3):
        first, second = closing.Client(pair, "first"), closing.Client(pair, "second")
        assert first.pid != second.pid
        for _ in range(3):
            assert result(first.name()) == "first"
            assert result(second.name()) == "second"
        assert result(first.close()) == "first"
        again = closing.Client(pair, "again")
        assert [result(client.name()) for client in (second, again)] == ["second", "again"]
        assert [result(client.close()) for client in (second, again)] == ["second", "again"]
    assert result(pair.submit(abs, -1)) == 1


def test_a_second_client_that_cannot_be_told_apart(pair, known):
    pid = result(pair.submit(closing.start, name="first"))
    with pytest.raises(RuntimeError, match="session_library_closing .* is open"):
        pair.submit(closing.start, name="second")
    assert result(pair.submit(closing.name)) == "first"
    assert result(pair.submit(closing.stop)) == "first"
    assert result(pair.submit(closing.start, name="second")) != pid
    assert result(pair.submit(closing.stop)) == "second"


def test_calls_without_an_open_session(pair, known):
    with pytest.raises(ExecutorlibSocketError, match="needs an open session"):
        pair.submit(closing.name)
    client = closing.Client(pair, "first")
    assert result(client.close()) == "first"
    with pytest.raises(ExecutorlibSocketError, match="needs an open session"):
        client.name()
    assert result(client.close()) is None  # closing what is closed is fine


def test_a_known_library_does_not_go_on_with_another_worker(pair, known):
    client = closing.Client(pair, "first")
    with pytest.raises(ExecutorlibSocketError, match="status 7"):
        result(client.die())
    with pytest.raises(ExecutorlibSocketError, match="status 7"):
        result(client.name())
    with pytest.raises(ExecutorlibSocketError, match="its worker was lost"):
        client.name()
    assert result(client.close()) is None


def test_closing_after_shutdown(known):
    exe = SingleNodeExecutor(max_workers=1)
    client = closing.Client(exe, "first")
    exe.shutdown()
    assert result(client.close()) is None
