"""Result files as Python sees them."""

import errno
import os
import threading

import pytest

from executorlib import _store
from executorlib._errors import CacheFileError

FIELDS = {"function": b"f" * 400, "output": b"o" * 5, "runtime": b""}


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "a_o.h5"
    assert _store.write(path, FIELDS) is None
    assert _store.read(path) == FIELDS
    assert _store.read(str(path), ("output", "error")) == {"output": b"ooooo"}
    assert sorted(_store.names(path)) == sorted(FIELDS)
    assert os.listdir(tmp_path) == ["a_o.h5"]


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("sync", [False, True])
def test_a_field_may_come_in_pieces_and_from_any_buffer(tmp_path, compress, sync):
    large = bytes(range(256)) * 4096
    fields = {"output": [b"a", memoryview(large), bytearray(b"z")], "error": memoryview(b"e"), "runtime": ()}
    _store.write(tmp_path / "a", fields, compress=compress, sync=sync)
    assert _store.read(tmp_path / "a") == {"output": b"a" + large + b"z", "error": b"e", "runtime": b""}
    assert (os.path.getsize(tmp_path / "a") < len(large)) == compress


def test_a_file_is_replaced(tmp_path):
    for number in range(3):
        _store.write(tmp_path / "a", {"output": b"%d" % number})
    assert _store.read(tmp_path / "a") == {"output": b"2"}


def test_missing(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        _store.read(tmp_path / "a")
    assert caught.value.filename == tmp_path / "a"
    with pytest.raises(FileNotFoundError):
        _store.write(tmp_path / "b" / "a", FIELDS)


def test_damaged(tmp_path):
    path = str(tmp_path / "a")
    _store.write(path, FIELDS)
    os.truncate(path, os.path.getsize(path) - 1)
    for function in (_store.read, _store.names):
        with pytest.raises(CacheFileError, match="cut short") as caught:
            function(path)
        assert isinstance(caught.value, OSError)
        assert caught.value.filename == path
        assert caught.value.errno == errno.EBADMSG


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"a": 3}, TypeError),
        ({"a": ["text"]}, TypeError),
        ({3: b""}, TypeError),
        ([], TypeError),
        ({"a/b": b""}, OSError),
        ({"\ud800": b""}, UnicodeError),
        ({f"f{i}": b"" for i in range(33)}, OSError),
    ],
    ids=["number", "text", "name", "no dict", "slash", "surrogate", "many"],
)
def test_wrong_fields(tmp_path, fields, error):
    with pytest.raises(error):
        _store.write(tmp_path / "a", fields)
    assert os.listdir(tmp_path) == []


def test_wrong_names(tmp_path):
    _store.write(tmp_path / "a", FIELDS)
    with pytest.raises(TypeError):
        _store.read(tmp_path / "a", [3])
    with pytest.raises(TypeError):
        _store.read(tmp_path / "a", 3)
    with pytest.raises(ValueError):
        _store.read("a\0b")


def test_many_threads(tmp_path):
    """Writers of one file, and readers of it: each sees a whole one."""
    path = tmp_path / "a"
    _store.write(path, {"output": b"0" * 300_000})
    failures = []

    def write(digit):
        for _ in range(20):
            _store.write(path, {"output": digit * 300_000}, sync=False)

    def read():
        for _ in range(60):
            output = _store.read(path)["output"]
            if output != output[:1] * 300_000:
                failures.append(output)

    threads = [threading.Thread(target=write, args=(b"%d" % i,)) for i in range(3)]
    threads += [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert os.listdir(tmp_path) == ["a"]
