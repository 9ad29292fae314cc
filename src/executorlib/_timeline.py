"""A timeline log, read: drivers, executors, and what became of each call.

    lines  --read-->  Timeline(executors, calls)  -->  _report: figures;  _gantt: a picture;  _trace: a trace

docs/timeline.md describes the lines. Times are seconds since the log was begun, on one axis for all drivers: the wall
clock as each driver knew it when it opened the log, and its monotonic clock from there, so that a clock that is set
meanwhile bends nothing.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from heapq import heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

#: The format that this module reads.
VERSION = 1

#: How a call may end.
OUTCOMES = ("finished", "failed", "lost", "cancelled", "terminated")


@dataclass(slots=True, eq=False)
class Executor:
    driver: str
    number: int
    kind: str = "workers"  # or "processes": one per call
    node: str = ""
    host: int | None = None  # whose guest it is, and whose cores it uses
    limits: list[tuple[float, int]] = field(default_factory=list)  # from this time on so many cores
    closed: float | None = None

    @property
    def cores(self) -> int:
        return max((cores for _, cores in self.limits), default=0)


@dataclass(slots=True, eq=False)
class Run:
    """A time that a call was on a worker."""

    worker: int
    began: float
    ended: float | None = None


@dataclass(slots=True, eq=False)
class Call:
    executor: Executor
    number: int
    function: str = "?"
    cores: int = 1
    ranks: int = 1
    gpus: float = 0
    after: tuple[int, ...] = ()
    submitted: float | None = None
    ready: float | None = None
    runs: list[Run] = field(default_factory=list)  # more than one where a worker was lost, or the call taken back
    outcome: str | None = None  # one of OUTCOMES; None where the log ends before the call
    ended: float | None = None  # as the driver heard of it
    reason: str = ""
    pid: int | None = None
    sent: int = 0
    received: int = 0
    restarts: int = 0

    @property
    def seconds(self) -> float:
        """How long the run took that counted; 0 for a call that never ran."""
        run = self.runs[-1] if self.runs else None
        return run.ended - run.began if run is not None and run.ended is not None else 0.0


@dataclass(slots=True)
class Timeline:
    path: str
    wall: float = 0.0  # the wall clock's time of 0
    drivers: list[str] = field(default_factory=list)
    executors: list[Executor] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    began: float = 0.0  # the first submission
    ended: float = 0.0  # the last end of a call, or, where one has not ended, the last event
    torn: bool = False  # the last line is not whole: its driver was killed
    garbled: int = 0  # other lines that are none of ours
    dropped: int = 0  # events that the drivers could not write


def read(path: str | os.PathLike[str]) -> Timeline:
    """Read a timeline log.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no timeline log, or one of a later version.
    """
    reader = _Reader(os.fspath(path))
    with open(path, "rb") as lines:
        reader.read(lines)
    return reader.finish()


@dataclass(slots=True)
class _Driver:
    """A process, from when it opened the log."""

    name: str
    node: str
    offset: float  # from its monotonic clock to the time axis
    executors: dict[int, Executor] = field(default_factory=dict)
    calls: dict[int, Call] = field(default_factory=dict)


class _Reader:
    def __init__(self, path: str) -> None:
        self._timeline = Timeline(path)
        self._drivers: dict[str, _Driver] = {}
        self._last = 0.0
        self._tell: dict[str, Callable[[_Driver, float, dict[str, Any]], None]] = {
            "executor": self._executor,
            "closed": self._closed,
            "submitted": self._submitted,
            "ready": self._ready,
            "started": self._started,
            "returned": self._returned,
            "dropped": self._dropped,
            **dict.fromkeys(OUTCOMES, self._ended),
        }

    def read(self, lines: Iterable[bytes]) -> None:
        nevents = 0
        for line in lines:
            try:
                event = json.loads(line)
                self._event(event)
                nevents += 1
            except _LaterVersion:
                raise
            except (ValueError, KeyError, TypeError, AttributeError):
                if not line.endswith(b"\n"):
                    self._timeline.torn = True
                elif line.strip():
                    self._timeline.garbled += 1
        if not nevents and self._timeline.garbled:
            raise ValueError(f"{self._timeline.path} is not a timeline log of executorlib")

    def _event(self, event: dict[str, Any]) -> None:
        kind, t, name = event["event"], event["t"], event["driver"]
        driver = self._drivers.get(name)
        if kind == "timeline" or driver is None:
            if event.get("version", VERSION) != VERSION:
                raise _LaterVersion(
                    f"{self._timeline.path} has version {event['version']} of the format, from a later executorlib; "
                    f"this one reads version {VERSION}"
                )
            node = event.get("node", name.rpartition(":")[0])
            if not self._timeline.drivers:
                self._timeline.wall = event["time"]
            # In this order little is lost of the nanoseconds.
            driver = self._drivers[name] = _Driver(name, node, event["time"] - self._timeline.wall - t)
            if name not in self._timeline.drivers:
                self._timeline.drivers.append(name)
        tell = self._tell.get(kind)
        if tell is not None:  # else of a later executorlib
            tell(driver, t + driver.offset, event)
        self._last = max(self._last, t + driver.offset)

    def _executor_of(self, driver: _Driver, event: dict[str, Any]) -> Executor:
        number = event["executor"]
        executor = driver.executors.get(number)
        if executor is None:
            executor = driver.executors[number] = Executor(driver.name, number, node=driver.node)
            self._timeline.executors.append(executor)
        return executor

    def _call_of(self, driver: _Driver, event: dict[str, Any]) -> Call:
        call = driver.calls.get(event["call"])
        if call is None:
            call = driver.calls[event["call"]] = Call(self._executor_of(driver, event), event["call"])
            self._timeline.calls.append(call)
        return call

    def _executor(self, driver: _Driver, time: float, event: dict[str, Any]) -> None:
        executor = self._executor_of(driver, event)
        executor.kind = event["kind"]
        executor.host = event.get("host")
        executor.limits.append((time, event["cores"]))

    def _closed(self, driver: _Driver, time: float, event: dict[str, Any]) -> None:
        self._executor_of(driver, event).closed = time

    def _dropped(self, driver: _Driver, time: float, event: dict[str, Any]) -> None:
        self._timeline.dropped += event["count"]

    def _submitted(self, driver: _Driver, time: float, event: dict[str, Any]) -> None:
        call = self._call_of(driver, event)
        call.function, call.cores = event["function"], event["cores"]
        call.ranks, call.gpus = event["ranks"], event["gpus"]
        call.after = tuple(event.get("after", ()))
        call.submitted = time
        if not call.after:
            call.ready = time

    def _ready(self, driver: _Driver, time: float, event: dict[str, Any]) -> None:
        self._call_of(driver, event).ready = time

    def _started(self, driver: _Driver, time: float, event: dict[str, Any]) -> None:
        call = self._call_of(driver, event)
        if call.ready is None:
            call.ready = call.submitted  # what it takes was there
        call.runs.append(Run(event["worker"], time))

    def _returned(self, driver: _Driver, time: float, event: dict[str, Any]) -> None:
        call = self._call_of(driver, event)
        call.restarts = event["restarts"]
        if not call.runs:
            return
        if event["lost"]:
            call.runs[-1].ended = time
        else:
            call.runs.pop()  # taken back before the worker came to it

    def _ended(self, driver: _Driver, time: float, event: dict[str, Any]) -> None:
        call = self._call_of(driver, event)
        call.outcome, call.ended = event["event"], time
        call.reason = event.get("reason", "")
        if "worker" not in event:
            return
        call.pid, call.sent, call.received = event.get("pid"), event["sent"], event["received"]
        if not call.runs or call.runs[-1].ended is not None:  # the line of its start is missing
            call.runs.append(Run(event["worker"], time))
        run = call.runs[-1]
        run.ended = time
        if "began" in event:  # measured by the worker
            run.began, run.ended = event["began"] + driver.offset, event["ended"] + driver.offset

    def finish(self) -> Timeline:
        timeline = self._timeline
        times = [call.submitted for call in timeline.calls if call.submitted is not None]
        timeline.began = min(times, default=self._last)
        ends = [self._last if call.ended is None else call.ended for call in timeline.calls]
        timeline.ended = max(ends, default=self._last)
        return timeline


class _LaterVersion(ValueError):
    """The log is of a format that this release does not know."""


@dataclass(slots=True)
class Lane:
    """What ran one after the other: on a worker, or, of one process per call, in each other's place."""

    executor: Executor
    label: str
    runs: list[tuple[Call, float, float]] = field(default_factory=list)  # call, began, ended


def lanes(timeline: Timeline) -> list[Lane]:
    """All runs, sorted into as few lanes as it takes; executors in order, workers in theirs."""
    found: dict[tuple[int, int], Lane] = {}
    order = {id(executor): i for i, executor in enumerate(timeline.executors)}
    runs = [
        (run.began, timeline.ended if run.ended is None else run.ended, order[id(call.executor)], i, run.worker, call)
        for i, call in enumerate(timeline.calls)
        for run in call.runs
    ]
    runs.sort(key=lambda run: run[:4])
    busy: dict[int, list[tuple[float, int]]] = {}  # of each executor the lanes in use, by when they end
    free: dict[int, list[int]] = {}
    for began, ended, place, _, worker, call in runs:
        if call.executor.kind == "processes":
            worker = _free_lane(busy.setdefault(place, []), free.setdefault(place, []), began)
            heappush(busy[place], (ended, worker))
        lane = found.get((place, worker))
        if lane is None:
            label = f"worker {worker}" if call.executor.kind == "workers" else f"process {worker}"
            lane = found[place, worker] = Lane(call.executor, label)
        lane.runs.append((call, began, ended))
    return [lane for _, lane in sorted(found.items())]


def _free_lane(busy: list[tuple[float, int]], free: list[int], now: float) -> int:
    while busy and busy[0][0] <= now:
        heappush(free, heappop(busy)[1])
    return heappop(free) if free else len(busy)
