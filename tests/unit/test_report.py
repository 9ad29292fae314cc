"""What `executorlib report` makes of a timeline log: figures, text, trace, picture."""

import json
import subprocess
import sys

import pytest

from executorlib import _cli, _gantt, _report, _timeline, _trace

WALL = 1700000000


class Log:
    """Writes a log by hand, so that every figure is known. Times are seconds since it was begun."""

    def __init__(self, path, driver="host:1"):
        self.path = path
        self.driver = driver
        self.line("timeline", 0, version=1, node="host", pid=1, cores=4)

    def line(self, event, t, **fields):
        whole = {"event": event, "time": WALL + t, "t": 50 + t, "driver": self.driver, **fields}
        with open(self.path, "a") as file:
            file.write(json.dumps(whole) + "\n")

    def executor(self, number=1, t=0, kind="workers", cores=2, **fields):
        self.line("executor", t, executor=number, kind=kind, cores=cores, workers=cores, **fields)

    def submitted(self, call, t, function="f", cores=1, executor=1, **fields):
        self.line(
            "submitted", t, executor=executor, call=call, function=function, cores=cores, ranks=1, gpus=0, **fields
        )

    def started(self, call, t, worker=0, executor=1):
        self.line("started", t, executor=executor, call=call, worker=worker, pid=9, node="host")

    def ended(self, call, t, event="finished", worker=0, executor=1, **fields):
        self.line(event, t, executor=executor, call=call, worker=worker, pid=9, sent=10, received=5, **fields)


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path / "log.jsonl")


@pytest.fixture
def workload(log):
    """Two workers for 10 s: one runs f for 4 s and, after it, g for 6 s, the other f for 5 s, which then dies."""
    log.executor()
    log.submitted(1, 0)
    log.submitted(2, 0)
    log.submitted(3, 0, function="g", after=[1])
    log.started(1, 0, worker=0)
    log.started(2, 1, worker=1)
    log.ended(1, 4, worker=0)
    log.line("ready", 4, executor=1, call=3)
    log.started(3, 4, worker=0)
    log.ended(2, 6, "lost", worker=1, reason="killed by signal 9")
    log.ended(3, 10, worker=0)
    log.line("closed", 10, executor=1)
    return log


def figures(log, slowest=10):
    return _report.figures(_timeline.read(log.path), slowest)


def test_the_figures_of_a_known_workload(workload):
    found = figures(workload)
    assert found["makespan"] == pytest.approx(10)
    assert found["core_seconds_used"] == pytest.approx(15)
    assert found["core_seconds_available"] == pytest.approx(20)
    assert found["utilisation"] == pytest.approx(0.75)
    assert found["calls"] == {
        "total": 3, "finished": 2, "failed": 0, "lost": 1, "cancelled": 0, "terminated": 0, "not_ended": 0,
        "never_ran": 0, "restarts": 0,
    }  # fmt: skip
    assert found["wait_for_cores"] == pytest.approx({"count": 3, "median": 0, "p90": 1, "max": 1})
    assert found["wait_for_arguments"] == pytest.approx({"count": 1, "median": 4, "p90": 4, "max": 4})
    assert (found["bytes_sent"], found["bytes_received"]) == (30, 15)
    f, g = sorted(found["functions"], key=lambda entry: entry["function"])
    assert (f["count"], f["median"], f["p99"], f["total"]) == (2, *map(pytest.approx, (4, 5, 9)))
    assert (g["count"], g["total"]) == (1, pytest.approx(6))
    assert [call["call"] for call in found["slowest"]] == [3, 2, 1]
    assert [(call["call"], call["reason"]) for call in found["went_wrong"]] == [(2, "killed by signal 9")]


def test_what_the_worker_measured_counts(log):
    log.executor()
    log.submitted(1, 0)
    log.started(1, 0)
    log.ended(1, 5, began=51.0, ended=52.0)
    assert figures(log)["core_seconds_used"] == pytest.approx(1)
    assert figures(log)["wait_for_cores"]["max"] == pytest.approx(1)


def test_a_run_that_was_lost_counts_and_one_taken_back_does_not(log):
    log.executor()
    log.submitted(1, 0, cores=2)
    log.started(1, 0)
    log.line("returned", 1, executor=1, call=1, worker=0, pid=9, lost=True, restarts=1)
    log.started(1, 2)
    log.line("returned", 3, executor=1, call=1, worker=0, pid=9, lost=False, restarts=1)
    log.started(1, 4)
    log.ended(1, 5)
    found = figures(log)
    assert found["core_seconds_used"] == pytest.approx(2 * (1 + 1))
    assert found["calls"]["restarts"] == 1


def test_cores_of_executors_one_after_the_other_guests_and_resizes(log):
    log.executor(1, cores=2)
    log.submitted(1, 0)
    log.started(1, 0)
    log.executor(2, cores=1, t=0, host=1)
    log.executor(1, t=5, cores=4)
    log.ended(1, 10)
    log.line("closed", 10, executor=1)
    log.executor(3, t=10, cores=3)
    log.submitted(2, 10, executor=3)
    log.started(2, 10, executor=3)
    log.ended(2, 12, executor=3)
    found = figures(log)
    assert found["core_seconds_available"] == pytest.approx(2 * 5 + 4 * 5 + 3 * 2)
    assert found["cores"] == 4


def test_calls_that_have_not_ended_run_to_the_end_of_the_log(log):
    log.executor()
    log.submitted(1, 0)
    log.started(1, 0)
    log.submitted(2, 3)
    found = figures(log)
    assert found["calls"]["not_ended"] == 2
    assert found["core_seconds_used"] == pytest.approx(3)


def test_torn_and_garbled_lines_are_told(workload):
    with open(workload.path, "a") as file:
        file.write('{"event":"sta\n[]\n{"event":"started"}\n{"event":"submitted","ti')
    timeline = _timeline.read(workload.path)
    assert (timeline.torn, timeline.garbled, len(timeline.calls)) == (True, 3, 3)
    said = _report.text(_report.figures(timeline))
    assert "The last line is not whole" in said
    assert "3 lines could not be read" in said


def test_dropped_events_are_told(workload):
    workload.line("dropped", 10, count=7)
    assert "7 events missing" in _report.text(figures(workload))


def test_two_drivers_are_on_one_axis(log):
    log.executor()
    log.submitted(1, 0)
    other = Log(log.path, "other:2")
    other.executor()
    other.submitted(1, 2)
    timeline = _timeline.read(log.path)
    assert [call.submitted for call in timeline.calls] == pytest.approx([0, 2])
    assert timeline.drivers == ["host:1", "other:2"]


def test_a_log_without_calls(log):
    assert "calls     0" in _report.text(figures(log))


def test_an_empty_file_has_no_calls(tmp_path):
    (tmp_path / "empty").touch()
    assert _timeline.read(tmp_path / "empty").calls == []


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("hello\nworld\n")
    with pytest.raises(ValueError, match=r"notes.txt is not a timeline log"):
        _timeline.read(path)


def test_a_log_of_a_later_format_is_refused(log):
    log.line("timeline", 1, version=2, node="host", pid=1, cores=4)
    with pytest.raises(ValueError, match="version 2"):
        _timeline.read(log.path)


def test_lanes_of_one_process_per_call_are_as_few_as_it_takes(log):
    log.executor(kind="processes")
    for call, (began, ended) in enumerate([(0, 2), (1, 3), (2, 4), (5, 6)], 1):
        log.submitted(call, 0)
        log.started(call, began, worker=10 + call)
        log.ended(call, ended, worker=10 + call)
    rows = _timeline.lanes(_timeline.read(log.path))
    assert [[call.number for call, _, _ in row.runs] for row in rows] == [[1, 3, 4], [2]]


# ---- output ----


def test_the_text_says_it_at_a_glance(workload):
    said = _report.text(figures(workload))
    for words in ("makespan  10 s", "3: 2 finished, 1 lost", "used 75.0% of the time", "lost: killed by signal 9"):
        assert words in said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (4e-7, "0.4 µs"), (1.5e-5, "15 µs"), (0.02, "20 ms"), (59, "59 s"), (90, "1.5 min"), (7200, "2 h")],
)
def test_durations(seconds, said):
    assert _report.duration(seconds) == said


@pytest.mark.parametrize(("nbytes", "said"), [(0, "0 bytes"), (999, "999 bytes"), (1536, "1.5 KiB"), (2**31, "2 GiB")])
def test_sizes(nbytes, said):
    assert _report.size(nbytes) == said


def test_quantiles_are_values_that_occurred():
    values = [float(i) for i in range(1, 101)]
    assert [_report.quantile(values, part) for part in (0.5, 0.9, 0.99, 1)] == [50, 90, 99, 100]
    assert _report.quantile([], 0.5) == 0


def test_the_trace_is_in_the_trace_event_format(workload, tmp_path):
    path = tmp_path / "trace.json"
    _trace.write(_timeline.read(workload.path), path)
    events = json.loads(path.read_text())["traceEvents"]
    assert {event["ph"] for event in events} == {"M", "X", "s", "f", "C"}
    for event in events:
        assert isinstance(event["pid"], int) and isinstance(event["tid"], int) and event["name"]
        assert event["ph"] == "M" or event["ts"] >= 0
    spans = {event["args"]["call"]: event for event in events if event["ph"] == "X"}
    assert (spans[2]["ts"], spans[2]["dur"], spans[2]["cat"]) == (1e6, 5e6, "lost")
    arrow, head = (next(event for event in events if event["ph"] == kind) for kind in "sf")
    assert arrow["id"] == head["id"]
    assert (arrow["ts"], arrow["tid"]) == (4e6, spans[1]["tid"])
    counters = [event for event in events if event["ph"] == "C" and event["name"] == "cores in use"]
    assert max(event["args"]["value"] for event in counters) == 2
    assert counters[-1]["args"]["value"] == 0


@pytest.mark.parametrize(("name", "magic"), [("chart.png", b"\x89PNG"), ("chart.svg", b"<?xml")])
def test_the_gantt_chart_is_a_picture(workload, tmp_path, name, magic):
    pytest.importorskip("matplotlib")
    _gantt.draw(_timeline.read(workload.path), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(magic)


def test_runs_too_short_to_be_seen_become_one_bar(log):
    log.executor()
    for call in range(1, 1001):
        log.submitted(call, 0, function="short")
        log.started(call, call * 1e-3)
        log.ended(call, call * 1e-3 + 9e-4)
    log.submitted(1001, 0, function="long")
    log.started(1001, 2)
    log.ended(1001, 10000)
    timeline = _timeline.read(log.path)
    drawn = _gantt.bars(timeline, _timeline.lanes(timeline)[0])
    assert [bar.function for bar in drawn] == ["short", "long"]


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'executorlib\[report\]'"):
        _gantt.check("chart.png")


def test_a_picture_in_another_format_is_refused():
    with pytest.raises(ValueError, match="not chart.pdf"):
        _gantt.check("chart.pdf")


# ---- command ----


def test_the_command_prints_text_and_json(workload, capsys, tmp_path):
    assert _cli.main(["report", str(workload.path)]) == 0
    assert "makespan  10 s" in capsys.readouterr().out
    assert _cli.main(["report", str(workload.path), "--json", "--slowest", "1", "--trace", str(tmp_path / "t")]) == 0
    assert len(json.loads(capsys.readouterr().out)["slowest"]) == 1
    assert json.loads((tmp_path / "t").read_text())["traceEvents"]


def test_the_command_tells_errors_in_one_line(capsys, tmp_path):
    assert _cli.main(["report", str(tmp_path / "none")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("executorlib: ") and "none" in said and said.count("\n") == 1


def test_the_command_is_installed():
    run = subprocess.run(
        [sys.executable, "-c", "import sys; from executorlib._cli import main; sys.exit(main(['report', '--help']))"],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert run.returncode == 0
    assert "--gantt" in run.stdout
