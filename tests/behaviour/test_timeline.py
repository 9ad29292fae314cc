"""The timeline log: what the engine tells of calls, in which order, and how often."""

import itertools
import json

import functions
import pytest
import support

from executorlib import SingleNodeExecutor, _report, _timeline
from executorlib.api import WorkerLostError

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log.jsonl"


def events(log, **wanted):
    """Lines of the log, those with these fields; each is a whole JSON object, or this raises."""
    text = log.read_text()
    assert text.endswith("\n")
    lines = [json.loads(line) for line in text.splitlines()]
    return [line for line in lines if all(line.get(key) == value for key, value in wanted.items())]


def number(log, nth):
    """What the log calls its nth call: calls are counted through all executors of a process."""
    return events(log, event="submitted")[nth - 1]["call"]


def kinds(log, nth):
    return [event["event"] for event in events(log, call=number(log, nth))]


@pytest.mark.parametrize("arguments", [{"block_allocation": True, "max_workers": 1}, {"max_workers": 1}], ids=str)
class TestOneCallAfterTheOther:
    def test_a_chain_and_its_bytes(self, log, arguments):
        with SingleNodeExecutor(timeline=log, **arguments) as exe:
            first = exe.submit(functions.add, 1, 2)
            second = exe.submit(functions.add, first, b=first)
            assert second.result() == 6
        assert kinds(log, 1) == ["submitted", "started", "finished"]
        assert kinds(log, 2)[:1] == ["submitted"]
        assert kinds(log, 2)[-2:] == ["started", "finished"]
        submitted = events(log, event="submitted")
        assert [event["function"] for event in submitted] == ["functions.add"] * 2
        assert [event.get("after") for event in submitted] == [None, [number(log, 1)]]
        assert [(event["cores"], event["ranks"], event["gpus"]) for event in submitted] == [(1, 1, 0)] * 2
        first_end, second_end = events(log, event="finished")
        assert second_end["sent"] > first_end["sent"] > 0 < first_end["received"]
        assert first_end["pid"] > 0
        assert [event["event"] for event in events(log)[:2]] == ["timeline", "executor"]
        assert [event["event"] for event in events(log)[-1:]] == ["closed"]

    def test_a_call_that_waits_for_another(self, log, arguments, gate):
        with SingleNodeExecutor(timeline=log, **arguments) as exe:
            first = gate.submit(exe, 1)
            second = exe.submit(functions.identity, first)
            gate.arrival()
            gate.open()
            assert second.result() == 1
        assert kinds(log, 2) == ["submitted", "ready", "started", "finished"]
        times = [event["t"] for event in events(log, call=number(log, 2))]
        assert times == sorted(times)

    def test_an_exception_and_what_depended_on_it(self, log, arguments):
        with SingleNodeExecutor(timeline=log, **arguments) as exe:
            first = exe.submit(functions.raise_error, ValueError("no"))
            second = exe.submit(functions.identity, first)
            assert isinstance(second.exception(), ValueError)
        assert kinds(log, 1) == ["submitted", "started", "failed"]
        assert kinds(log, 2) == ["submitted", "failed"]
        (end,) = events(log, event="failed", call=number(log, 2))
        assert "worker" not in end

    def test_a_worker_that_is_lost(self, log, arguments):
        with SingleNodeExecutor(timeline=log, **arguments) as exe, pytest.raises(WorkerLostError):
            exe.submit(functions.crash, "SIGKILL").result()
        assert kinds(log, 1) == ["submitted", "started", "lost"]
        (end,) = events(log, event="lost")
        assert end["reason"] == "killed by signal 9"

    def test_a_time_limit(self, log, arguments, gate):
        with SingleNodeExecutor(timeline=log, resource_dict={"run_time_max": 0.05}, **arguments) as exe:
            assert isinstance(gate.submit(exe).exception(), TimeoutError)
        assert kinds(log, 1) == ["submitted", "started", "lost"]
        (end,) = events(log, event="lost")
        assert end["reason"] == "ran longer than 50 ms"

    def test_cancelled_and_terminated(self, log, arguments, gate):
        with SingleNodeExecutor(timeline=log, **arguments) as exe:
            running = gate.submit(exe)
            gate.arrival()
            waiting = exe.submit(functions.identity, 1)
            assert waiting.cancel()
            assert running.terminate()
            assert running.exception() is not None
        assert kinds(log, 1) == ["submitted", "started", "terminated"]
        assert kinds(log, 2) == ["submitted", "cancelled"]


def crash_once(flag):
    if flag.exists():
        flag.unlink()
        functions.crash("SIGKILL")
    return "done"


def test_a_lost_worker_and_the_restart(log, tmp_path):
    flag = tmp_path / "flag"
    flag.touch()
    with SingleNodeExecutor(block_allocation=True, max_workers=1, restart_limit=1, timeline=log) as exe:
        assert exe.submit(crash_once, flag).result() == "done"
    assert kinds(log, 1) == ["submitted", "started", "returned", "started", "finished"]
    (returned,) = events(log, event="returned")
    assert (returned["lost"], returned["restarts"]) == (True, 1)
    first, second = events(log, event="started")
    assert (first["worker"], second["worker"]) == (0, 0)
    assert first["pid"] != second["pid"]


def test_calls_sent_ahead_start_one_after_the_other(log):
    with SingleNodeExecutor(block_allocation=True, max_workers=1, timeline=log) as exe:
        assert [future.result() for future in [exe.submit(functions.identity, i) for i in range(300)]] == [*range(300)]
    timeline = _timeline.read(log)
    runs = [run for call in timeline.calls for run in call.runs]
    assert len(runs) == len(timeline.calls) == 300
    assert all(first.ended <= second.began for first, second in itertools.pairwise(runs))
    assert all(run.began < run.ended for run in runs)
    assert all(call.submitted <= call.runs[0].began < call.runs[0].ended <= call.ended for call in timeline.calls)


def test_a_map_has_the_name_of_its_function(log):
    with SingleNodeExecutor(block_allocation=True, max_workers=2, timeline=log) as exe:
        assert list(exe.map(functions.identity, range(4))) == [0, 1, 2, 3]
        assert list(exe.map(functions.identity, range(4), chunksize=2)) == [0, 1, 2, 3]
    assert [event["function"] for event in events(log, event="submitted")] == ["functions.identity"] * 6


@support.needs_mpi
@pytest.mark.parametrize("block", [False, True])
def test_a_call_over_mpi_ranks(log, block):
    with SingleNodeExecutor(
        max_workers=1, block_allocation=block, resource_dict={"cores": 2}, timeline=log
    ) as exe:  # fmt: skip
        assert exe.submit(functions.identity, 1).result() == [1, 1]
    assert kinds(log, 1) == ["submitted", "started", "finished"]
    (submitted,) = events(log, event="submitted")
    assert (submitted["cores"], submitted["ranks"]) == (2, 2)
    (executor,) = events(log, event="executor")
    assert executor["cores"] == 2


def test_the_variable_turns_it_on_for_executors_inside_calls_too(log, tmp_path):
    source = """
        from executorlib import SingleNodeExecutor
        def inside(value):
            with SingleNodeExecutor(max_workers=1) as exe:
                return exe.submit(abs, value).result()
        with SingleNodeExecutor(max_workers=2) as exe:
            assert sum(exe.map(inside, [-1, -2])) == 3
        with SingleNodeExecutor(max_workers=1, block_allocation=True) as exe:
            assert exe.submit(abs, -1).result() == 1
    """
    script = support.run_script(tmp_path, source, env=support.script_environment(EXECUTORLIB_TIMELINE=str(log)))
    assert script.returncode == 0, script.stderr
    timeline = _timeline.read(log)
    assert (timeline.garbled, timeline.torn, len(timeline.drivers)) == (0, False, 3)
    assert sorted(call.function for call in timeline.calls) == ["abs"] * 3 + ["inside"] * 2


def test_drivers_and_forked_children_do_not_garble_each_others_lines(log, tmp_path):
    source = """
        import os, sys
        from executorlib import SingleNodeExecutor
        def work():
            with SingleNodeExecutor(max_workers=1, block_allocation=True, timeline=sys.argv[1]) as exe:
                for future in [exe.submit(abs, -1) for _ in range(2000)]:
                    future.result()
        with SingleNodeExecutor(max_workers=1, block_allocation=True, timeline=sys.argv[1]) as exe:
            future = exe.submit(abs, -1)
            children = []
            for _ in range(2):
                pid = os.fork()
                if pid == 0:
                    work()
                    os._exit(0)
                children.append(pid)
            future.result()
            assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0]
    """
    script = support.run_script(tmp_path, source, log)
    assert script.returncode == 0, script.stderr
    timeline = _timeline.read(log)
    assert (timeline.garbled, timeline.torn, timeline.dropped) == (0, False, 0)
    assert len(timeline.drivers) == 3
    assert sum(call.outcome == "finished" for call in timeline.calls) == 4001


@pytest.mark.orphans
def test_a_killed_driver_leaves_what_it_did(log, tmp_path):
    source = """
        import sys
        from executorlib import SingleNodeExecutor
        import support
        gate = support.Gate(sys.argv[2])
        exe = SingleNodeExecutor(max_workers=1, block_allocation=True, timeline=sys.argv[1])
        assert exe.submit(abs, -1).result() == 1
        gate.submit(exe)
        gate.arrival()
        with SingleNodeExecutor(max_workers=1, timeline=sys.argv[1]):
            pass                # its end waits until all is written
        print("running", flush=True)
        sys.stdin.read()
    """
    with support.Driver(tmp_path, source, log, tmp_path / "gate") as driver:
        driver.expect("running")
        driver.kill()
    timeline = _timeline.read(log)
    first, second = timeline.calls
    assert first.outcome == "finished"
    assert second.outcome is None
    assert len(second.runs) == 1
    assert _report.figures(timeline)["calls"]["not_ended"] == 1


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(OSError, match=r"cannot write the timeline to .*/missing/log"):
        SingleNodeExecutor(max_workers=1, timeline=tmp_path / "missing" / "log")


def test_without_it_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EXECUTORLIB_TIMELINE", raising=False)
    with SingleNodeExecutor(max_workers=1) as exe:
        assert exe.submit(abs, -1).result() == 1
    assert list(tmp_path.iterdir()) == []


def test_a_known_workload_gives_its_figures(log, gate):
    with SingleNodeExecutor(block_allocation=True, max_workers=2, timeline=log) as exe:
        held = gate.submit(exe)
        gate.arrival()
        waits = exe.submit(functions.identity, held)
        failed = exe.submit(functions.raise_error, ValueError("no"))
        assert failed.exception() is not None
        gate.open()
        waits.result()
    figures = _report.figures(_timeline.read(log))
    assert {key: count for key, count in figures["calls"].items() if count} == {
        "total": 3, "finished": 2, "failed": 1
    }  # fmt: skip
    assert figures["wait_for_arguments"]["count"] == 1
    assert figures["wait_for_cores"]["count"] == 3
    assert figures["cores"] == 2
    assert 0 < figures["utilisation"] < 1
    assert figures["slowest"][0]["function"] == "functions.pass_gate"
    assert [entry["count"] for entry in figures["functions"]] == [1, 1, 1]
    assert figures["core_seconds_used"] == pytest.approx(sum(entry["total"] for entry in figures["functions"]))
