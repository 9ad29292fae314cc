"""Files that are damaged or cannot be written: told by name, never a hang, never a wrong result."""

import errno
import os
import resource
import signal
import subprocess
import threading
import warnings
from pathlib import Path

import cloudpickle
import functions
import pytest
import support

from executorlib import SingleNodeExecutor, _store, get_cache_data


@pytest.fixture(params=[support.Mode(False, 1), support.Mode(True, 1)], ids=str)
def mode(request):
    return request.param


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def entry(make, folder):
    """The file of a call that has been computed."""
    assert make(cache_directory=folder).submit(functions.identity, "value").result() == "value"
    (path,) = folder.iterdir()
    return path


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def blank(path):
    path.write_bytes(b"")


def overwrite_with_zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def zero_the_end(path):
    data = path.read_bytes()
    path.write_bytes(data[:512] + bytes(len(data) - 512))


def write_text(path):
    path.write_text("not a result\n" * 100)


def make_fifo(path):
    path.unlink()
    os.mkfifo(path)


def leave_out_the_result(path):
    _store.write(path, {"function": b""})


def spoil_the_pickle(path):
    _store.write(path, {"output": b"\x80\x05cno.such.module\nname\n."})


def make_huge(path):
    os.truncate(path, 0)
    os.truncate(path, 1 << 40)


DAMAGE = [
    cut, blank, overwrite_with_zeros, zero_the_end, write_text, make_fifo, leave_out_the_result, spoil_the_pickle,
    make_huge,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda function: function.__name__)
def test_a_damaged_file_is_named_and_written_anew(make, folder, entry, damage):
    damage(entry)
    exe = make(cache_directory=folder)
    with pytest.warns(UserWarning, match=f"{entry.name}.*computed again"):
        future = exe.submit(functions.identity, "value")
    assert future.result(timeout=support.SOON) == "value"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert exe.submit(functions.identity, "value").done()


def test_a_worker_names_damaged_files_too(make, folder, entry, tmp_path, capfd):
    blank(entry)
    gate = support.Gate(tmp_path / "gate")
    exe = make(cache_directory=folder, max_workers=2)
    consumer = exe.submit(functions.identity, gate.submit(exe, "value"))
    gate.open()
    assert consumer.result(timeout=support.SOON) == "value"
    exe.shutdown()
    gate.close()
    assert entry.name in capfd.readouterr().err


def test_a_folder_in_place_of_the_file(make, folder, entry):
    """It cannot be replaced: the call says so, and others go on."""
    entry.unlink()
    entry.mkdir()
    exe = make(cache_directory=folder)
    with pytest.warns(UserWarning, match=entry.name):
        future = exe.submit(functions.identity, "value")
    with pytest.raises(IsADirectoryError, match="could not be kept") as caught:
        future.result(timeout=support.SOON)
    assert caught.value.filename == str(entry)
    assert exe.submit(functions.add, 1, 2).result(timeout=support.SOON) == 3


def test_a_file_in_place_of_the_cache(make, folder):
    folder.write_text("")
    with pytest.raises(NotADirectoryError) as caught:
        make(cache_directory=folder)
    assert caught.value.filename == str(folder)
    exe = make()
    with pytest.warns(UserWarning), pytest.raises(NotADirectoryError):
        exe.submit(functions.add, 1, 2, resource_dict={"cache_directory": folder})
    assert exe.submit(functions.add, 1, 2).result() == 3


needs_rights_to_lack = pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")


@needs_rights_to_lack
def test_a_cache_that_cannot_be_read(make, folder):
    folder.mkdir(mode=0)
    with pytest.raises(PermissionError, match="cannot be read"):
        make(cache_directory=folder)


@needs_rights_to_lack
def test_a_cache_that_cannot_be_written(make, folder, entry):
    folder.chmod(0o500)
    exe = make(cache_directory=folder)
    assert exe.submit(functions.identity, "value").result() == "value"
    with pytest.raises(PermissionError, match="none can be written") as caught:
        exe.submit(functions.identity, "another")
    assert caught.value.filename == str(folder)
    folder.chmod(0o700)
    assert exe.submit(functions.identity, "another").result(timeout=support.SOON) == "another"


def mount(folder, options):
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("cannot mount a file system")


@pytest.fixture
def small_disk(folder):
    folder.mkdir()
    mount(folder, "size=1m")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("size", [2 << 20, 200_000])
def test_a_full_disk(make, small_disk, size):
    """Large results go to the disk piece by piece, small ones at once."""
    (small_disk / "filling").write_bytes(bytes(900_000))
    exe = make(cache_directory=small_disk)
    with pytest.raises(OSError, match="could not be kept") as caught:
        exe.submit(functions.identity, os.urandom(size)).result(timeout=support.SOON)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename.startswith(str(small_disk / "identity"))
    assert [path.name for path in small_disk.iterdir()] == ["filling"]
    assert exe.submit(functions.identity, "small").result(timeout=support.SOON) == "small"
    (small_disk / "filling").unlink()
    assert len(exe.submit(functions.identity, os.urandom(200_000)).result(timeout=support.SOON)) == 200_000
    exe.shutdown()


@pytest.mark.parametrize("mode", [support.Mode(True, 1)], ids=str)
def test_a_read_only_disk(make, folder):
    folder.mkdir()
    mount(folder, "size=1m")
    try:
        make(cache_directory=folder).submit(functions.identity, "value").result()
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        exe = make(cache_directory=folder)
        assert exe.submit(functions.identity, "value").result() == "value"
        with pytest.raises(OSError, match="none can be written"):
            exe.submit(functions.identity, "another")
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def limit_file_size(size):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    return "limited"


@pytest.mark.parametrize("mode", [support.Mode(True, 1)], ids=str)
@pytest.mark.parametrize("size", [150_000, 2 << 20])
def test_no_room_for_a_file(make, folder, size):
    """As with a quota: the kernel refuses to let the file grow."""
    exe = make(cache_directory=folder)
    exe.submit(limit_file_size, 100_000, resource_dict={"cache_key": "limit"}).result()
    with pytest.raises(OSError, match="could not be kept") as caught:
        exe.submit(functions.identity, os.urandom(size)).result(timeout=support.SOON)
    assert caught.value.errno == errno.EFBIG
    assert exe.submit(functions.identity, "small").result(timeout=support.SOON) == "small"
    assert len(list(folder.iterdir())) == 2


def test_what_cannot_be_pickled_fails_alone(make, folder):
    exe = make(cache_directory=folder)
    with pytest.raises(TypeError, match="pickle"):
        exe.submit(threading.Lock).result(timeout=support.SOON)
    assert exe.submit(functions.add, 1, 2).result(timeout=support.SOON) == 3
    assert len(list(folder.iterdir())) == 1


@pytest.mark.orphans
def test_writers_killed_at_any_time_leave_whole_files_or_none(tmp_path):
    """Results of several sizes are written over and over by a driver that is killed; whatever is there can be read."""
    source = """
        import os
        from executorlib import SingleNodeExecutor, _store
        print("ready", flush=True)
        number = 0
        while True:
            for size in (10, 100_000, 1_000_000):
                _store.write(f"cache/{size}_o.h5", {"output": b"%d" % (number % 10) * size}, sync=False)
            number += 1
    """
    (tmp_path / "cache").mkdir()
    for _ in range(5):
        with support.Driver(tmp_path, source) as driver:
            driver.expect("ready")
            while not (tmp_path / "cache" / "1000000_o.h5").exists():
                os.sched_yield()
            driver.kill()
        for path in (tmp_path / "cache").glob("*_o.h5"):
            output = _store.read(path)["output"]
            assert output == output[:1] * int(path.name.split("_")[0])
            path.unlink()


@pytest.mark.orphans
def test_two_programs_compute_the_same(tmp_path):
    """Both write the same file: whoever is last wins, and nobody notices."""
    source = """
        from executorlib import SingleNodeExecutor
        with SingleNodeExecutor(block_allocation=True, max_workers=1, cache_directory="cache") as exe:
            print("ready", flush=True)
            input()
            print(sum(exe.map(abs, range(-30, 0))), flush=True)
    """
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        (folder / "cache").symlink_to(tmp_path / "cache")
    (tmp_path / "cache").mkdir()
    with support.Driver(folders[0], source) as one, support.Driver(folders[1], source) as other:
        for driver in (one, other):
            driver.expect("ready")
        for driver in (one, other):
            driver.say()
        assert [driver.line() for driver in (one, other)] == ["465", "465"]
    assert sorted(entry["output"] for entry in get_cache_data(tmp_path / "cache")) == list(range(1, 31))
    assert len(list((tmp_path / "cache").iterdir())) == 30


def test_an_entry_written_by_hand_is_read(make, folder):
    folder.mkdir()
    _store.write(folder / "key_o.h5", {"output": cloudpickle.dumps(7)}, compress=True)
    with SingleNodeExecutor(cache_directory=Path(folder)) as exe:
        assert exe.submit(functions.add, 1, 2, resource_dict={"cache_key": "key"}).result() == 7
