"""Strangers at the port where agents come in: refused before any parser of ours, and nobody waits for them."""

import contextlib
import json
import select
import socket
import threading
import time

import functions
import pytest
import support
from beds.waiting import until

from executorlib import SlurmJobExecutor, _fleet, api

pytestmark = pytest.mark.timeout(60)


@contextlib.contextmanager
def strangers(port, count, text=b""):
    sockets = []
    try:
        for _ in range(count):
            stranger = socket.create_connection(("127.0.0.1", port), support.SOON)
            sockets.append(stranger)
            with contextlib.suppress(OSError):
                stranger.sendall(text)
        yield sockets
    finally:
        for stranger in sockets:
            stranger.close()


@pytest.mark.parametrize(
    "text", [b"", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 300, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
    ids=["idle", "http", "garbage", "hello"],
)  # fmt: skip
def test_strangers_at_the_port_change_nothing(job, text):
    with SlurmJobExecutor(block_allocation=True, max_workers=3) as executor:
        assert executor.submit(functions.add, 1, 2).result(timeout=support.SOON) == 3
        with strangers(executor._core_pool.port, 1000 if not text else 50, text):
            assert list(executor.map(functions.add, range(200), range(200))) == list(range(0, 400, 2))


def test_agents_come_in_past_strangers(job):
    executor = SlurmJobExecutor(max_workers=3)
    with executor, strangers(executor._core_pool.port, 100):
        assert executor.submit(functions.add, 1, 2).result(timeout=support.SOON) == 3


def ended(stranger, timeout=support.SOON):
    """Wait until the other side has closed the connection; what it has said before."""
    stranger.settimeout(timeout)
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while data := stranger.recv(4096):
            said += data
    return said


def test_one_byte_per_second_is_not_waited_for(job):
    with SlurmJobExecutor(max_workers=3) as executor:
        assert executor.submit(functions.add, 1, 2).result(timeout=support.SOON) == 3
        began = time.monotonic()
        with strangers(executor._core_pool.port, 10) as sockets:
            hello = iter(b"\x16\x03\x01\x02\x00\x01" + bytes(100))
            left = set(sockets)
            while left:
                over, _, _ = select.select(left, [], [], 1)
                left -= set(over)
                for stranger in left:
                    with contextlib.suppress(OSError):
                        stranger.send(bytes([next(hello)]))
                assert executor.submit(functions.add, 1, 2).result(timeout=support.SOON) == 3
                assert time.monotonic() - began < support.SOON, "nobody has sent them away"


class Wire:
    """A port that passes everything on to another one, and keeps what the first to connect says."""

    def __init__(self, port):
        self._to = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.said = None
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                agent, _ = self._server.accept()
                driver = socket.create_connection(("127.0.0.1", self._to))
                kept = [] if self.said is None else None
                self.said = kept if self.said is None else self.said
                threading.Thread(target=self._carry, args=(agent, driver, kept), daemon=True).start()
                threading.Thread(target=self._carry, args=(driver, agent, None), daemon=True).start()

    def _carry(self, source, target, kept):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if kept is not None:
                    kept.append(data)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def close(self):
        self._server.close()


@pytest.fixture
def told(monkeypatch):
    """Changes of what agents are told, as a function of it."""
    write, changes = _fleet.write_privately, []

    def changed(text):
        told = json.loads(text)
        for change in changes:
            change(told)
        return write(json.dumps(told))

    monkeypatch.setattr(_fleet, "write_privately", changed)
    return changes


def test_replayed_handshake(job, told):
    wires = []

    def tap(facts):
        wires.append(Wire(facts["port"]))
        facts.update(port=wires[0].port, addresses=["127.0.0.1"])

    told.append(tap)
    with SlurmJobExecutor(block_allocation=True, max_workers=3) as executor:
        assert list(executor.map(functions.add, range(20), range(20))) == list(range(0, 40, 2))
        recorded = b"".join(wires[0].said)
        assert len(recorded) > 200 and recorded[0] == 0x16
        with strangers(executor._core_pool.port, 3, recorded) as sockets:
            for stranger in sockets:
                ended(stranger)
            assert list(executor.map(functions.add, range(20), range(20))) == list(range(0, 40, 2))
        until(lambda: len(job.agents()) == 3, support.SOON, "all agents to be there")
    wires[0].close()


def test_agents_with_a_wrong_key_do_not_get_in(job, told, monkeypatch):
    monkeypatch.setattr(_fleet, "_GRACE_MS", 2000)  # so long they try
    told.append(lambda facts: facts.update(key="5a" * 32))
    with SlurmJobExecutor(max_workers=3) as executor:
        error = executor.submit(functions.add, 1, 2).exception(timeout=support.SOON)
    assert isinstance(error, api.ExecutorlibSocketError)


@pytest.mark.timing
def test_a_thousand_strangers_slow_nothing_down(job):
    def rate(count=4000):
        began = time.perf_counter()
        futures = [executor.submit(functions.add, number, 1) for number in range(count)]
        assert [future.result(timeout=support.SOON) for future in futures] == list(range(1, count + 1))
        return count / (time.perf_counter() - began)

    with SlurmJobExecutor(block_allocation=True, max_workers=3) as executor:
        rate()
        alone, beside = [], []
        for _ in range(3):
            alone.append(rate())
            with strangers(executor._core_pool.port, 1000):
                rate()  # while they come in
                beside.append(rate())
    # Both have their best round in a quiet moment, if there is one.
    print(f"calls/s: {max(alone):.0f} alone, {max(beside):.0f} beside 1,000 strangers")
    assert max(beside) > 0.1 * max(alone)
