"""The authenticated link and its listener: who is let in, and that of nobody else a byte goes further."""

import contextlib
import hashlib
import hmac
import os
import pickle
import select
import socket
import struct
import threading
import time

import pytest
import support

from executorlib.backend import link, rendezvous
from executorlib.standalone.interactive import listener as listener_module
from executorlib.standalone.interactive.listener import MAX_GREETINGS, Listener

SECRET = bytes(range(32))
NONCES = bytes(64)


@pytest.fixture
def number():
    return rendezvous.draw()


@pytest.fixture
def listener(number):
    made = Listener(number)
    yield made
    made.close()


@pytest.fixture
def links():
    """A driver's and a worker's end of one link."""
    ends = socket.socketpair()
    pair = [link.Link(end, SECRET, NONCES, is_driver=end is ends[0]) for end in ends]
    yield pair
    for end in pair:
        end.close()


def let_in(listener, seconds=support.SOON):
    """Run the listener until a worker is in, or the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = listener.step()
        if found is not None:
            return found
        wait_for(listener, 0.05)
    return None


def wait_for(listener, seconds):
    poll = select.poll()
    for descriptor in listener.filenos():
        poll.register(descriptor, select.POLLIN)
    poll.poll(seconds * 1000)


def in_thread(function, *arguments):
    outcome = []

    def run():
        try:
            outcome.append(function(*arguments))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, outcome


def stranger(number):
    address, _ = rendezvous.find(number)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(support.SOON)
    sock.connect(address.partition(":")[2])
    return sock


def is_closed(sock):
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


# ---- the greeting ----


@pytest.mark.parametrize("remote", [False, True], ids=["same_host", "network"])
def test_who_knows_the_secret_is_let_in(number, remote, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    listener = Listener(number, remote=remote)
    address, secret = rendezvous.find(number)
    assert address.startswith("tcp:" if remote else "unix:")
    thread, outcome = in_thread(link.connect, address, secret)
    driver = let_in(listener)
    thread.join(support.SOON)
    worker = outcome[0]
    for data in (b"", b"a call", bytes(1 << 20)):
        sender, sent = in_thread(driver.send, data)
        assert worker.recv() == data
        sender.join(support.SOON)
        assert sent == [None]
    worker.send(b"an answer")
    assert driver.recv() == b"an answer"
    driver.close()
    with pytest.raises(EOFError):
        worker.recv()
    worker.close()
    listener.close()
    with pytest.raises(FileNotFoundError, match=str(number)):
        rendezvous.find(number)


def test_wrong_secret(listener, number):
    address, _ = rendezvous.find(number)
    thread, outcome = in_thread(link.connect, address, bytes(32))
    assert let_in(listener, 0.2) is None
    listener.close()
    thread.join(support.SOON)
    assert isinstance(outcome[0], link.LinkError)  # the worker too refuses a driver that does not know its secret


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n" * 10, pickle.dumps({"shutdown": True}) * 10, bytes(100), b"\xff" * 65536],
    ids=["http", "pickle", "zeros", "flood"],
)
def test_garbage(listener, number, garbage):
    with stranger(number) as sock:
        sock.setblocking(False)
        sock.send(garbage)
        sock.settimeout(support.SOON)
        assert let_in(listener, 0.1) is None
        assert is_closed(sock)
    assert listener._greetings == {}


def test_wrong_proof(listener, number):
    with stranger(number) as sock:
        sock.sendall(link._MAGIC + bytes(32))
        assert let_in(listener, 0.1) is None
        assert len(sock.recv(1000)) == link.CHALLENGE_SIZE
        sock.sendall(bytes(link.PROOF_SIZE))
        assert let_in(listener, 0.1) is None
        assert is_closed(sock)


def test_proof_of_the_driver_is_not_one_of_the_worker(listener, number):
    """A stranger who has the driver prove itself cannot hand that back."""
    with stranger(number) as sock:
        sock.sendall(link._MAGIC + bytes(32))
        assert let_in(listener, 0.1) is None
        sock.sendall(sock.recv(1000)[-link.PROOF_SIZE :])
        assert let_in(listener, 0.1) is None
        assert is_closed(sock)


def test_replayed_greeting(number):
    """What a worker has once said to its driver opens nothing a second time, even with the same secret."""
    recorded = []
    for attempt in range(2):
        ours, theirs = socket.socketpair()
        theirs.settimeout(support.SOON)
        with ours, theirs:
            greeting = link.Greeting(ours, SECRET)
            hello = recorded[0] if attempt else link._MAGIC + os.urandom(32)
            theirs.sendall(hello)
            assert greeting.step() is None
            challenge = theirs.recv(1000)
            nonces = hello[len(link._MAGIC) :] + challenge[:32]
            right = hmac.digest(SECRET, b"worker proves" + nonces, hashlib.sha256)
            theirs.sendall(recorded[1] if attempt else right)
            recorded += [hello, right]
            if attempt:
                with pytest.raises(link.LinkError):
                    greeting.step()
            else:
                assert greeting.step() is not None


def test_thousand_idle_connections(listener, number):
    """They are let go, the oldest first, and the worker still comes in."""
    address, secret = rendezvous.find(number)
    idle = []
    for _ in range(1000):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(address.partition(":")[2])
        idle.append(sock)
        listener.step()
        assert len(listener._greetings) <= MAX_GREETINGS
    thread, outcome = in_thread(link.connect, address, secret)
    found = let_in(listener)
    thread.join(support.SOON)
    assert found is not None
    found.close()
    outcome[0].close()
    for sock in idle:
        sock.close()


def test_slow_loris(number, monkeypatch):
    """Who sends its greeting byte by byte has no more time than anybody."""
    monkeypatch.setattr(listener_module, "GREETING_LIMIT", 0.2)
    listener = Listener(number)
    with stranger(number) as sock:
        started = time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for byte in link._MAGIC * 100:
                sock.send(bytes([byte]))
                assert let_in(listener, 0.02) is None
            raise AssertionError("it had all the time it wanted")
        assert time.monotonic() - started < support.AT_ONCE
    assert listener.timeout() is None
    listener.close()


def test_nothing_listens_once_the_worker_is_in(listener, number):
    address, secret = rendezvous.find(number)
    thread, outcome = in_thread(link.connect, address, secret)
    found = let_in(listener)
    thread.join(support.SOON)
    listener.close()
    with pytest.raises((FileNotFoundError, ConnectionRefusedError)):
        link.connect(address, secret)
    found.close()
    outcome[0].close()


def test_other_users_are_turned_away(listener, number, monkeypatch):
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    path = listener._path
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(support.SOON)
        sock.connect(path)
        assert let_in(listener, 0.1) is None
        assert is_closed(sock)


# ---- messages ----


def captured(links):
    """The bytes of one message from the driver."""
    driver, worker = links
    driver.send(b"a message")
    return worker._sock.recv(1000)


def feed(end, data):
    """Let `end` receive bytes that its peer did not send."""
    ours, theirs = socket.socketpair()
    theirs.sendall(data)
    theirs.close()
    ours.setblocking(False)
    end._sock.close()
    end._sock = ours
    return end


def test_replayed_message(links):
    data = captured(links)
    end = feed(links[1], data + data)
    assert bytes(end.recv()) == b"a message"
    with pytest.raises(link.LinkError):
        end.recv()


def test_reflected_message(links):
    with pytest.raises(link.LinkError):
        feed(links[0], captured(links)).recv()


def test_message_left_out(links):
    captured(links)
    with pytest.raises(link.LinkError):
        feed(links[1], captured(links)).recv()


@pytest.mark.parametrize("position", [0, 7, 8, 39, 40, 48, 49, 80])
def test_changed_message(links, position):
    data = bytearray(captured(links))
    assert len(data) == 81
    data[position] ^= 1
    with pytest.raises(link.LinkError):
        feed(links[1], bytes(data)).recv()


def test_cut_message(links):
    with pytest.raises(EOFError):
        feed(links[1], captured(links)[:-1]).recv()


@pytest.mark.memory
def test_oversized_length(links):
    """A length is believed only with its proof: nothing is allocated for a stranger's."""
    before = len(links[1]._buffer)
    with pytest.raises(link.LinkError):
        feed(links[1], struct.pack(">Q", 1 << 62) + bytes(1000)).recv()
    assert len(links[1]._buffer) == before


# ---- the rendezvous ----


@pytest.fixture
def folders(tmp_path, monkeypatch):
    places = tmp_path / "run", tmp_path / "tmp"
    monkeypatch.setattr(rendezvous, "_local_folders", lambda: tuple(map(str, places)))
    return places


def test_secret_is_for_its_user_only(folders):
    made = rendezvous.Rendezvous(70000, "unix:/x", rendezvous.local_folder())
    assert folders[0].stat().st_mode & 0o777 == 0o700
    assert (folders[0] / "70000").stat().st_mode & 0o777 == 0o600
    assert rendezvous.find(70000) == ("unix:/x", made.secret)
    assert len(made.secret) == 32
    made.close()
    made.close()
    assert list(folders[0].iterdir()) == []


def test_squatted_folder_is_not_used(folders):
    """In /tmp anybody may have made the folder, or a link of its name, before us."""
    folders[0].mkdir(mode=0o755)
    folders[1].symlink_to(folders[0])
    with pytest.raises(PermissionError, match="mode 755.*is not a folder, or a link"):
        rendezvous.local_folder()
    with pytest.raises(PermissionError, match="mode 755"):
        rendezvous.find(70000)
    folders[1].unlink()
    assert rendezvous.local_folder() == str(folders[1])
    made = rendezvous.Rendezvous(70000, "unix:/x", str(folders[1]))
    assert rendezvous.find(70000) == ("unix:/x", made.secret)
    made.close()


@pytest.mark.parametrize("spoil", ["mode", "link"])
def test_spoilt_file_is_not_read(folders, spoil):
    made = rendezvous.Rendezvous(70000, "unix:/x", rendezvous.local_folder())
    file = folders[0] / "70000"
    if spoil == "mode":
        file.chmod(0o640)
    else:
        file.rename(folders[0] / "other")
        file.symlink_to(folders[0] / "other")
    with pytest.raises(OSError):
        rendezvous.find(70000)
    made.close()


def test_what_dead_drivers_left_is_removed(folders):
    alive = rendezvous.Rendezvous(70000, "unix:/x", rendezvous.local_folder())
    dead = rendezvous.Rendezvous(70001, "unix:/x", rendezvous.local_folder())
    os.close(dead._file)
    (folders[0] / "70001.socket").touch()
    assert rendezvous.local_folder()
    assert [file.name for file in folders[0].iterdir()] == ["70000"]
    alive.close()


def test_last_words(folders):
    assert rendezvous.left(70000) is None
    rendezvous.leave(70000, b"why")
    assert rendezvous.left(70000) == b"why"
    assert rendezvous.left(70000) is None


def test_numbers_are_no_ports():
    drawn = {rendezvous.draw() for _ in range(1000)}
    assert len(drawn) == 1000
    assert min(drawn) >= 1 << 16
