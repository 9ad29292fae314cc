"""A timeline in the Trace Event Format, which Perfetto and Chrome show: executors as processes, workers as threads."""

from __future__ import annotations

import json
import os

from executorlib._timeline import lanes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from executorlib._timeline import Call, Timeline


def write(timeline: Timeline, path: str | os.PathLike[str]) -> None:
    """Write a trace to `path`.

    Raises:
        OSError: if the file cannot be written.
    """
    with open(path, "w") as file:
        file.write('{"displayTimeUnit":"ms","traceEvents":[\n')
        for i, event in enumerate(events(timeline)):
            file.write(",\n" * (i > 0) + json.dumps(event, separators=(",", ":")))
        file.write("\n]}\n")


def events(timeline: Timeline) -> Iterator[dict[str, Any]]:
    """The trace's events; times are microseconds since the first submission."""
    pids = {id(executor): i for i, executor in enumerate(timeline.executors, 1)}
    ends: dict[tuple[str, int], dict[str, Any]] = {}  # where the arrows to what depends on a call begin
    begins: list[tuple[Call, dict[str, Any]]] = []

    def at(time: float) -> float:
        return round((time - timeline.began) * 1e6, 3)

    for executor in timeline.executors:
        yield _named("process_name", pids[id(executor)], 0, f"executor {executor.number} ({executor.driver})")
    for tid, lane in enumerate(lanes(timeline), 1):
        pid = pids[id(lane.executor)]
        yield _named("thread_name", pid, tid, lane.label)
        for call, began, ended in lane.runs:
            place = {"pid": pid, "tid": tid}
            yield {
                "ph": "X", "name": call.function, "cat": call.outcome or "unfinished", "ts": at(began),
                "dur": round((ended - began) * 1e6, 3), **place, "args": _arguments(call),
            }  # fmt: skip
            ends[call.executor.driver, call.number] = {"ts": at(ended), **place}
            begins.append((call, {"ts": at(began), **place}))
    yield from _arrows(ends, begins)
    yield from _counts(timeline, pids, at)


def _named(kind: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": name}}


def _arguments(call: Call) -> dict[str, Any]:
    return {
        "call": call.number, "outcome": call.outcome, "cores": call.cores, "ranks": call.ranks, "gpus": call.gpus,
        "pid": call.pid, "sent": call.sent, "received": call.received, "reason": call.reason,
    }  # fmt: skip


def _arrows(ends: dict, begins: list) -> Iterator[dict[str, Any]]:
    number = 0
    for call, begin in begins:
        for producer in call.after:
            end = ends.get((call.executor.driver, producer))
            if end is not None:
                number += 1
                arrow = {"name": "argument", "cat": "dependency", "id": number}
                yield {"ph": "s", **arrow, **end}
                yield {"ph": "f", "bp": "e", **arrow, **begin}


def _counts(timeline: Timeline, pids: dict[int, int], at: Any) -> Iterator[dict[str, Any]]:
    """How many cores each executor uses, and how many calls wait for some."""
    changes: list[tuple[float, int, str, int]] = []
    for call in timeline.calls:
        pid = pids[id(call.executor)]
        for run in call.runs:
            ended = timeline.ended if run.ended is None else run.ended
            changes += [(run.began, pid, "cores in use", call.cores), (ended, pid, "cores in use", -call.cores)]
        if call.ready is not None and call.runs:
            changes += [(call.ready, pid, "calls waiting", 1), (call.runs[0].began, pid, "calls waiting", -1)]
    now: dict[tuple[int, str], int] = {}
    for time, pid, name, change in sorted(changes):
        now[pid, name] = value = now.get((pid, name), 0) + change
        yield {"ph": "C", "name": name, "pid": pid, "tid": 0, "ts": at(time), "args": {"value": value}}
