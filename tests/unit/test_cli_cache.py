"""`executorlib cache`, and what it knows of a cache's files."""

import json
import os
import subprocess
import sys
import time

import cloudpickle
import pytest

from executorlib import __version__, _catalogue, _cli, _cli_cache, _store

DAY = 86400


class Bomb:
    """Unpickling it is noticed."""

    armed = []

    def __reduce__(self):
        return Bomb.armed.append, (1,)


def write(folder, key, days=0, seconds=1.5, suffix="_o.h5", **fields):
    path = folder / f"{key}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {"output": cloudpickle.dumps(3), "runtime": cloudpickle.dumps(seconds), **fields}
    _store.write(path, {name: value for name, value in values.items() if value is not None})
    os.utime(path, (time.time() - days * DAY - 10,) * 2)
    return path


@pytest.fixture
def cache(tmp_path):
    folder = tmp_path / "cache"
    write(folder, "add" + "0" * 32, days=40)
    write(folder, "mean-" + "1" * 32, days=1, seconds=100.0, output=cloudpickle.dumps(bytes(100_000)))
    write(folder, "runs/first", output=None, error=cloudpickle.dumps(KeyError()), queue_id=cloudpickle.dumps(7))
    write(folder, "job" + "2" * 32, days=400, suffix="_i.h5", output=None)
    (folder / "torn_o.h5").write_bytes(b"")
    return folder


def run(capsys, *arguments):
    status = _cli.main(["cache", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def keys(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.h5"))


def test_ls(cache, capsys):
    status, out, err = run(capsys, "ls", cache)
    lines = out.splitlines()
    assert status == 0 and len(lines) == 7
    assert lines[0].split() == ["size", "age", "run", "time", "state", "function", "key"]
    assert [line.split()[-1] for line in lines[1:6]] == [
        "add" + "0" * 32, "job" + "2" * 32, "mean-" + "1" * 32, "runs/first", "torn",
    ]  # fmt: skip
    assert "40 d" in lines[1] and "1.5 s" in lines[1] and " add " in lines[1]
    assert "98 kB" in lines[3] or "99 kB" in lines[3] or "100 kB" in lines[3]
    assert "2 m" in lines[3] and " mean " in lines[3]
    assert "error" in lines[4] and "damaged" in lines[5] and "call" in lines[2]
    assert lines[6].startswith("5 calls, ")
    assert "torn: it is empty" in err.replace("not a readable result file: ", "")


@pytest.mark.parametrize(("order", "first"), [("key", "add"), ("age", "job"), ("size", "mean"), ("time", "mean")])
def test_ls_sorted(cache, capsys, order, first):
    _, out, _ = run(capsys, "ls", cache, "--sort", order)
    assert out.splitlines()[1].split()[-1].startswith(first)


def test_ls_json(cache, capsys):
    _, out, _ = run(capsys, "ls", cache, "--json")
    entries = {entry["key"]: entry for entry in map(json.loads, out.splitlines())}
    first = entries["runs/first"]
    assert (first["state"], first["queue_id"], first["seconds"]) == ("error", 7, 1.5)
    assert first["files"] == [str(cache / "runs" / "first_o.h5")]
    assert entries["torn"]["problem"]


def test_only_show_unpickles(tmp_path, capsys):
    bomb = cloudpickle.dumps(Bomb())
    write(tmp_path, "bomb", function=bomb, output=bomb, runtime=bomb, queue_id=bomb)
    Bomb.armed.clear()
    for arguments in (["ls", tmp_path], ["gc", tmp_path, "-n", "--older-than", "0s", "--faster-than", "1y"]):
        assert run(capsys, *arguments)[0] == 0
    assert Bomb.armed == []
    run(capsys, "show", tmp_path, "bomb")
    run(capsys, "rm", tmp_path, "bomb")


def test_show(cache, capsys):
    status, out, _ = run(capsys, "show", cache, "add*", "runs/*")
    assert status == 0
    assert "output: 3" in out and "error: KeyError()" in out and "queue_id: 7" in out and "runtime: 1.5" in out


def test_rm(cache, capsys):
    (cache / ("add" + "0" * 32)).mkdir()
    (cache / ("add" + "0" * 32) / "log").write_text("")
    status, out, _ = run(capsys, "rm", cache, "add*", "torn", "job*")
    assert status == 0 and out.startswith("removed 3 calls")
    assert keys(cache) == ["mean-" + "1" * 32 + "_o.h5", "runs/first_o.h5"]
    assert not (cache / ("add" + "0" * 32)).exists()


def test_what_is_not_there(cache, capsys):
    for arguments in (["rm", cache, "none"], ["show", cache, "none"], ["ls", cache / "none"], ["gc", cache / "none"]):
        status, _, err = run(capsys, *arguments)
        assert status == 1 and "none" in err


@pytest.mark.parametrize(
    ("arguments", "goes"),
    [
        ([], []),
        (["--older-than", "30d"], ["add"]),
        (["--older-than", "12h"], ["add", "mean"]),
        (["--older-than", "12h", "--larger-than", "50k"], ["mean"]),
        (["--larger-than", "1.5M"], []),
        (["--faster-than", "1m"], ["add", "runs"]),
        (["--damaged"], ["torn"]),
        (["--older-than", "0s", "--keep", "add*", "--keep", "runs/*"], ["mean"]),
        (["--total", "50k"], ["add", "mean"]),
        (["--total", "0"], ["add", "mean", "runs"]),
        (["--total", "1G"], []),
        (["--older-than", "0s", "--dry-run"], []),
    ],
    ids=lambda value: " ".join(value),
)
def test_gc(cache, capsys, arguments, goes):
    before = keys(cache)
    status, out, _ = run(capsys, "gc", cache, *arguments)
    assert status == 0
    assert [key for key in before if key not in keys(cache)] == [
        key for key in before if key.startswith(tuple(goes) or "-")
    ]
    assert ("would remove" in out) == ("--dry-run" in arguments)


def test_gc_removes_what_killed_writers_left(tmp_path, capsys):
    old, new = tmp_path / ".executorlib-0123456789abcdef.tmp", tmp_path / ".executorlib-0123456789abcde0.tmp"
    for path in (old, new, tmp_path / "mine.tmp"):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - 2 * 3600,) * 2)
    run(capsys, "gc", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [new.name, "mine.tmp"]


@pytest.mark.parametrize("text", ["", "3", "3x", "-3d", "d"])
def test_wrong_times(tmp_path, text):
    with pytest.raises(SystemExit):
        _cli.main(["cache", "gc", str(tmp_path), f"--older-than={text}"])


@pytest.mark.parametrize("text", ["", "G", "3x", "-3G"])
def test_wrong_sizes(tmp_path, text):
    with pytest.raises(SystemExit):
        _cli.main(["cache", "gc", str(tmp_path), f"--total={text}"])


def test_sizes_and_times_for_people():
    assert [_cli_cache._size(size) for size in (0, 1023, 1024, 20_000, 5 << 30, 3 << 40)] == [
        "0 B", "1023 B", "1.0 kB", "20 kB", "5.0 GB", "3.0 TB",
    ]  # fmt: skip
    assert [_cli_cache._time(time) for time in (0.0015, 2, 90, 7200, 3 * DAY, 730 * DAY)] == [
        "1.5 ms", "2.0 s", "2 m", "2 h", "3 d", "2.0 y",
    ]  # fmt: skip


def test_an_entry_that_is_removed_meanwhile(cache, monkeypatch):
    entries = _catalogue.entries(str(cache))
    next(entries)
    (cache / "torn_o.h5").unlink()
    assert "torn" not in [entry.key for entry in entries]


def test_a_file_that_is_not_there_is_named_without_numbers(capsys):
    assert _cli.main(["report", "no.jsonl"]) == 1
    assert capsys.readouterr().err == "executorlib: no.jsonl: No such file or directory\n"


def test_the_version(capsys):
    with pytest.raises(SystemExit) as caught:
        _cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("executorlib 1.11.0+core.")


def test_the_command_as_a_module():
    command = [sys.executable, "-m", "executorlib", "--version"]
    assert subprocess.check_output(command, text=True, timeout=60) == f"executorlib {__version__}\n"
