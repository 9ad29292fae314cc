"""Every way for a call over MPI ranks to fail: a clear error in time, the next call runs, nothing is left behind."""

import os
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

import functions
import mpi_functions
import mpis
import pytest
import support
from support import AT_ONCE, SOON, TIME_FACTOR, Driver, alive_after, descendants

from executorlib import SingleNodeExecutor
from executorlib.api import ExecutorlibSocketError

#: Seconds from the fault to the error; ranks and launcher are processes that start and end within it. On a machine with
#: nothing else to do it takes two.
IN_TIME = 15 * TIME_FACTOR

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(params=mpis.ALL, ids=str)
def mpi(request, monkeypatch):
    request.param.use(monkeypatch)
    return request.param


@pytest.fixture(autouse=True)
def no_files():
    with mpis.no_files_left():
        yield


@pytest.fixture(params=[False, True], ids=["per_call", "block"])
def block(request):
    return request.param


@pytest.fixture
def make_ranks(mpi, block):
    with support.ended_executors(SingleNodeExecutor, max_workers=1, block_allocation=block) as make:

        def make_ranks(resource_dict=(), **arguments):
            return make(resource_dict={"cores": 2, "openmpi_oversubscribe": True, **dict(resource_dict)}, **arguments)

        yield make_ranks


@pytest.fixture
def ranks(make_ranks):
    """An executor whose group, if it keeps one, has started."""
    exe = make_ranks()
    assert exe.submit(mpi_functions.whoami).result(timeout=SOON) == [(0, 2), (1, 2)]
    return exe


def assert_goes_on(exe, before=()):
    """The next call runs, and no process of an earlier group is left."""
    assert exe.submit(mpi_functions.allreduce, 1).result(timeout=SOON) == [2, 2]
    assert not alive_after(before, AT_ONCE)


def group_of(exe):
    return exe.submit(mpi_functions.pid).result(timeout=SOON)


def timed_error(future):
    """How the call ended, and after how many seconds of waiting."""
    begun = time.monotonic()
    error = future.exception(timeout=SOON)
    return error, time.monotonic() - begun


def error_of(exe, limit, function, *args):
    error, took = timed_error(exe.submit(function, *args))
    assert took < limit, error
    return error


#: A call of its own group starts that first.
def limit(block):
    return IN_TIME if block else 2 * IN_TIME


# ---- a rank raises ----


@pytest.mark.both_mpis
@pytest.mark.parametrize("guilty", [0, 1])
def test_one_rank_raises_while_the_other_waits_in_a_collective(ranks, block, guilty):
    before = group_of(ranks)
    error = error_of(ranks, limit(block), mpi_functions.one_raises, guilty)
    assert type(error) is mpi_functions.OnOneRank and str(error) == f"rank {guilty} has no more"
    assert "in one_raises" in str(error.__cause__) and "Traceback" in str(error.__cause__)
    assert_goes_on(ranks, before)


@pytest.mark.both_mpis
def test_all_ranks_raise(ranks, block):
    before = group_of(ranks)
    error = error_of(ranks, limit(block), mpi_functions.all_raise)
    assert type(error) is mpi_functions.OnOneRank and str(error) in ("as rank 0", "as rank 1")
    assert (group_of(ranks) == before) is block, "nobody waits for anybody: the group is kept"
    assert_goes_on(ranks)


@pytest.mark.parametrize("guilty", [0, 1])
def test_a_result_that_one_rank_cannot_pickle(ranks, block, guilty):
    before = group_of(ranks)
    error = error_of(ranks, limit(block), mpi_functions.one_unpicklable, guilty)
    assert isinstance(error, TypeError) and "it is the lock that one_unpicklable() returned" in str(error)
    assert_goes_on(ranks, before)


def test_sys_exit_in_all_ranks(ranks, block):
    error = error_of(ranks, limit(block), sys.exit, 5)
    assert type(error) is SystemExit and error.code == 5
    assert_goes_on(ranks)


def test_an_argument_that_cannot_be_unpickled(ranks, block):
    error = error_of(ranks, limit(block), functions.identity, functions.CrashAtUnpickle("MemoryError", "text"))
    assert type(error) is MemoryError
    assert_goes_on(ranks)


def test_only_the_guilty_call_fails(ranks):
    guilty = ranks.submit(mpi_functions.one_raises, 1)
    behind = [ranks.submit(mpi_functions.tag, n) for n in range(3)]
    poisoned = ranks.submit(functions.identity, guilty)
    assert type(guilty.exception(timeout=SOON)) is mpi_functions.OnOneRank
    assert [future.result(timeout=SOON) for future in behind] == [[(0, n), (1, n)] for n in range(3)]
    assert type(poisoned.exception(timeout=SOON)) is mpi_functions.OnOneRank


# ---- a process ends ----


@pytest.mark.both_mpis
@pytest.mark.parametrize("guilty", [0, 1])
@pytest.mark.parametrize("kind", ["SIGKILL", "SIGSEGV", "os._exit"])
def test_one_rank_ends_while_the_other_waits_in_a_collective(ranks, block, kind, guilty):
    before = group_of(ranks)
    error = error_of(ranks, limit(block), mpi_functions.one_crashes, guilty, kind)
    assert isinstance(error, ExecutorlibSocketError), error
    assert "rank" in str(error) or "launcher" in str(error)
    assert "last words" in str(error)
    assert_goes_on(ranks, before)


def test_all_ranks_end_at_once(ranks, block):
    error = error_of(ranks, limit(block), os._exit, 0)
    assert isinstance(error, ExecutorlibSocketError)
    assert_goes_on(ranks)


def test_mpi_abort(ranks, block):
    def abort():
        import signal

        from mpi4py import MPI

        MPI.COMM_WORLD.Abort(3)
        signal.pause()  # MPICH's may return before the launcher kills

    error = error_of(ranks, limit(block), abort)
    assert isinstance(error, ExecutorlibSocketError)
    assert_goes_on(ranks)


@pytest.mark.both_mpis
def test_the_launcher_is_killed_in_a_call(mpi, ranks, block):
    before = group_of(ranks)
    error = error_of(ranks, limit(block), mpi_functions.kill_launcher)
    assert isinstance(error, ExecutorlibSocketError)
    assert ("killed by signal 9" if mpi.forks else "launcher was killed by signal 9") in str(error)
    assert_goes_on(ranks, before)


@pytest.mark.both_mpis
def test_a_rank_is_killed_while_idle(ranks, block):
    if not block:
        pytest.skip("only a persistent group is ever idle")
    before = group_of(ranks)
    os.kill(before[1], signal.SIGKILL)
    assert not alive_after(before, IN_TIME)
    begun = time.monotonic()
    assert_goes_on(ranks, before)
    assert time.monotonic() - begun < limit(False)


def test_a_call_sent_to_a_group_that_is_dying(ranks, block):
    """Submitted before anybody can know: it runs on a new group, or fails in time; the next one runs."""
    if not block:
        pytest.skip("only a persistent group is ever idle")
    before = group_of(ranks)
    os.kill(before[0], signal.SIGKILL)
    future = ranks.submit(mpi_functions.allreduce, 1)
    error, took = timed_error(future)
    assert took < limit(False)
    assert isinstance(error, ExecutorlibSocketError) if error else future.result() == [2, 2]
    assert_goes_on(ranks, before)


def test_the_launcher_is_killed_while_idle(ranks, block, make_gate):
    if not block:
        pytest.skip("only a persistent group is ever idle")
    gate = make_gate()
    gate.open()
    launcher = ranks.submit(mpi_functions.launcher_pid).result(timeout=SOON)[0]
    before = group_of(ranks)
    os.kill(launcher, signal.SIGKILL)
    assert not alive_after([launcher, *before], IN_TIME)
    assert_goes_on(ranks, before)


def test_a_call_that_kills_every_group_it_gets(make_ranks, block):
    if not block:
        pytest.skip("restart_limit counts restarts of persistent groups")
    exe = make_ranks(restart_limit=1)
    error = exe.submit(mpi_functions.one_crashes, 1, "SIGKILL").exception(timeout=SOON)
    assert isinstance(error, ExecutorlibSocketError)
    assert_goes_on(exe)


def test_an_init_function_that_one_rank_does_not_survive(make_ranks, block, tmp_path):
    if not block:
        pytest.skip("init_function needs persistent workers")
    flag = tmp_path / "flag"
    flag.touch()

    def init():
        from mpi4py import MPI

        if flag.exists() and MPI.COMM_WORLD.Get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        MPI.COMM_WORLD.Barrier()
        return {}

    exe = make_ranks(init_function=init)
    error = error_of(exe, limit(False), functions.identity, 1)
    assert isinstance(error, ExecutorlibSocketError) and "starting" in str(error)
    flag.unlink()
    assert_goes_on(exe)


def test_what_a_lost_group_started_is_gone(ranks, make_gate):
    """Children and daemons of all ranks, when one rank fails."""

    def start_and_fail(folder):
        from mpi4py import MPI

        pids = MPI.COMM_WORLD.gather(functions.spawn_family(), root=0)
        if pids:
            functions.announce(folder, *(pid for family in pids for pid in family))
            raise mpi_functions.OnOneRank
        MPI.COMM_WORLD.Barrier()

    gate = make_gate()
    future = ranks.submit(start_and_fail, gate.folder)
    started = gate.arrival()
    assert len(started) == 4
    assert type(future.exception(timeout=SOON)) is mpi_functions.OnOneRank
    assert not alive_after(started, AT_ONCE)


# ---- the driver ends ----


@pytest.mark.both_mpis
@pytest.mark.orphans
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_driver_is_killed_in_a_call(mpi, block, tmp_path, make_gate, number):
    gate = make_gate()
    source = f"""
    import sys
    import mpi_functions
    from executorlib import SingleNodeExecutor
    resources = {{"cores": 2, "openmpi_oversubscribe": True}}
    exe = SingleNodeExecutor(max_workers=1, block_allocation={block}, resource_dict=resources)
    exe.submit(mpi_functions.gather_pids, sys.argv[1]).result()
    """
    with Driver(tmp_path, source, gate.folder) as driver:
        group = gate.arrival()
        everything = {*group, *descendants(driver.pid)}
        os.kill(driver.pid, number)
        assert not alive_after(everything, AT_ONCE)


@pytest.mark.orphans
def test_the_driver_is_killed_while_the_group_is_idle(mpi, tmp_path):
    source = """
    import sys
    import mpi_functions
    from executorlib import SingleNodeExecutor
    resources = {"cores": 2, "openmpi_oversubscribe": True}
    exe = SingleNodeExecutor(max_workers=1, block_allocation=True, resource_dict=resources)
    print("idle", *exe.submit(mpi_functions.pid).result())
    sys.stdin.read()
    """
    with Driver(tmp_path, source) as driver:
        group = map(int, driver.expect("idle").split())
        everything = {*group, *descendants(driver.pid)}
        driver.process.kill()
        assert not alive_after(everything, AT_ONCE)


@pytest.mark.orphans
def test_the_driver_is_killed_while_ranks_start(mpi, block, tmp_path):
    source = f"""
    import os, sys
    import mpi_functions
    from executorlib import SingleNodeExecutor
    resources = {{"cores": 2, "openmpi_oversubscribe": True}}
    exe = SingleNodeExecutor(max_workers=1, block_allocation={block}, resource_dict=resources)
    future = exe.submit(mpi_functions.pid)
    print("submitted")
    sys.stdin.read()
    """
    with Driver(tmp_path, source) as driver:
        driver.expect("submitted")
        deadline = time.monotonic() + SOON
        while not (started := [pid for pid in descendants(driver.pid) if _is_rank(pid, mpi)]):
            assert time.monotonic() < deadline
            os.sched_yield()
        everything = {*started, *descendants(driver.pid)}
        driver.process.kill()
        assert not alive_after(everything, AT_ONCE)


def _is_rank(pid, mpi):
    """A launcher's, as soon as it is there; a forked one once it has made shared memory, within MPI_Init."""
    try:
        if mpi.forks:
            return b"/dev/shm/mpich_" in Path(f"/proc/{pid}/maps").read_bytes()
        return b"rank_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_the_executor_is_dropped_while_ranks_start(make_ranks):
    exe = make_ranks()
    exe.submit(mpi_functions.pid)
    exe.shutdown(wait=True, cancel_futures=True)


def test_the_executor_is_shut_down_with_a_call_running(ranks, make_gate):
    gate = make_gate()
    future = ranks.submit(mpi_functions.at_gate, gate.folder, 7)
    gate.arrivals(2)
    ranks.shutdown(wait=False)
    gate.open()
    assert future.result(timeout=SOON) == [7, 7]


# ---- what MPI needs is missing ----


def first_error(block, monkeypatch, **variables):
    """The error of a call with two cores, whether constructor, submit or future reports it, and how long that took."""
    for name, value in variables.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    resources = {"cores": 2, "openmpi_oversubscribe": True}
    begun = time.monotonic()
    try:
        with SingleNodeExecutor(max_workers=1, block_allocation=block, resource_dict=resources) as exe:
            error = exe.submit(mpi_functions.whoami).exception(timeout=SOON)
    except Exception as raised:
        error = raised
    return error, time.monotonic() - begun


def assert_one_core_runs():
    with SingleNodeExecutor(max_workers=1) as exe:
        assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_the_launcher_that_was_named_is_not_there(mpi, block, monkeypatch):
    error, took = first_error(block, monkeypatch, EXECUTORLIB_MPIEXEC="/nowhere/mpiexec")
    assert isinstance(error, FileNotFoundError) and "/nowhere/mpiexec" in str(error)
    assert took < IN_TIME
    assert_one_core_runs()


def test_there_is_no_launcher(block, monkeypatch, tmp_path):
    """An interpreter, a library and a PATH that have none beside them."""
    from executorlib import _mpi

    mpis.OPEN_MPI.use(monkeypatch)
    monkeypatch.setattr(_mpi, "_probe", lambda: ("Open MPI", "Open MPI v4", str(tmp_path / "lib" / "libmpi.so.40")))
    monkeypatch.setattr(_mpi, "_launchers", {})
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    real = _mpi.shutil.which
    monkeypatch.setattr(_mpi.shutil, "which", lambda name, path=None: real(name, path=path or str(tmp_path)))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    os.makedirs(tmp_path / "bin")
    os.symlink(os.path.realpath(sys._base_executable), tmp_path / "bin" / "python")
    error, took = first_error(block, monkeypatch, EXECUTORLIB_MPIEXEC=None, PATH=str(tmp_path))
    assert isinstance(error, FileNotFoundError), error
    assert "there is no mpiexec" in str(error) and "EXECUTORLIB_MPIEXEC" in str(error)
    assert took < IN_TIME


def test_mpi4py_is_missing(tmp_path):
    """A virtual environment without it, and our package on the path."""
    import executorlib

    venv.create(tmp_path / "bare", symlinks=True)
    packages = tmp_path / "packages"
    packages.mkdir()
    for package in ("executorlib", "cloudpickle"):
        os.symlink(Path(__import__(package).__file__).parent, packages / package)
    script = """
import time
from executorlib import SingleNodeExecutor
for block in (False, True):
    begun = time.monotonic()
    try:
        with SingleNodeExecutor(max_workers=1, block_allocation=block, resource_dict={"cores": 2}) as exe:
            exe.submit(abs, -1).result(timeout=200)
    except ImportError as error:
        print(type(error).__name__, error.name, "pip install" in str(error), time.monotonic() - begun < 15)
    with SingleNodeExecutor(max_workers=1) as exe:
        print(exe.submit(abs, -1).result(timeout=200))
"""
    done = subprocess.run(
        [tmp_path / "bare" / "bin" / "python", "-c", script], capture_output=True, text=True, timeout=200,
        env={**os.environ, "PYTHONPATH": str(packages)},
    )  # fmt: skip
    assert executorlib.__file__
    assert done.stdout.splitlines() == ["ModuleNotFoundError mpi4py True True", "1"] * 2, done.stderr


def test_mpi4py_cannot_load_its_library(block, monkeypatch):
    pytest.importorskip("mpi4py")
    error, took = first_error(block, monkeypatch, MPI4PY_MPIABI="nonsense", MPI4PY_LIBMPI=None)
    if error is None:
        pytest.skip("this mpi4py is built for one MPI and asks no variable")
    assert isinstance(error, ImportError) and "mpi4py" in str(error)
    assert took < IN_TIME


@pytest.mark.both_mpis
@pytest.mark.parametrize("mpi_of_mpi4py", mpis.ALL, ids=str)
def test_the_launcher_of_the_other_family(mpi_of_mpi4py, block, monkeypatch):
    mpi_of_mpi4py.use(monkeypatch)
    other = mpis.other(mpi_of_mpi4py)
    if other.launcher() is None:
        pytest.skip(f"no launcher of {other.vendor} here")
    error, took = first_error(block, monkeypatch, EXECUTORLIB_MPIEXEC=other.launcher())
    assert isinstance(error, RuntimeError), error
    assert mpi_of_mpi4py.vendor in str(error) and other.vendor in str(error) and other.launcher() in str(error)
    assert took < IN_TIME
    assert_one_core_runs()


def launcher_that(tmp_path, mpi, body):
    """A program that says it is the launcher of *mpi*, and does *body* instead."""
    program = tmp_path / "mpiexec"
    program.write_text(f'#!/bin/sh\nif [ "$1" = --version ]; then exec {mpi.launcher()} --version; fi\n{body}\n')
    program.chmod(0o755)
    return str(program)


def test_a_launcher_that_refuses(mpi, block, monkeypatch, tmp_path):
    path = launcher_that(tmp_path, mpi, "echo 'no node is free' >&2; exit 3")
    error, took = first_error(block, monkeypatch, EXECUTORLIB_MPIEXEC=path)
    assert isinstance(error, ExecutorlibSocketError)
    assert "the MPI launcher exited with status 3" in str(error) and "no node is free" in str(error)
    assert took < IN_TIME


def test_a_launcher_that_ends_without_a_word(mpi, block, monkeypatch, tmp_path):
    path = launcher_that(tmp_path, mpi, "exit 0")
    error, took = first_error(block, monkeypatch, EXECUTORLIB_MPIEXEC=path)
    assert isinstance(error, ExecutorlibSocketError) and "exited with status 0" in str(error)
    assert took < IN_TIME


def test_a_launcher_that_starts_one_rank_twice(mpi, block, monkeypatch, tmp_path):
    """As the launcher of another MPI would: every rank believes to be alone, and says so."""
    last = '[ "$1" = -n ] && break; shift; done; shift 2'
    path = launcher_that(tmp_path, mpi, f'while [ $# -gt 0 ]; do {last}\n"$@" & "$@" & wait')
    error, took = first_error(block, monkeypatch, EXECUTORLIB_MPIEXEC=path)
    assert isinstance(error, RuntimeError), error
    assert "2 MPI ranks" in str(error) and "sees 1" in str(error)
    assert took < 2 * IN_TIME
