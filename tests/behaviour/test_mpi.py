"""Calls over MPI ranks: what each rank gets, and what comes back."""

import os
import sys
import textwrap
import time
from concurrent.futures import wait

import functions
import mpi_functions
import mpis
import pytest
import support
from support import SOON, Driver, alive_after, children, descendants, least, run_script, script_environment

from executorlib import SingleNodeExecutor, _core, split_future

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(params=mpis.ALL, ids=str, autouse=True)
def mpi(request, monkeypatch):
    request.param.use(monkeypatch)
    with mpis.no_files_left():
        yield request.param


@pytest.fixture(params=[False, True], ids=["per_call", "block"])
def block(request):
    return request.param


@pytest.fixture
def make_ranks(mpi, block):
    """Make executors whose calls run over two ranks, or what the test asks for."""
    with support.ended_executors(SingleNodeExecutor, max_workers=1, block_allocation=block) as make:

        def make_ranks(cores=2, resource_dict=(), **arguments):
            resources = {"cores": cores, "openmpi_oversubscribe": True, **dict(resource_dict)}
            return make(resource_dict=resources, **arguments)

        yield make_ranks


@pytest.fixture
def ranks(make_ranks):
    return make_ranks()


def persistent(block):
    if not block:
        pytest.skip("presets need persistent workers")


# ---- results ----


@pytest.mark.both_mpis
@pytest.mark.parametrize("cores", [2, 3, 5])
def test_the_result_is_the_list_over_ranks(make_ranks, cores):
    exe = make_ranks(cores)
    for _ in range(3):
        assert exe.submit(mpi_functions.whoami).result(timeout=SOON) == [(n, cores) for n in range(cores)]


@pytest.mark.both_mpis
def test_collectives(ranks):
    results = ranks.submit(mpi_functions.everything_collective, 7).result(timeout=SOON)
    common = {"bcast": 7, "Allreduce": 15.0}
    assert results == [
        {**common, "gather": [0, 1], "scatter": 0, "alltoall": [(0, 0), (1, 0)], "ring": 1},
        {**common, "gather": None, "scatter": 10, "alltoall": [(0, 1), (1, 1)], "ring": 0},
    ]


def test_shared_memory_windows(ranks):
    assert ranks.submit(mpi_functions.shared_window, 200).result(timeout=SOON) == [200, 200]


def test_functions_of_all_kinds(ranks):
    offset = 100

    def closure(value):
        from mpi4py import MPI

        return offset + value + MPI.COMM_WORLD.Get_rank()

    assert ranks.submit(closure, 1).result(timeout=SOON) == [101, 102]
    assert ranks.submit(lambda a, *, b: a - b, 5, b=3).result(timeout=SOON) == [2, 2]
    assert ranks.submit(max, 3, 9).result(timeout=SOON) == [9, 9]
    assert ranks.submit(functions.Point(1, 2).__eq__, 3).result(timeout=SOON) == [NotImplemented] * 2
    assert ranks.submit(functions.echo, 1, key="word").result(timeout=SOON) == [((1,), {"key": "word"})] * 2


def test_functions_of_main(tmp_path, block):
    result = run_script(
        tmp_path,
        """
        import os, sys
        from dataclasses import dataclass
        from executorlib import SingleNodeExecutor

        FACTOR = 3

        @dataclass
        class Item:
            rank: int
            value: int

        def work(value):
            from mpi4py import MPI
            os.write(1, f"printed by {MPI.COMM_WORLD.Get_rank()}\\n".encode())
            return Item(MPI.COMM_WORLD.Get_rank(), FACTOR * value)

        if __name__ == "__main__":
            block = sys.argv[1] == "True"
            resources = {"cores": 2, "openmpi_oversubscribe": True}
            with SingleNodeExecutor(max_workers=1, block_allocation=block, resource_dict=resources) as exe:
                print("result", exe.submit(work, 5).result(timeout=200))
        """,
        block,
        env=script_environment(),
    )
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.splitlines()) == [
        "printed by 0",
        "printed by 1",
        "result [Item(rank=0, value=15), Item(rank=1, value=15)]",
    ]


def test_output_of_all_ranks_arrives(tmp_path, block):
    result = run_script(
        tmp_path,
        f"""
        import mpi_functions
        from executorlib import SingleNodeExecutor
        resources = {{"cores": 2, "openmpi_oversubscribe": True}}
        with SingleNodeExecutor(max_workers=1, block_allocation={block}, resource_dict=resources) as exe:
            for text in ("first", "second"):
                assert exe.submit(mpi_functions.speak, text).result(timeout=200) == [0, 1]
        """,
    )
    assert result.returncode == 0, result.stderr
    expected = {f"{text} {{}} {rank}" for text in ("first", "second") for rank in (0, 1)}
    assert set(result.stdout.splitlines()) == {line.format("out") for line in expected}
    assert {line.format("err") for line in expected} <= set(result.stderr.splitlines())


# ---- arguments ----


def test_futures_as_arguments(ranks):
    first = ranks.submit(mpi_functions.tag, "a")
    second = ranks.submit(functions.identity, first)
    nested = ranks.submit(functions.identity, {"list": [first, second]})
    assert second.result(timeout=SOON) == [[(0, "a"), (1, "a")]] * 2
    assert nested.result(timeout=SOON) == [{"list": [first.result(), second.result()]}] * 2


def test_split_future(ranks):
    first, second = split_future(ranks.submit(mpi_functions.tag, 1), 2)
    joined = ranks.submit(functions.add, first, second)
    assert (first.result(timeout=SOON), second.result(timeout=SOON)) == ((0, 1), (1, 1))
    assert joined.result(timeout=SOON) == [(0, 1, 1, 1)] * 2


@pytest.mark.parametrize("size", [8, 4096, 65528, 65536, 2**20, 2**26], ids=lambda size: f"{size}B")
def test_arrays_there_and_back(ranks, size):
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(size // 8, dtype=float)
    results = ranks.submit(mpi_functions.add_rank, array).result(timeout=SOON)
    assert array[0] == 0
    for rank, (writable, result) in enumerate(results):
        assert writable
        assert result.shape == array.shape and result[0] == rank and result[-1] == size // 8 - 1 + rank
        result += 1
        assert result[0] == rank + 1
    del array, results, result


def test_an_array_of_another_call(ranks):
    numpy = pytest.importorskip("numpy")
    made = ranks.submit(numpy.ones, 2**17)
    results = ranks.submit(lambda both: [float(array.sum()) for array in both], made).result(timeout=SOON)
    assert results == [[2.0**17] * 2] * 2


@pytest.mark.parametrize("chunksize", [1, 2, 5])
def test_map(ranks, chunksize):
    expected = [[(rank, item) for rank in (0, 1)] for item in range(5)]
    assert list(ranks.map(mpi_functions.tag, range(5), chunksize=chunksize, timeout=SOON)) == expected


def test_map_again_and_again(make_ranks, block):
    """Short calls go in batches once they are known to be short; the items stay whole."""
    persistent(block)
    exe = make_ranks()
    for _ in range(4):
        assert list(exe.map(mpi_functions.tag, range(50), timeout=SOON)) == [[(0, n), (1, n)] for n in range(50)]
        assert list(exe.map(divmod, range(50), [7] * 50, timeout=SOON)) == [[divmod(n, 7)] * 2 for n in range(50)]


def test_map_that_fails(ranks):
    def item(n):
        if n == 2:
            raise LookupError("no item 2")
        return n

    results = ranks.map(item, range(4), timeout=SOON)
    assert [next(results), next(results)] == [[0, 0], [1, 1]]
    with pytest.raises(LookupError, match="no item 2"):
        next(results)


# ---- presets ----


@pytest.mark.both_mpis
def test_presets_on_every_rank(make_ranks, block):
    persistent(block)

    def init(executorlib_worker_id):
        from mpi4py import MPI

        return {
            "rank": MPI.COMM_WORLD.Get_rank(),
            "total": MPI.COMM_WORLD.allreduce(1),
            "worker": executorlib_worker_id,
        }

    exe = make_ranks(init_function=init)
    found = exe.submit(lambda rank, total, worker, executorlib_worker_id: (rank, total, worker, executorlib_worker_id))
    assert found.result(timeout=SOON) == [(0, 2, 0, 0), (1, 2, 0, 0)]
    assert exe.submit(lambda rank: rank, rank=9).result(timeout=SOON) == [9, 9]


def test_two_groups_have_two_worker_ids(make_ranks, block, make_gate):
    persistent(block)
    gate = make_gate()
    exe = make_ranks(max_workers=2)

    def name(folder, executorlib_worker_id):
        return mpi_functions.at_gate(folder, executorlib_worker_id)

    futures = [exe.submit(name, gate.folder) for _ in range(2)]
    assert len(set(gate.arrivals(4))) == 4
    gate.open()
    assert sorted(future.result(timeout=SOON) for future in futures) == [[0, 0], [1, 1]]


def test_state_lasts_in_every_rank(make_ranks, block):
    def count():
        import sys

        sys.calls_seen = getattr(sys, "calls_seen", 0) + 1
        return sys.calls_seen

    exe = make_ranks()
    expected = [[1, 1], [2, 2], [3, 3]] if block else [[1, 1]] * 3
    assert [exe.submit(count).result(timeout=SOON) for _ in range(3)] == expected


def test_error_of_init_is_every_calls(make_ranks, block):
    persistent(block)

    def init():
        raise LookupError("no licence for this machine")

    exe = make_ranks(init_function=init)
    for _ in range(2):
        error = exe.submit(functions.identity, 1).exception(timeout=SOON)
        assert type(error) is LookupError and "no licence" in str(error)


# ---- surroundings ----


def test_every_rank_is_where_the_driver_is(make_ranks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("A_VARIABLE_OF_THE_DRIVER", "its value")
    monkeypatch.setattr(sys, "argv", ["a script", "an argument"])
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    exe = make_ranks()
    names = ("A_VARIABLE_OF_THE_DRIVER", "EXECUTORLIB_RANKS")
    for cwd, environ, path, argv in exe.submit(mpi_functions.surroundings, *names).result(timeout=SOON):
        assert cwd == str(tmp_path)
        assert environ == {"A_VARIABLE_OF_THE_DRIVER": "its value", "EXECUTORLIB_RANKS": None}
        assert path[0] == str(tmp_path / "modules")
        assert argv == ["a script", "an argument"]


@pytest.mark.both_mpis
def test_set_up_before_the_first_import(make_ranks, tmp_path, monkeypatch):
    """A module of the driver's path, imported by the ranks: what it reads at import is what the call asked for."""
    (tmp_path / "reads_at_import.py").write_text(
        textwrap.dedent("""
        import os
        THREADS = os.environ["OMP_NUM_THREADS"], os.environ["OPENBLAS_NUM_THREADS"]
        FOLDER = os.getcwd()
        """)
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def report():
        import reads_at_import

        return reads_at_import.THREADS, reads_at_import.FOLDER

    folder = tmp_path / "folder of the call"
    exe = make_ranks(resource_dict={"threads_per_core": 3, "cwd": str(folder)})
    assert exe.submit(report).result(timeout=SOON) == [(("3", "3"), str(folder))] * 2


def test_error_log_file(make_ranks, tmp_path):
    log = tmp_path / "errors.log"
    exe = make_ranks(resource_dict={"error_log_file": str(log)})
    error = exe.submit(mpi_functions.one_raises, 1).exception(timeout=SOON)
    assert type(error) is mpi_functions.OnOneRank
    text = log.read_text()
    assert "rank 1 has no more" in text and "one_raises" in text and "Traceback" in text


def test_a_nested_executor_sees_the_cores_of_the_call(make_ranks, monkeypatch):
    monkeypatch.setenv("PYTHON_CPU_COUNT", "16")
    assert make_ranks().submit(mpi_functions.inner_cores).result(timeout=SOON) == [(2, 3)] * 2


@pytest.mark.both_mpis
def test_ranks_inside_a_rank(ranks):
    """The job that a rank is part of is no business of the ranks that it starts."""
    assert ranks.submit(mpi_functions.inner_ranks).result(timeout=SOON) == [[(0, 2), (1, 2)]] * 2


@pytest.mark.both_mpis
def test_a_driver_that_mpiexec_started(mpi, tmp_path, block):
    import subprocess

    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        from mpi4py import MPI
        import mpi_functions
        from executorlib import SingleNodeExecutor
        resources = {{"cores": 2, "openmpi_oversubscribe": True}}
        with SingleNodeExecutor(max_workers=1, block_allocation={block}, resource_dict=resources) as exe:
            print(MPI.COMM_WORLD.Get_size(), exe.submit(mpi_functions.whoami).result(timeout=200))
        """)
    )
    done = subprocess.run(
        [mpi.launcher(), "-n", "1", sys.executable, str(script)], env=script_environment(),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.stdout.strip() == "1 [(0, 2), (1, 2)]", done.stderr


# ---- processes ----


def test_each_call_has_a_group_of_its_own_or_the_same(ranks, block):
    pids = [tuple(ranks.submit(mpi_functions.pid).result(timeout=SOON)) for _ in range(3)]
    assert len(set(pids)) == (1 if block else 3)
    assert all(first != second for first, second in pids)


def test_ranks_are_gone_after_shutdown(make_ranks):
    with make_ranks() as exe:
        pids = exe.submit(mpi_functions.pid).result(timeout=SOON)
    assert not alive_after(pids, 0)


def test_what_ranks_start_ends_with_them(make_ranks):
    with make_ranks() as exe:
        started = [pid for pids in exe.submit(mpi_functions.family).result(timeout=SOON) for pid in pids]
    assert len(started) == 4 and not alive_after(started, SOON)


def _ticks(pids):
    return sum(sum(map(int, open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[11:13])) for pid in pids)


@pytest.mark.timing
def test_an_idle_group_uses_no_cpu(make_ranks, block):
    persistent(block)
    exe = make_ranks()
    ranks = exe.submit(mpi_functions.pid).result(timeout=SOON)
    everything = {pid for child in children(os.getpid()) for pid in (child, *descendants(child))}
    assert set(ranks) < everything
    exe.submit(mpi_functions.allreduce, 1).result(timeout=SOON)

    def ticks():
        before = _ticks(everything)
        time.sleep(1)
        return _ticks(everything) - before

    # In the first second or so, what has just run settles.
    assert least(ticks, 1) == 0, "clock ticks of 10 ms"


# ---- cores ----


def test_calls_of_one_and_of_two_cores_interleaved(mpi):
    with SingleNodeExecutor(max_cores=2) as exe:
        two = {"cores": 2, "openmpi_oversubscribe": True}
        futures = [exe.submit(functions.identity, n, resource_dict=two if n % 2 else {}) for n in range(10)]
        chained = exe.submit(functions.add, futures[0], 1)
        assert [future.result(timeout=SOON) for future in futures] == [[n, n] if n % 2 else n for n in range(10)]
        assert chained.result(timeout=SOON) == 1


@pytest.mark.both_mpis
def test_more_ranks_than_cores(mpi, block):
    """A clear error of the launcher, or before it is started; the executor goes on."""
    ranks = max(os.cpu_count(), _core.cpu_count()) + 1

    def error():
        try:
            with SingleNodeExecutor(max_workers=1, block_allocation=block, resource_dict={"cores": ranks}) as exe:
                return exe.submit(mpi_functions.whoami).exception(timeout=SOON)
        except RuntimeError as raised:
            return raised

    found = error()
    assert isinstance(found, RuntimeError)
    assert "slots" in str(found) or "openmpi_oversubscribe" in str(found)
    with SingleNodeExecutor(
        max_workers=1, block_allocation=block, resource_dict={"cores": ranks, "openmpi_oversubscribe": True}
    ) as exe:
        assert exe.submit(mpi_functions.whoami).result(timeout=SOON) == [(n, ranks) for n in range(ranks)]


def test_bad_requests_harm_nothing(mpi):
    with SingleNodeExecutor(max_cores=2) as exe:
        for cores in (0, -1, 1.5, "2", 3):
            with pytest.raises((ValueError, TypeError), match="cores"):
                exe.submit(abs, 1, resource_dict={"cores": cores})
        with pytest.raises(ValueError, match="num_nodes"):
            exe.submit(abs, 1, resource_dict={"cores": 2, "num_nodes": 2})
        assert exe.submit(abs, -1, resource_dict={"cores": 2, "openmpi_oversubscribe": True}).result(SOON) == [1, 1]


MIX_CALLS = int(os.environ.get("EXECUTORLIB_TEST_MPI_CALLS", "48"))
MIX_CORES = 16
#: How many later calls may pass one that waits for its cores: see sched/queue.h. Those of all its cores, besides, may
#: have had theirs before it and start in any order.
MIX_PASSES = 64 + MIX_CORES


def _most_in_use(spans):
    """The greatest sum of cores over spans (begun, ended, cores) that overlap."""
    changes = sorted([(begun, cores) for begun, _, cores in spans] + [(ended, -cores) for _, ended, cores in spans])
    in_use = most = 0
    for _, change in changes:
        in_use += change
        most = max(most, in_use)
    return most


@pytest.mark.timing
@pytest.mark.slow
@pytest.mark.timeout(300 + 5 * MIX_CALLS)
def test_mixed_widths_fill_the_cores_and_no_more(mpi):
    """EXECUTORLIB_TEST_MPI_CALLS=200 for the whole."""
    shapes = [(1 + n % 4, 1 + n // 4 % 4) for n in range(MIX_CALLS)]
    samples = []
    with SingleNodeExecutor(max_cores=MIX_CORES) as exe:
        futures = [
            exe.submit(
                mpi_functions.timed_sleep, 0.3,
                resource_dict={"cores": ranks, "threads_per_core": threads, "openmpi_oversubscribe": True},
            )
            for ranks, threads in shapes
        ]  # fmt: skip
        # As the executor counts: from when a call gets its cores to when it gives them back.
        while waiting := [future for future in futures if not (future.running() or future.done())]:
            running = sum(r * t for future, (r, t) in zip(futures, shapes) if future.running())
            samples.append((running, len(waiting)))
            time.sleep(0.02)
        wait(futures)
    spans = []
    for future, (ranks, threads) in zip(futures, shapes):
        times = future.result()
        times = times if ranks > 1 else [times]
        assert len(times) == ranks
        spans.append((min(start for start, _ in times), max(end for _, end in times), ranks * threads))
    used = sum(running for running, _ in samples) / len(samples) / MIX_CORES
    starts = [begun for begun, _, _ in spans]
    passed = max(sum(later < start for later in starts[n + 1 :]) for n, start in enumerate(starts))
    most, seconds = _most_in_use(spans), max(ended for _, ended, _ in spans) - min(starts)
    print(f"{MIX_CALLS} calls in {seconds:.1f} s: at most {most} of {MIX_CORES} cores, {used:.1%} until none waited;")
    print(f"a call was passed by {passed} later ones at most")
    assert most <= MIX_CORES
    assert used >= 0.8
    assert passed <= MIX_PASSES


@pytest.mark.slow
def test_a_wide_call_is_not_starved(mpi):
    """Narrow calls keep coming; the wide one gets its cores before they end."""
    with SingleNodeExecutor(max_cores=4) as exe:
        wide_resources = {"cores": 4, "openmpi_oversubscribe": True}
        first = [exe.submit(mpi_functions.timed_sleep, 0.01) for _ in range(8)]
        wide = exe.submit(mpi_functions.timed_sleep, 0.01, resource_dict=wide_resources)
        later = [exe.submit(mpi_functions.timed_sleep, 0.01) for _ in range(400)]
        begun = min(start for start, _ in wide.result(timeout=SOON))
        last = max(future.result(timeout=SOON)[1] for future in later)
        assert first[0].result(timeout=SOON)[0] < begun < last


def test_a_driver_that_ends_with_calls_pending(tmp_path, block):
    """The end of the script waits for them, and its exit status is its own."""
    source = f"""
    import mpi_functions
    from executorlib import SingleNodeExecutor
    resources = {{"cores": 2, "openmpi_oversubscribe": True}}
    exe = SingleNodeExecutor(max_workers=1, block_allocation={block}, resource_dict=resources)
    futures = [exe.submit(mpi_functions.speak, "late") for _ in range(2)]
    raise SystemExit(3)
    """
    with Driver(tmp_path, source) as driver:
        assert sorted(driver.line() for _ in range(4)) == ["late out 0"] * 2 + ["late out 1"] * 2
        assert driver.process.wait(SOON) == 3
