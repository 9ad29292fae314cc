"""A worker that cannot start: whoever waits for it hears at once, with what the launcher said."""

import os
import sys
import time

import functions
import pytest
from support import AT_ONCE, SOON

from executorlib.api import ExecutorlibSocketError


@pytest.fixture
def broken_python(tmp_path, monkeypatch):
    """Make sys.executable a program that runs *body* instead of Python."""

    def use(body):
        program = tmp_path / "broken-python"
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        return str(program)

    return use


def first_error(make):
    """The error of the first call, whether the constructor, submit or the future reports it; and how long it took."""
    started = time.monotonic()
    try:
        exe = make()
        futures = [exe.submit(functions.identity, n) for n in range(3)]
        errors = [future.exception(timeout=SOON) for future in futures]
    except ExecutorlibSocketError as error:
        errors = [error]
    assert all(isinstance(error, ExecutorlibSocketError) for error in errors)
    return errors[0], time.monotonic() - started


def test_an_interpreter_that_is_not_there(make, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    error, took = first_error(make)
    assert "/nowhere/python" in str(error)
    assert took < AT_ONCE


def test_an_interpreter_that_refuses(make, broken_python):
    broken_python("echo 'no licence server' >&2; exit 3")
    error, took = first_error(make)
    assert "no licence server" in str(error) and "3" in str(error)
    assert took < AT_ONCE


def test_an_interpreter_that_is_killed(make, broken_python):
    broken_python("echo 'about to die' >&2; kill -9 $$")
    error, took = first_error(make)
    assert "about to die" in str(error)
    assert took < AT_ONCE


def test_an_interpreter_that_talks_nonsense(make, broken_python):
    broken_python("head -c 100000 /dev/zero >&2; exit 0")
    _, took = first_error(make)
    assert took < AT_ONCE


def test_an_interpreter_without_our_package(make, tmp_path, monkeypatch):
    """Another Python, whose import fails: its traceback is the reason."""
    program = tmp_path / "bare-python"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E -c "import executorlib_is_missing_here"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    error, took = first_error(make)
    assert "executorlib_is_missing_here" in str(error)
    assert took < 3 * AT_ONCE


def test_a_sound_executor_beside_a_broken_one(make, monkeypatch):
    sound = make()
    assert sound.submit(functions.identity, 1).result(timeout=SOON) == 1
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/nowhere/python")
        first_error(make)
    assert sound.submit(functions.identity, 2).result(timeout=SOON) == 2
    assert make().submit(functions.identity, 3).result(timeout=SOON) == 3


def test_a_folder_that_cannot_be_made(make, mode, tmp_path):
    """The call's own folder: its fault, told by its error."""
    blocker = tmp_path / "file"
    blocker.touch()
    try:
        exe = make(resource_dict={"cwd": str(blocker / "folder")})
        error = exe.submit(functions.identity, 1).exception(timeout=SOON)
    except OSError as raised:
        error = raised
    assert isinstance(error, (OSError, ExecutorlibSocketError)) and "folder" in str(error)


def test_no_processes_left_to_start(tmp_path, mode):
    """At the limit of processes, calls fail with the reason instead of hanging, and run again when there is room."""
    if os.getuid() == 0:
        pytest.skip("the limit of processes does not bind root")
    from support import run_script

    result = run_script(
        tmp_path,
        f"""
        import resource
        from executorlib import SingleNodeExecutor
        exe = SingleNodeExecutor(max_workers={mode.workers}, block_allocation={mode.block})
        soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
        error = exe.submit(abs, -1).exception(timeout=60)
        resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))
        print(error is None or "Resource temporarily unavailable" in str(error))
        print(exe.submit(abs, -2).result(timeout=60))
        """,
    )
    assert result.stdout.split() == ["True", "2"]


def test_no_descriptors_left(tmp_path, mode):
    """With every descriptor taken, submit or the call fails with the reason; with some free again, calls run."""
    from support import run_script

    result = run_script(
        tmp_path,
        f"""
        import os, resource
        from executorlib import SingleNodeExecutor
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        taken = []
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        try:
            exe = SingleNodeExecutor(max_workers={mode.workers}, block_allocation={mode.block})
            error = exe.submit(abs, -1).exception(timeout=60)
        except (OSError, RuntimeError) as raised:
            error = raised
        for descriptor in taken:
            os.close(descriptor)
        print("Too many open files" in str(error) or repr(error))
        with SingleNodeExecutor(max_workers={mode.workers}, block_allocation={mode.block}) as exe:
            print(exe.submit(abs, -2).result(timeout=60))
        """,
    )
    assert result.stdout.split() == ["True", "2"], result.stderr
