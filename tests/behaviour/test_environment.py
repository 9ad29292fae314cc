"""What travels with a call: environment, folder, import path, keys, terminal."""

import multiprocessing
import os
import sys

import functions
import pytest
from beds.waiting import until
from support import SOON, run_script

from executorlib import SingleNodeExecutor

THREAD_VARIABLES = [
    f"{name}_NUM_THREADS" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB", "NUMBA")
]  # fmt: skip


def test_environment_at_construction_or_at_submission(make, mode, monkeypatch):
    monkeypatch.setenv("EXECUTORLIB_PROBE", "construction")
    monkeypatch.setenv("EXECUTORLIB_REMOVED", "present")
    exe = make()
    monkeypatch.setenv("EXECUTORLIB_PROBE", "submission")
    monkeypatch.delenv("EXECUTORLIB_REMOVED")
    seen = exe.submit(functions.environment, "EXECUTORLIB_PROBE", "EXECUTORLIB_REMOVED").result(timeout=SOON)
    assert tuple(seen.values()) == (("construction", "present") if mode.block else ("submission", None))


def test_environment_of_two_executors(make, monkeypatch):
    monkeypatch.setenv("EXECUTORLIB_PROBE", "one")
    first = make()
    assert first.submit(functions.environment, "EXECUTORLIB_PROBE").result(timeout=SOON) == {"EXECUTORLIB_PROBE": "one"}
    monkeypatch.setenv("EXECUTORLIB_PROBE", "two")
    second = make()
    assert second.submit(functions.environment, "EXECUTORLIB_PROBE").result(timeout=SOON) == {
        "EXECUTORLIB_PROBE": "two"
    }


def test_calls_do_not_change_the_driver(exe):
    def change():
        os.environ["EXECUTORLIB_CHANGED"] = "yes"
        os.chdir("/")
        sys.path.insert(0, "/nowhere")

    before = os.getcwd()
    exe.submit(change).result(timeout=SOON)
    assert "EXECUTORLIB_CHANGED" not in os.environ and os.getcwd() == before and "/nowhere" not in sys.path


def test_working_directory_at_construction_or_at_submission(make, mode, tmp_path, monkeypatch):
    construction, submission = tmp_path / "construction", tmp_path / "submission"
    construction.mkdir()
    submission.mkdir()
    monkeypatch.chdir(construction)
    exe = make()
    monkeypatch.chdir(submission)
    expected = construction if mode.block else submission
    assert exe.submit(functions.working_directory).result(timeout=SOON) == str(expected)


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
def test_cwd_is_created(make, tmp_path, kind):
    folder = tmp_path / "not" / "yet"
    exe = make(resource_dict={"cwd": kind(folder)})
    assert exe.submit(functions.working_directory).result(timeout=SOON) == str(folder)
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_cwd_per_call(make, mode, tmp_path):
    if mode.block:
        pytest.skip("the folder of a persistent worker is the executor's")
    exe = make()
    for name in ("a", "b"):
        seen = exe.submit(functions.working_directory, resource_dict={"cwd": str(tmp_path / name)})
        assert seen.result(timeout=SOON) == str(tmp_path / name)


def test_modules_found_through_the_drivers_path_only(make, tmp_path, monkeypatch, mode):
    folder = tmp_path / "modules"
    folder.mkdir()
    name = f"found_by_path_{mode.block}_{mode.workers}"
    (folder / f"{name}.py").write_text("def triple(x):\n    return 3 * x\n")
    monkeypatch.syspath_prepend(folder)
    module = __import__(name)
    exe = make()
    assert exe.submit(module.triple, 2).result(timeout=SOON) == 6


def test_modules_in_the_current_folder(tmp_path, mode):
    (tmp_path / "beside_the_script.py").write_text("def triple(x):\n    return 3 * x\n")
    result = run_script(
        tmp_path,
        f"""
        from executorlib import SingleNodeExecutor
        from beside_the_script import triple
        with SingleNodeExecutor(max_workers={mode.workers}, block_allocation={mode.block}) as exe:
            print(exe.submit(triple, 2).result())
        """,
    )
    assert (result.stdout, result.stderr, result.returncode) == ("6\n", "", 0)


def test_functions_of_main_without_a_guard(tmp_path, mode):
    result = run_script(
        tmp_path,
        f"""
        from executorlib import SingleNodeExecutor
        print("top level")
        FACTOR = 3
        class Pair:
            def __init__(self, a, b):
                self.a, self.b = a, b
        def triple(x):
            return FACTOR * x
        def make_pair(x):
            return Pair(triple(x), x)
        exe = SingleNodeExecutor(max_workers={mode.workers}, block_allocation={mode.block})
        print(exe.submit(triple, 2).result(), list(exe.map(triple, [1, 2])))
        pair = exe.submit(make_pair, 5).result()
        print(type(pair) is Pair, pair.a, pair.b, exe.submit(lambda p: p.a + p.b, pair).result())
        FACTOR = 4
        print(exe.submit(triple, 2).result())
        """,
    )
    assert result.stderr == ""
    assert result.stdout.splitlines() == ["top level", "6 [3, 6]", "True 15 5 20", "8"]
    assert result.returncode == 0


def test_script_from_standard_input_and_command_line(tmp_path, mode):
    import subprocess

    from support import script_environment

    source = (
        "from executorlib import SingleNodeExecutor\n"
        "def triple(x): return 3 * x\n"
        f"with SingleNodeExecutor(max_workers=1, block_allocation={mode.block}) as exe:\n"
        "    print(exe.submit(triple, 2).result())\n"
    )
    for command, text in (([sys.executable, "-"], source), ([sys.executable, "-c", source], "")):
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=SOON, cwd=tmp_path, env=script_environment()
        )
        assert (done.stdout, done.stderr, done.returncode) == ("6\n", "", 0)


def test_multiprocessing_authkey(exe):
    def authkey():
        return bytes(multiprocessing.current_process().authkey)

    assert exe.submit(authkey).result(timeout=SOON) == bytes(multiprocessing.current_process().authkey)


@pytest.mark.orphans
def test_multiprocessing_manager_proxies(tmp_path, mode):
    """In a script of its own, since multiprocessing leaves its resource tracker running until the end."""
    result = run_script(
        tmp_path,
        f"""
        import multiprocessing
        from executorlib import SingleNodeExecutor
        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Manager() as manager:
                shared = manager.list()
                with SingleNodeExecutor(max_workers={mode.workers}, block_allocation={mode.block}) as exe:
                    exe.submit(shared.append, 5).result()
                print(list(shared))
        """,
    )
    assert (result.stdout, result.stderr) == ("[5]\n", "")


def test_thread_variables_are_set_before_the_first_import(make, mode, monkeypatch):
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    exe = make(max_workers=1, resource_dict={"threads_per_core": 2})
    assert exe.submit(functions.environment, *THREAD_VARIABLES).result(timeout=SOON) == dict.fromkeys(
        THREAD_VARIABLES, "2"
    )


def test_thread_variables_per_call(make, mode, monkeypatch):
    if mode.block:
        pytest.skip("the threads of a persistent worker are the executor's")
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    exe = make()
    for threads in (1, 2, 3):
        seen = exe.submit(functions.environment, *THREAD_VARIABLES, resource_dict={"threads_per_core": threads})
        assert set(seen.result(timeout=SOON).values()) <= {str(threads), None if threads == 1 else str(threads)}


@pytest.mark.parametrize("attempt", range(3))
def test_environment_set_in_the_function_reaches_an_import(make, mode, tmp_path, monkeypatch, attempt):
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "reads_environment.py").write_text("import os\nvalue = os.environ.get('READ_AT_IMPORT')\n")
    monkeypatch.syspath_prepend(folder)

    def set_and_import(value):
        os.environ["READ_AT_IMPORT"] = value
        import reads_environment

        return reads_environment.value

    exe = make(max_workers=1)
    seen = [exe.submit(set_and_import, value).result(timeout=SOON) for value in "abcd"]
    assert seen == (["a"] * 4 if mode.block else list("abcd"))


def test_libraries_are_imported_once_although_they_change_the_environment(make, mode, tmp_path, monkeypatch):
    """As PyTorch does when it first uses a GPU."""
    if mode.block:
        pytest.skip("a persistent worker imports once")
    folder = tmp_path / "site-packages"  # as an installed library: those are what templates import
    folder.mkdir()
    (folder / "changes_environment.py").write_text(
        "import os, time\nimporter = os.getpid()\ntime.sleep(0.02)\n"
        "def start(): os.environ['CHANGED_BY_LIBRARY'] = '1'\n"
    )
    monkeypatch.syspath_prepend(folder)

    def use():
        import changes_environment

        changes_environment.start()
        return changes_environment.importer != os.getpid()

    exe = make(max_workers=1)
    until(lambda: exe.submit(use).result(timeout=SOON), SOON, "a process that finds the library imported")


def test_environment_set_in_the_function_reaches_numpy(make, mode):
    pytest.importorskip("numpy")
    if mode.block:
        pytest.skip("a persistent worker imports once")

    def threads_of_blas(number):
        os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = number
        import numpy  # noqa: F401

        return len(os.listdir("/proc/self/task"))

    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("a BLAS pool needs two cores to show")
    exe = make()
    assert [exe.submit(threads_of_blas, n).result(timeout=SOON) for n in "1212"] == [1, 2, 1, 2]


def test_standard_input_is_empty(exe):
    def read():
        return sys.stdin.read(), os.readlink("/proc/self/fd/0")

    assert exe.submit(read).result(timeout=SOON) == ("", "/dev/null")


def test_output_appears_on_the_drivers_terminal(make, capfd):
    def speak():
        print("hello from print")
        print("hello from stderr", file=sys.stderr)
        os.write(1, b"hello from descriptor 1\n")
        os.system("echo hello from a child process")

    with make() as exe:
        exe.submit(speak).result(timeout=SOON)
    out, err = capfd.readouterr()
    assert {"hello from print", "hello from descriptor 1", "hello from a child process"} <= set(out.splitlines())
    assert "hello from stderr" in err.splitlines()


def test_nothing_of_a_large_output_is_lost(make, capfd):
    def speak():
        for number in range(2000):
            print(f"{number} " + "x" * 100)

    with make() as exe:
        exe.submit(speak).result(timeout=SOON)
    lines = [line.split()[0] for line in capfd.readouterr().out.splitlines() if line.endswith("x" * 100)]
    assert lines == [str(number) for number in range(2000)]


def test_an_output_without_newline_is_not_lost(make, capfd):
    with make() as exe:
        exe.submit(lambda: print("no newline", end="")).result(timeout=SOON)
    assert "no newline" in capfd.readouterr().out


def test_random_state_is_not_shared(make, mode, make_gate):
    pytest.importorskip("numpy")
    exe = make()
    if not mode.block:
        numbers = [exe.submit(functions.numpy_random_numbers).result(timeout=SOON) for _ in range(6)]
    else:

        def at_gate(folder):
            functions.pass_gate(folder)
            return functions.numpy_random_numbers()

        gate = make_gate()
        futures = [exe.submit(at_gate, gate.folder) for _ in range(mode.workers)]
        gate.arrivals(mode.workers)
        gate.open()
        numbers = [future.result(timeout=SOON) for future in futures]
        numbers.append(exe.submit(functions.numpy_random_numbers).result(timeout=SOON))
    drawn = [number for call in numbers for number in call]
    assert len(set(drawn)) == len(drawn)


def test_random_state_differs_between_executors(mode):
    drawn = []
    for _ in range(3):
        with SingleNodeExecutor(max_workers=1, block_allocation=mode.block) as exe:
            drawn += exe.submit(functions.random_numbers).result(timeout=SOON)
    assert len(set(drawn)) == 3


def test_exit_handlers_run_and_files_are_flushed(make, tmp_path):
    with make() as exe:
        exe.submit(functions.write_at_exit, str(tmp_path / "handler"), "ran").result(timeout=SOON)
        exe.submit(functions.write_without_closing, str(tmp_path / "file"), "flushed").result(timeout=SOON)
    assert (tmp_path / "handler").read_text() == "ran"
    assert (tmp_path / "file").read_text() == "flushed"


def test_the_end_of_a_worker_imports_no_lazy_module(make, tmp_path, capfd):
    with make() as exe:
        exe.submit(functions.leave_lazy_module, str(tmp_path / "log")).result(timeout=SOON)
    assert not (tmp_path / "log").exists()
    assert "too late" not in capfd.readouterr().err


def test_threads_of_the_call_are_joined(make, tmp_path):
    def start_thread(path):
        import threading

        threading.Thread(target=functions.append_line, args=(path, "from a thread")).start()

    with make() as exe:
        exe.submit(start_thread, str(tmp_path / "log")).result(timeout=SOON)
    assert (tmp_path / "log").read_text() == "from a thread\n"


def test_signals_are_at_their_defaults(exe):
    def handlers():
        import signal

        return signal.getsignal(signal.SIGINT) is signal.default_int_handler, signal.pthread_sigmask(0, [])

    default, blocked = exe.submit(handlers).result(timeout=SOON)
    assert default and not blocked


def test_calls_run_in_the_main_thread(exe):
    def main_thread():
        import threading

        return threading.current_thread() is threading.main_thread(), threading.active_count()

    assert exe.submit(main_thread).result(timeout=SOON) == (True, 1)


def test_the_driver_may_change_its_folder_to_one_that_disappears(make, mode, tmp_path, monkeypatch):
    folder = tmp_path / "vanishing"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    error = None
    try:
        exe = make()
        exe.submit(functions.add, 1, 2).result(timeout=SOON)
    except OSError as caught:
        error = caught
    monkeypatch.undo()
    # Either it runs or the user learns about the folder; it must not hang.
    assert error is None or "No such file" in str(error)
