"""One process per call: the user's own modules are found once for many processes, and executed by each."""

import importlib
import itertools
import os
import sys
import textwrap
import time

import pytest
from support import SOON, Mode

#: What each module does first: take so long that the next call gets a process that knows it.
SLOW = "import os, sys, time\ntime.sleep(0.01)\n"

#: What its function tells besides its value.
KNOWN = "'executorlib._own_modules' in sys.modules"

names = (f"own_module_of_the_tests_{number}" for number in itertools.count())


@pytest.fixture
def mode():
    return Mode(block=False, workers=1)


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path / "second"))
    monkeypatch.syspath_prepend(str(tmp_path / "first"))
    imported = set(sys.modules)

    def write(name, source, folder="second"):
        path = tmp_path / folder / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SLOW + textwrap.dedent(source))

    (tmp_path / "first").mkdir()
    yield write
    for name in set(sys.modules) - imported:
        if name.startswith("own_module_of_the_tests"):
            del sys.modules[name]


def call_until_known(exe, function):
    deadline = time.monotonic() + SOON
    known = False
    while not known:
        value, known = exe.submit(function).result(timeout=SOON)
        assert time.monotonic() < deadline
    return value


def value_of(exe, function):
    return exe.submit(function).result(timeout=SOON)[0]


def test_each_process_executes_them(exe, write):
    package = next(names)
    write(f"{package}.__init__", "value = [os.getpid()]\n")
    write(
        f"{package}.part",
        f"""
        from . import value
        value.append(os.getpid())
        def answer():
            import {package}
            return (os.getpid(), value, {package}.part is sys.modules[__name__], __spec__._initializing), {KNOWN}
        """,
    )
    answer = importlib.import_module(f"{package}.part").answer
    for pid, value, linked, initializing in [call_until_known(exe, answer), value_of(exe, answer)]:
        assert value == [pid, pid]
        assert linked
        assert not initializing


@pytest.mark.parametrize("folder", ["first", "second"])
def test_a_change_of_what_is_imported(exe, write, folder):
    name = next(names)
    write(name, f"def answer():\n    return 'old', {KNOWN}\n")
    answer = importlib.import_module(name).answer
    assert call_until_known(exe, answer) == "old"
    write(name, f"def answer():\n    return 'the new one', {KNOWN}\n", folder)
    assert value_of(exe, answer) == "the new one"


def test_one_that_raises(exe, write, tmp_path):
    name = next(names)
    flag = str(tmp_path / "flag")
    write(name, f"if os.path.exists({flag!r}):\n    raise LookupError('flag')\ndef answer():\n    return 1, {KNOWN}\n")
    answer = importlib.import_module(name).answer
    call_until_known(exe, answer)
    os.mkdir(flag)
    with pytest.raises(LookupError, match="flag"):
        value_of(exe, answer)
    os.rmdir(flag)
    assert value_of(exe, answer) == 1


def test_one_that_replaces_itself(exe, write):
    name = next(names)
    write(
        name,
        f"""
        import types
        def answer():
            return type(sys.modules[__name__]).__name__, {KNOWN}
        class Other(types.ModuleType):
            answer = staticmethod(answer)
        sys.modules[__name__] = Other(__name__)
        """,
    )
    answer = importlib.import_module(name).answer
    for _ in range(3):
        assert value_of(exe, answer) == "Other"
