"""The two ways in which MPICH's ranks start, forked and by mpiexec: a call finds the same either way."""

import importlib.util
import os
import sys
import textwrap

import mpi_functions
import mpis
import pytest
from support import SOON, run_script, script_environment

from executorlib import SingleNodeExecutor, _mpi
from executorlib.api import ExecutorlibSocketError

pytestmark = pytest.mark.timeout(300)

BOTH = (mpis.MPICH, mpis.MPICH_LAUNCHED)


@pytest.fixture(params=BOTH, ids=str)
def start(request, monkeypatch):
    request.param.use(monkeypatch)
    with mpis.no_files_left():
        yield request.param


@pytest.fixture
def forked(monkeypatch):
    mpis.MPICH.use(monkeypatch)
    with mpis.no_files_left():
        yield monkeypatch


def ranks(cores=2, block=True, **arguments):
    resources = {"cores": cores, "openmpi_oversubscribe": True}
    return SingleNodeExecutor(max_workers=1, block_allocation=block, resource_dict=resources, **arguments)


def state_of_mpi():
    """What a program may ask of MPI, and of mpi4py, once it has started."""
    import mpi4py
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    node = world.Split_type(MPI.COMM_TYPE_SHARED)
    session = MPI.Session.Init()
    group = MPI.Intracomm.Create_from_group(session.Create_group("mpi://WORLD"), "tests")
    state = {
        "initialized": MPI.Is_initialized() and not MPI.Is_finalized(),
        "rank": world.Get_rank(),
        "threads": MPI.Query_thread() == MPI.THREAD_MULTIPLE,
        "errors": world.Get_errhandler() == MPI.ERRORS_RETURN,
        "host": MPI.Get_processor_name(),
        "node": node.Get_size(),
        "session": group.allreduce(1),
        "application": world.Get_attr(MPI.APPNUM),
        "no parent": MPI.Comm.Get_parent() == MPI.COMM_NULL,
        "rc": (mpi4py.rc.initialize, mpi4py.rc.finalize, mpi4py.rc.thread_level),
        "variables": {name: os.environ.get(name) for name in ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID")},
    }
    group.Free()
    session.Finalize()
    return state


def test_a_call_finds_mpi_as_under_mpiexec(monkeypatch):
    states = []
    for start in BOTH:
        start.use(monkeypatch)
        with ranks() as exe:
            states.append(exe.submit(state_of_mpi).result(timeout=SOON))
    assert states[0] == states[1]
    assert [state["rank"] for state in states[0]] == [0, 1]
    assert all(state["initialized"] and state["node"] == state["session"] == 2 for state in states[0])


@pytest.mark.parametrize("block", [False, True], ids=["per_call", "block"])
def test_calls_and_collectives(start, block):
    with ranks(block=block) as exe:
        for value in range(2):
            results = exe.submit(mpi_functions.everything_collective, value).result(timeout=SOON)
            assert [result["bcast"] for result in results] == [value, value]


def test_one_rank_alone_fails_or_ends(start):
    with ranks() as exe:
        error = exe.submit(mpi_functions.one_raises, 1).exception(timeout=SOON)
        assert type(error) is mpi_functions.OnOneRank
        error = exe.submit(mpi_functions.one_crashes, 0, "SIGKILL").exception(timeout=SOON)
        assert isinstance(error, ExecutorlibSocketError) and "last words" in str(error)
        assert exe.submit(mpi_functions.allreduce, 1).result(timeout=SOON) == [2, 2]


def test_abort_is_told(forked):
    def abort():
        from mpi4py import MPI

        if MPI.COMM_WORLD.Get_rank() == 1:
            MPI.COMM_WORLD.Abort(7)
        MPI.COMM_WORLD.Barrier()

    with ranks() as exe:
        error = exe.submit(abort).exception(timeout=SOON)
    assert isinstance(error, ExecutorlibSocketError)
    assert "MPI rank 1 of 2 called MPI_Abort with status 7" in str(error)


def test_mpi_ends_after_the_exit_handlers(start, tmp_path):
    """Which may still use it; then it is finalized, as attributes that are deleted then show."""

    def leave_traces(folder):
        import atexit

        from mpi4py import MPI

        rank = MPI.COMM_WORLD.Get_rank()

        def trace(word):
            with open(os.path.join(folder, str(rank)), "a") as file:
                file.write(f"{word}\n")

        def deleted(_comm, _key, _value):
            trace("finalized")

        atexit.register(lambda: trace(f"exit handler sees {MPI.COMM_WORLD.allreduce(1)}"))
        MPI.COMM_SELF.Set_attr(MPI.Comm.Create_keyval(delete_fn=deleted), 1)

    with ranks(block=False) as exe:
        exe.submit(leave_traces, str(tmp_path)).result(timeout=SOON)
    for rank in ("0", "1"):
        assert (tmp_path / rank).read_text().splitlines()[0] == "exit handler sees 2"
    if start.forks:  # at the very end of an interpreter Python can no longer be called
        assert all("finalized" in (tmp_path / rank).read_text() for rank in ("0", "1"))


@pytest.mark.parametrize("block", [False, True], ids=["per_call", "block"])
def test_a_plain_call_that_uses_mpi_leaves_nothing(forked, block):
    """MPI is then alone in its process; its shared memory goes with it."""
    with ranks(cores=1, block=block) as exe:
        assert exe.submit(mpi_functions.allreduce, 3).result(timeout=SOON) in (3, [3])


def test_several_groups_at_once_do_not_meet(forked):
    """Each has shared memory of its own."""

    def sum_of(value):
        from mpi4py import MPI

        return [MPI.COMM_WORLD.allreduce(value) for _ in range(50)]

    with SingleNodeExecutor(max_workers=3) as exe:
        resources = {"cores": 2, "openmpi_oversubscribe": True}
        futures = [exe.submit(sum_of, n, resource_dict=resources) for n in range(9)]
        assert [future.result(timeout=SOON) for future in futures] == [[[2 * n] * 50] * 2 for n in range(9)]


def test_spawning_is_refused_with_a_hint(forked, capfd):
    def spawn():
        from mpi4py import MPI

        try:
            MPI.COMM_WORLD.Spawn(sys.executable, ["-c", "pass"], 1)
        except MPI.Exception:
            return MPI.COMM_WORLD.allreduce(1)

    with ranks() as exe:
        assert exe.submit(spawn).result(timeout=SOON) == [2, 2]
    assert "set EXECUTORLIB_MPI_START=mpiexec" in capfd.readouterr().err


def name_of_parent():
    parent = os.getppid()
    return open(f"/proc/{parent}/comm").read().strip()


@pytest.mark.parametrize("variable", ["EXECUTORLIB_MPI_START", "EXECUTORLIB_MPIEXEC"])
def test_who_asks_for_mpiexec_gets_it(forked, variable):
    launcher = mpis.MPICH.launcher()
    with ranks(block=False) as exe:
        assert not exe.submit(name_of_parent).result(timeout=SOON)[0].startswith("hydra")
        forked.setenv(variable, "mpiexec" if variable.endswith("START") else launcher)
        assert exe.submit(name_of_parent).result(timeout=SOON)[0].startswith("hydra")


def write_library_that_needs_its_launcher(folder):
    """mpi4py, except that a process forked from one that has imported it asks for a protocol that nobody speaks."""
    mpi4py = importlib.util.find_spec("mpi4py").origin
    package = folder / "mpi4py"
    package.mkdir()
    package.joinpath("__init__.py").write_text(
        textwrap.dedent(
            f"""
            import os
            __path__[:] = [{os.path.dirname(mpi4py)!r}]
            exec(compile(open(os.path.join(__path__[0], "__init__.py")).read(), __file__, "exec"))
            if "PMI_FD" in os.environ:
                # A launcher's: its head may be the fork of one that has imported this.
                os.environ.pop("MPIR_CVAR_PMI_VERSION", None)
            else:
                os.register_at_fork(after_in_child=lambda: os.environ.update(MPIR_CVAR_PMI_VERSION="2"))
            """
        )
    )


def test_a_library_that_speaks_another_protocol_gets_its_launcher(forked, tmp_path):
    """Told once; each call is computed once, and by ranks of mpiexec from then on."""
    script = """
        import sys, os
        from executorlib import SingleNodeExecutor, _mpi

        def work(path, value):
            from mpi4py import MPI
            parent = open(f"/proc/{os.getppid()}/comm").read().strip()
            with open(path, "a") as file:
                file.write(f"{value} {parent}\\n")
            return MPI.COMM_WORLD.allreduce(value)

        def prepare(path=sys.argv[1]):
            with open(path, "a") as file:
                file.write("prepared\\n")

        resources = {"cores": 2, "openmpi_oversubscribe": True}
        with SingleNodeExecutor(resource_dict=resources) as exe:
            print(*(exe.submit(work, sys.argv[1], n).result() for n in range(2)))
        with SingleNodeExecutor(
            max_workers=1, block_allocation=True, init_function=prepare, resource_dict=resources
        ) as exe:
            print(exe.submit(work, sys.argv[1], 2).result())
    """
    write_library_that_needs_its_launcher(tmp_path)
    result = run_script(tmp_path, textwrap.dedent(script), tmp_path / "done", env=script_environment())
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["[0,", "0]", "[2,", "2]", "[4,", "4]"]
    done = sorted((tmp_path / "done").read_text().splitlines())
    assert [line.split()[0] for line in done] == ["0", "0", "1", "1", "2", "2", "prepared", "prepared"]
    assert all("hydra" in line for line in done[:6])
    assert result.stderr.count("MPI ranks are started by mpiexec from now on") == 1


def test_a_version_with_tabs(tmp_path, monkeypatch):
    """As MPICH before 4.1 writes it."""
    package = tmp_path / "mpi4py"
    package.mkdir()
    package.joinpath("__init__.py").write_text("class rc: pass\n")
    package.joinpath("MPI.py").write_text(
        "def get_vendor(): return 'MPICH', (4, 0, 2)\n"
        "def Get_library_version(): return 'MPICH Version:\\t4.0.2\\nMPICH Release date:\\tsome day\\n\\0'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert _mpi._probe() == ("MPICH", "MPICH Version: 4.0.2", "")
