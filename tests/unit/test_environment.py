"""What workers inherit."""

import os
import pickle
import subprocess
import sys

import pytest

from executorlib import _environment
from executorlib._environment import THREAD_VARIABLES, snapshot, zygote
from executorlib._resources import Request


def describe(**resources):
    return snapshot().describe(zygote(), Request(resources))


def test_an_unchanged_environment_is_one_object():
    first = snapshot().setup(zygote(), Request({}))
    assert snapshot().setup(zygote(), Request({})) is first
    assert zygote() is zygote()


@pytest.mark.parametrize("change", ["environ", "path", "cwd", "argv"])
def test_a_change_is_seen(change, monkeypatch, tmp_path):
    before = snapshot()
    if change == "environ":
        monkeypatch.setenv("EXECUTORLIB_TEST", "1")
    elif change == "path":
        monkeypatch.syspath_prepend(tmp_path)
    elif change == "cwd":
        monkeypatch.chdir(tmp_path)
    else:
        monkeypatch.setattr(sys, "argv", ["other"])
    assert snapshot() is not before
    assert snapshot() is snapshot()


def test_only_differences_of_the_environment_travel(monkeypatch):
    monkeypatch.setenv("EXECUTORLIB_TEST_GONE", "1")
    monkeypatch.setenv("PYTHONEXECUTORLIBTEST", "a zygote of its own")
    base = zygote()
    monkeypatch.delenv("EXECUTORLIB_TEST_GONE")
    monkeypatch.setenv("EXECUTORLIB_TEST_NEW", "é=\udcff")
    setup = pickle.loads(snapshot().setup(base, Request({})))
    assert setup["environ"] == {"EXECUTORLIB_TEST_GONE": None, "EXECUTORLIB_TEST_NEW": "é=\udcff"}


def test_setup(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "relative", "/absolute", 3])
    monkeypatch.setattr(sys, "argv", ["script", "option"])
    setup = describe()
    here = os.getcwd()
    assert setup["cwd"] == here
    assert setup["path"] == [here, os.path.join(here, "relative"), "/absolute"]
    assert setup["argv"] == ["script", "option"]
    assert setup["prefix"] == (sys.prefix, sys.exec_prefix)
    assert (setup["threads"], setup["cores"]) == (1, 1)


def test_the_call_chooses_its_directory(tmp_path):
    assert describe(cwd=str(tmp_path / "there"))["cwd"] == str(tmp_path / "there")


def test_a_removed_directory_is_no_reason_to_fail(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert "cwd" not in describe()


def test_chosen_threads_beat_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    changes = describe(threads_per_core=3)["environ"]
    assert {name: changes[name] for name in THREAD_VARIABLES} == dict.fromkeys(THREAD_VARIABLES, "3")


def test_the_environment_beats_threads_nobody_chose(monkeypatch):
    base = zygote()
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    changes = snapshot().describe(base, Request({}))["environ"]
    assert {name: changes[name] for name in THREAD_VARIABLES if name in changes} == {"OMP_NUM_THREADS": "7"}


def test_setups_of_different_requests_differ():
    assert snapshot().setup(zygote(), Request({})) != snapshot().setup(zygote(), Request({"threads_per_core": 1}))


def test_the_key_of_multiprocessing_travels_once_it_is_in_use():
    import multiprocessing

    assert describe()["authkey"] == bytes(multiprocessing.current_process().authkey)


@pytest.mark.parametrize("name", ["LD_LIBRARY_PATH", "PYTHONHASHSEED", "MALLOC_ARENA_MAX", "LC_ALL", "TZ"])
def test_what_only_a_new_interpreter_reads_needs_another_zygote(name, monkeypatch):
    before = zygote()
    monkeypatch.setenv(name, "1")
    after = zygote()
    assert after.spec[0] != before.spec[0]
    assert f"{name}=1" in after.spec[2]


def test_other_variables_do_not(monkeypatch):
    before = zygote()
    monkeypatch.setenv("EXECUTORLIB_TEST", "1")
    assert zygote() is before


def test_command():
    key, argv, environ = zygote().spec
    assert argv[0] == sys.executable
    assert argv[-2] == "-c"
    compile(argv[-1], "boot", "exec")
    assert "zygote_main(3)" in argv[-1]
    assert "\0" not in key
    assert all("=" in entry for entry in environ)


def test_without_an_interpreter(monkeypatch):
    monkeypatch.setattr(sys, "executable", None)
    with pytest.raises(RuntimeError, match=r"sys\.executable"):
        zygote()


@pytest.mark.parametrize(
    "options",
    [[], ["-O"], ["-OO", "-B"], ["-s"], ["-W", "error"], ["-X", "dev"], ["-X", "utf8=1"], ["-b"]],
    ids=" ".join,
)
def test_flags_travel(options):
    """An interpreter started with our options has the flags of the one that made them."""
    script = "import sys; print(list(sys.flags), [w for w in dict.fromkeys(sys.warnoptions)], sys._xoptions)"
    ask = "from executorlib._environment import _interpreter_flags as f; print('\\n'.join(f()))"
    first = run([*options, "-c", script])
    ours = [option for option in run([*options, "-c", ask]).splitlines() if option]
    again = run([*ours, "-c", script])
    assert first == again


def run(options):
    return subprocess.run([sys.executable, *options], capture_output=True, text=True, timeout=30, check=True).stdout


@pytest.mark.parametrize(
    ("name", "text", "needed"),
    [
        ("plain.pth", "/some/folder\n# import nothing\n", False),
        ("finder.pth", "/some/folder\nimport finder; finder.install()\n", True),
        ("tab.pth", "import\tfinder\n", True),
        ("distutils-precedence.pth", "import os\n", False),
        ("finder.txt", "import finder\n", False),
    ],
)
def test_start_up_files_that_run_code_need_site(name, text, needed, monkeypatch, tmp_path):
    import site

    (tmp_path / name).write_text(text)
    monkeypatch.setattr(_environment, "_site_needed", None)
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(tmp_path), str(tmp_path / "missing")])
    monkeypatch.setattr(site, "ENABLE_USER_SITE", False)
    monkeypatch.delitem(sys.modules, "sitecustomize", raising=False)
    monkeypatch.delitem(sys.modules, "usercustomize", raising=False)
    assert ("-S" not in zygote().spec[1]) == needed


@pytest.mark.parametrize("module", ["sitecustomize", "usercustomize"])
def test_customisations_need_site(module, monkeypatch):
    monkeypatch.setattr(_environment, "_site_needed", None)
    monkeypatch.setitem(sys.modules, module, sys)
    assert "-S" not in zygote().spec[1]
