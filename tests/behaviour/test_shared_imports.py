"""Libraries that persistent workers need are imported once, and their own modules by each."""

import itertools
import os
import random
import signal
import sys
import textwrap

import functions
import pytest
from support import AT_ONCE, SOON, Mode, alive_after, status

from executorlib.api import ExecutorlibSocketError

#: What each module does at import outside the driver: leave its process id.
NOTE = """
import os
if os.getpid() != {driver}:
    with open({log!r}, "a") as log:
        log.write(f"{{os.getpid()}}\\n")
"""

names = (f"library_of_the_tests_{number}" for number in itertools.count())


class Library:
    """A module in a folder of its own that notes where it is imported."""

    def __init__(self, folder, source):
        self.log = folder.parent / f"{folder.name}.log"
        self.log.touch()
        self.name = next(names)
        note = NOTE.format(driver=os.getpid(), log=str(self.log))
        (folder / f"{self.name}.py").write_text(note + f"driver = {os.getpid()}\n" + textwrap.dedent(source))
        self.module = __import__(self.name)

    def importers(self):
        return [int(line) for line in self.log.read_text().split()]

    def at_gate(self):
        """A function that goes by value and needs the library."""
        library = self.module

        def wait(folder):
            functions.pass_gate(folder)
            return os.getpid(), library.answer()

        return wait


@pytest.fixture
def mode():
    return Mode(block=True, workers=2)


@pytest.fixture
def library(tmp_path, monkeypatch):
    made = []

    def make(source="", folder="site-packages"):
        directory = tmp_path / folder
        directory.mkdir()
        monkeypatch.syspath_prepend(str(directory))
        made.append(Library(directory, "def answer():\n    return 42\n" + textwrap.dedent(source)))
        return made[-1]

    yield make
    for one in made:
        sys.modules.pop(one.name, None)


def run_on_all(exe, library, make_gate, workers=2):
    """Run a call on each worker at the same time; returns their pids."""
    gate = make_gate()
    call = library.at_gate()
    futures = [exe.submit(call, gate.folder) for _ in range(workers)]
    gate.arrivals(workers)
    gate.open()
    pids, answers = zip(*[future.result(timeout=SOON) for future in futures])
    assert set(answers) == {42} and len(set(pids)) == workers
    return set(pids)


def test_a_library_is_imported_once(make, library, make_gate):
    lib = library()
    pids = run_on_all(make(), lib, make_gate)
    (importer,) = lib.importers()
    assert importer not in pids


def test_a_function_of_a_library_by_name(make, library, make_gate):
    lib = library(
        "def wait(folder):\n    import functions, os\n    functions.pass_gate(folder)\n    return os.getpid()\n"
    )
    gate = make_gate()
    exe = make()
    futures = [exe.submit(lib.module.wait, gate.folder) for _ in range(2)]
    pids = set(gate.arrivals(2))
    gate.open()
    assert {future.result(timeout=SOON) for future in futures} == pids
    assert len(lib.importers()) == 1


def test_workers_that_come_later_have_it_too(make, library, make_gate):
    lib = library()
    exe = make()
    pids = run_on_all(exe, lib, make_gate)
    exe.max_workers = 4
    pids |= run_on_all(exe, lib, make_gate, workers=4)
    victim = next(iter(pids))
    os.kill(victim, signal.SIGKILL)
    assert not alive_after([victim], SOON)
    pids |= run_on_all(exe, lib, make_gate, workers=4)
    assert len(pids) == 5 and len(lib.importers()) == 1


def test_a_module_of_the_user_is_imported_by_each_worker(make, library, make_gate):
    lib = library(folder="modules")
    assert run_on_all(make(), lib, make_gate) == set(lib.importers())


@pytest.mark.parametrize(
    "arguments",
    [{"init_function": dict}, {"resource_dict": {"threads_per_core": 2}}, {"max_workers": 1}],
    ids=["init_function", "threads", "one worker"],
)
def test_where_each_worker_does_its_own_imports(make, library, make_gate, arguments):
    lib = library()
    pids = run_on_all(make(**arguments), lib, make_gate, workers=arguments.get("max_workers", 2))
    assert sorted(lib.importers()) == sorted(pids)


def test_a_call_that_needs_no_library_decides_too(make, library, make_gate):
    lib = library()
    exe = make()
    assert exe.submit(functions.identity, 1).result(timeout=SOON) == 1
    pids = run_on_all(exe, lib, make_gate)
    assert set(lib.importers()) == pids, "the workers are there already"


def test_the_import_sees_what_the_executor_was_made_with(make, library, make_gate, monkeypatch, tmp_path):
    lib = library("seen = os.environ.get('EXECUTORLIB_PROBE'), os.getcwd(), os.environ.get('OMP_NUM_THREADS')\n")
    module = lib.module
    monkeypatch.setenv("EXECUTORLIB_PROBE", "construction")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.chdir(tmp_path)
    exe = make()
    monkeypatch.setenv("EXECUTORLIB_PROBE", "later")
    monkeypatch.chdir("/")
    assert exe.submit(lambda: module.seen).result(timeout=SOON) == ("construction", str(tmp_path), "1")


def test_two_executors_with_different_environments(make, library, monkeypatch):
    module = library("seen = os.environ.get('EXECUTORLIB_PROBE')\n").module
    for value in ("one", "two"):
        monkeypatch.setenv("EXECUTORLIB_PROBE", value)
        assert make().submit(lambda: module.seen).result(timeout=SOON) == value


def test_random_numbers_differ_between_the_workers(make, make_gate):
    numpy = pytest.importorskip("numpy")

    def draw(folder):
        functions.pass_gate(folder)
        return random.random(), numpy.random.random(), numpy.random.default_rng().random()

    exe = make()
    gate = make_gate()
    futures = [exe.submit(draw, gate.folder) for _ in range(2)]
    gate.arrivals(2)
    gate.open()
    first, second = (future.result(timeout=SOON) for future in futures)
    assert all(a != b for a, b in zip(first, second))


def test_a_library_that_starts_a_thread(make, library, make_gate):
    """A fork would lose the thread: each worker does its own import."""
    lib = library(
        """
        import threading

        thread = threading.Thread(target=threading.Event().wait, daemon=True)
        if os.getpid() != driver:
            thread.start()

        def answer():
            return 42 if thread.is_alive() else "no thread"
        """
    )
    pids = run_on_all(make(), lib, make_gate)
    assert pids < set(lib.importers())


def test_a_library_that_starts_a_process(make, library, make_gate):
    """It serves who has started it: each worker does its own import."""
    lib = library(
        """
        import subprocess

        if os.getpid() != driver:
            helper = subprocess.Popen(["cat"], stdin=subprocess.PIPE)

        def answer():
            return 42 if helper.poll() is None else "no helper"
        """
    )
    exe = make()
    pids = run_on_all(exe, lib, make_gate)
    assert pids < set(lib.importers())
    victim = next(iter(pids))
    os.kill(victim, signal.SIGKILL)
    assert not alive_after([victim], SOON)
    assert len(run_on_all(exe, lib, make_gate) & pids) == 1


def test_a_library_that_runs_a_process_and_waits_for_it(make, library, make_gate):
    lib = library("import subprocess\nsubprocess.run(['true'], check=True)\n")
    run_on_all(make(), lib, make_gate)
    assert len(lib.importers()) == 1


def test_a_library_that_cannot_be_imported(make, library):
    lib = library("if os.getpid() != driver:\n    raise RuntimeError('no licence')\n")
    exe = make()
    futures = [exe.submit(lib.module.answer) for _ in range(4)]
    for future in futures:
        with pytest.raises(RuntimeError, match="no licence"):
            future.result(timeout=SOON)
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


@pytest.mark.parametrize("exception", ["SystemExit(3)", "KeyboardInterrupt", "BaseException"])
def test_a_library_that_raises_what_is_no_error(make, library, exception):
    lib = library(f"if os.getpid() != driver:\n    raise {exception}\n")
    exe = make()
    assert exe.submit(lib.module.answer).exception(timeout=SOON) is not None
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


@pytest.mark.parametrize(
    ("deed", "said"),
    [("os._exit(3)", "3"), ("os.kill(os.getpid(), 9)", "SIGKILL"), ("os.abort()", "SIGABRT")],
    ids=["exit", "kill", "abort"],
)
def test_a_library_that_ends_the_process(make, library, deed, said):
    lib = library(
        f"""
        if os.getpid() != driver:
            import resource
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            {deed}
        """
    )
    exe = make()
    futures = [exe.submit(lib.module.answer) for _ in range(3)]
    for future in futures:
        error = future.exception(timeout=SOON)
        assert isinstance(error, ExecutorlibSocketError) and said in str(error)
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_a_library_that_ends_the_template_only(make, library, make_gate, tmp_path):
    """Who tries first, fails; the workers then do their own imports."""
    marker = tmp_path / "tried"
    lib = library(
        f"""
        if os.getpid() != driver:
            try:
                os.mkdir({str(marker)!r})
            except FileExistsError:
                pass
            else:
                os._exit(1)
        """
    )
    pids = run_on_all(make(), lib, make_gate)
    assert pids < set(lib.importers()) and len(lib.importers()) == 3


def test_a_lost_template_takes_its_workers_and_is_replaced(make, library, make_gate):
    lib = library()
    exe = make()
    gate = make_gate()
    call = lib.at_gate()
    futures = [exe.submit(call, gate.folder) for _ in range(2)]
    pids = set(gate.arrivals(2))
    (template,) = lib.importers()
    assert {int(status(pid)["PPid"]) for pid in pids} == {template}
    os.kill(template, signal.SIGKILL)
    for future in futures:
        assert isinstance(future.exception(timeout=SOON), ExecutorlibSocketError)
    assert not alive_after(pids, AT_ONCE)
    assert not run_on_all(exe, lib, make_gate) & pids


@pytest.mark.parametrize("wait", [True, False], ids=["wait", "leave"])
def test_all_processes_end_with_the_executor(make, library, make_gate, wait):
    lib = library()
    exe = make()
    pids = run_on_all(exe, lib, make_gate)
    exe.shutdown(wait=wait)
    assert not alive_after([*pids, *lib.importers()], 0 if wait else SOON)


def test_it_ends_at_once_while_others_use_the_zygote(make, library, make_gate):
    """The template stays for the next executor with that setup and those libraries, until the last one goes."""
    lib = library()
    other = make()
    assert other.submit(functions.identity, 1).result(timeout=SOON) == 1
    for _ in range(3):
        exe = make()
        pids = run_on_all(exe, lib, make_gate)
        exe.shutdown()
        assert not alive_after(pids, 0)
    assert len(lib.importers()) == 1
    other.shutdown()
    assert not alive_after(lib.importers(), 0)
