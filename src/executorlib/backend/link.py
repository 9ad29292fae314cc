"""An authenticated connection between a driver and its worker.

Both know a secret of 256 bits, made for this one connection. Each proves it to the other before either reads anything
else, and then every message carries a proof of its own:

    worker -> driver   magic, nonce W
    driver -> worker   nonce D, HMAC(secret, "driver proves" W D)
    worker -> driver   HMAC(secret, "worker proves" W D)

    message            length, HMAC(key, "length" n length), body, HMAC(key, "body" n body)

HMAC is that of SHA-256. The nonces are fresh, so a recorded greeting opens nothing. Each direction has a key of its
own, HMAC(secret, direction W D), so a message cannot be reflected; n counts the messages of a direction, so none can
be repeated, left out or moved. A length is believed only with its proof, so no stranger makes us allocate. What
arrives is given out when its proof is right, and not before. Contents are not encrypted.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import select
import socket
import struct
from collections import deque

_MAGIC = b"exl-lnk1"
_NONCE = 32
_PROOF = 32
_LENGTH = struct.Struct(">Q")
_HEADER = _LENGTH.size + _PROOF

#: What each side of a greeting sends, in bytes.
HELLO_SIZE = len(_MAGIC) + _NONCE
CHALLENGE_SIZE = _NONCE + _PROOF
PROOF_SIZE = _PROOF


class LinkError(ConnectionError):
    """The other side is not who it should be, or what it sent was changed on the way."""


class Link:
    """A connection over which whole messages travel, after the greeting.

    `send()` and `recv()` wait; `push()`, `flush()` and `pull()` never do, and are for who waits for other things too.

    Parameters:
        sock (socket.socket): owned by the link from here on.
        secret (bytes): what both sides know.
        nonces (bytes): those of this greeting.
        is_driver (bool): which side this is.
    """

    def __init__(self, sock: socket.socket, secret: bytes, nonces: bytes, is_driver: bool) -> None:
        sock.setblocking(False)
        self._sock = sock
        to_worker, to_driver = (_mac(secret, way, nonces) for way in (b"to worker", b"to driver"))
        self._out_key, self._in_key = (to_worker, to_driver) if is_driver else (to_driver, to_worker)
        self._out: deque[memoryview] = deque()
        self._sent = self._received = 0
        self._body: int | None = None
        self._expect(_HEADER)

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        """Close the connection; the other side sees its end. May be called again."""
        self._sock.close()

    def send(self, data: bytes) -> None:
        """Send one message; returns when the system has taken all of it.

        Raises:
            OSError: if the other side has gone.
        """
        self.push(data)
        while not self.flush():
            wait(self._sock, select.POLLOUT)

    def recv(self) -> memoryview:
        """The next message, as bytes-like.

        Raises:
            EOFError: if the other side has closed the connection or died.
            LinkError: if what arrived is not from it.
        """
        while True:
            message = self.pull()
            if message is not None:
                return message
            wait(self._sock, select.POLLIN)

    def push(self, data: bytes) -> None:
        """Take a message to be sent by `flush()`; its bytes must not change until then."""
        length = _LENGTH.pack(len(data))
        number = _LENGTH.pack(self._sent)
        self._sent += 1
        head = length + _mac(self._out_key, b"length", number, length)
        self._out.extend(map(memoryview, (head, data, _mac(self._out_key, b"body", number, data))))

    def flush(self) -> bool:
        """Send as much as the system takes. Returns whether that was all."""
        while self._out:
            view = self._out[0]
            try:
                sent = self._sock.send(view) if len(view) else 0
            except BlockingIOError:
                return False
            if sent < len(view):
                self._out[0] = view[sent:]
            else:
                self._out.popleft()
        return True

    def pull(self) -> memoryview | None:
        """The next message if all of it is there, else None. Raises as `recv()` does."""
        while self._fill():
            number = _LENGTH.pack(self._received)
            if self._body is None:
                length, proof = self._buffer[: _LENGTH.size], self._buffer[_LENGTH.size :]
                _verify(proof, _mac(self._in_key, b"length", number, length))
                self._body = _LENGTH.unpack(length)[0]
                self._expect(self._body + _PROOF)
                continue
            view = memoryview(self._buffer)
            body, claimed = view[: self._body], view[self._body :]
            _verify(claimed, _mac(self._in_key, b"body", number, body))
            self._received += 1
            self._body = None
            self._expect(_HEADER)
            return body
        return None

    def _expect(self, size: int) -> None:
        self._buffer, self._filled = bytearray(size), 0

    def _fill(self) -> bool:
        with memoryview(self._buffer) as view:
            while self._filled < len(view):
                try:
                    received = self._sock.recv_into(view[self._filled :])
                except BlockingIOError:
                    return False
                except ConnectionResetError:
                    received = 0
                if not received:
                    raise EOFError("the other side has closed the connection")
                self._filled += received
        return True


class Greeting:
    """The driver's side of a greeting with somebody who has connected. Never waits.

    Parameters:
        sock (socket.socket): owned by the greeting, then by its link.
        secret (bytes): what the worker must know.
    """

    def __init__(self, sock: socket.socket, secret: bytes) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._secret = secret
        self._nonces = b""
        self._received = b""

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def step(self) -> Link | None:
        """Go on as far as what has arrived allows.

        Returns:
            Link | None: the link when the other side has proved itself, None as long as more must arrive.

        Raises:
            OSError, EOFError: if the other side is not our worker.
        """
        if not self._nonces:
            if not self._read(HELLO_SIZE):
                return None
            self._challenge()
        if not self._read(PROOF_SIZE):
            return None
        _verify(self._received, _mac(self._secret, b"worker proves", self._nonces))
        return Link(self._sock, self._secret, self._nonces, is_driver=True)

    def _challenge(self) -> None:
        if not self._received.startswith(_MAGIC):
            raise LinkError("not a worker")
        mine = secrets.token_bytes(_NONCE)
        self._nonces = self._received[len(_MAGIC) :] + mine
        self._received = b""
        challenge = mine + _mac(self._secret, b"driver proves", self._nonces)
        if self._sock.send(challenge) < len(challenge):
            raise LinkError("a worker that does not read")

    def _read(self, size: int) -> bool:
        """Never more than the greeting has: what follows belongs to the link."""
        while len(self._received) < size:
            try:
                chunk = self._sock.recv(size - len(self._received))
            except BlockingIOError:
                return False
            if not chunk:
                raise EOFError("gone before it had proved itself")
            self._received += chunk
        return True


def connect(address: str, secret: bytes) -> Link:
    """Connect to a driver: the worker's side of a greeting. Waits until the driver is ready for it.

    Parameters:
        address (str): "unix:" and a path, or "tcp:", a host, ":" and a port.
        secret (bytes): what the driver must know.

    Raises:
        OSError: if nobody is there.
        LinkError: if it is somebody else.
        EOFError: if the driver closed the connection.
    """
    sock = _connected(address)
    try:
        mine = secrets.token_bytes(_NONCE)
        sock.sendall(_MAGIC + mine)
        challenge = _receive(sock, CHALLENGE_SIZE)
        nonces = mine + challenge[:_NONCE]
        _verify(challenge[_NONCE:], _mac(secret, b"driver proves", nonces))
        sock.sendall(_mac(secret, b"worker proves", nonces))
        return Link(sock, secret, nonces, is_driver=False)
    except BaseException:
        sock.close()
        raise


def keep_alive(sock: socket.socket) -> None:
    """Have the system notice within minutes that the other host has gone."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option, seconds in ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4)):
        sock.setsockopt(socket.IPPROTO_TCP, option, seconds)


def wait(sock: socket.socket | int, events: int) -> None:
    """Until one of the events of poll() is there, or the connection has ended."""
    poll = select.poll()
    poll.register(sock, events)
    poll.poll()


def _connected(address: str) -> socket.socket:
    kind, _, place = address.partition(":")
    if kind == "unix":
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(place)
        except BaseException:
            sock.close()
            raise
        return sock
    host, _, port = place.rpartition(":")
    sock = socket.create_connection((host, int(port)))
    keep_alive(sock)
    return sock


def _receive(sock: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        chunk = sock.recv(size - len(received))
        if not chunk:
            raise EOFError("the driver has ended, or does not want this worker")
        received += chunk
    return received


def _mac(key: bytes, *parts: bytes | bytearray | memoryview) -> bytes:
    proof = hmac.new(key, digestmod=hashlib.sha256)
    for part in parts:
        proof.update(part)
    return proof.digest()


def _verify(given: bytes | bytearray | memoryview, expected: bytes) -> None:
    if not hmac.compare_digest(given, expected):
        raise LinkError("it does not know the secret, or the message was changed on its way")
