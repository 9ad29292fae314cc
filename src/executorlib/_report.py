"""What a timeline says: figures for machines, and the same as text at a glance."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from itertools import accumulate, pairwise

from executorlib._timeline import OUTCOMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from executorlib._timeline import Call, Executor, Timeline

# So many functions, and calls that went wrong, are listed in the text.
_LISTED = 20


def figures(timeline: Timeline, slowest: int = 10) -> dict[str, Any]:
    """The figures of a timeline, ready for JSON. Times are seconds, sizes bytes.

    Parameters:
        timeline: from `_timeline.read`.
        slowest: how many of the slowest calls to name.
    """
    calls = timeline.calls
    ran = [call for call in calls if call.runs]
    used = _core_seconds_used(timeline)
    available = sum(_core_seconds_available(timeline, executor) for executor in timeline.executors)
    return {
        "log": timeline.path,
        "drivers": timeline.drivers,
        "nodes": sorted({executor.node for executor in timeline.executors}),
        "began": datetime.fromtimestamp(timeline.wall + timeline.began).astimezone().isoformat(timespec="milliseconds"),
        "makespan": timeline.ended - timeline.began if calls else 0.0,
        "executors": [_executor(executor) for executor in timeline.executors],
        "cores": cores_at_once(timeline),
        "core_seconds_used": used,
        "core_seconds_available": available,
        "utilisation": used / available if available else 0.0,
        "calls": _outcomes(calls),
        "wait_for_cores": _spread(call.runs[0].began - call.ready for call in ran if call.ready is not None),
        "wait_for_arguments": _spread(
            call.ready - call.submitted
            for call in calls
            if call.after and call.ready is not None and call.submitted is not None and call.ready > call.submitted
        ),
        "bytes_sent": sum(call.sent for call in calls),
        "bytes_received": sum(call.received for call in calls),
        "functions": _functions(ran),
        "slowest": [_call(call) for call in sorted(ran, key=lambda call: -call.seconds)[:slowest]],
        "went_wrong": [_call(call) for call in calls if call.outcome in ("failed", "lost", "terminated") and call.runs],
        "dropped_events": timeline.dropped,
        "garbled_lines": timeline.garbled,
        "torn": timeline.torn,
    }


def cores_at_once(timeline: Timeline) -> int:
    """The most cores that the executors which were there at one time had together."""
    changes: list[tuple[float, int]] = []
    for executor in timeline.executors:
        if executor.host is None:
            before = 0
            for time, cores in executor.limits:
                changes.append((time, cores - before))
                before = cores
            if executor.closed is not None:
                changes.append((executor.closed, -before))
    return max(accumulate(change for _, change in sorted(changes)), default=0)


def _core_seconds_used(timeline: Timeline) -> float:
    return sum(
        call.cores * ((timeline.ended if run.ended is None else run.ended) - run.began)
        for call in timeline.calls
        for run in call.runs
    )


def _core_seconds_available(timeline: Timeline, executor: Executor) -> float:
    """While the executor was there, from the first submission to the last end; a guest uses its host's cores."""
    if executor.host is not None:
        return 0.0
    until = timeline.ended if executor.closed is None else min(executor.closed, timeline.ended)
    changes = [*executor.limits, (until, 0)]
    return sum(cores * max(0.0, end - max(begin, timeline.began)) for (begin, cores), (end, _) in pairwise(changes))


def _outcomes(calls: list[Call]) -> dict[str, int]:
    count = Counter(call.outcome for call in calls)
    return {
        "total": len(calls),
        **{outcome: count[outcome] for outcome in OUTCOMES},
        "not_ended": count[None],
        "never_ran": sum(not call.runs and call.outcome not in ("cancelled", None) for call in calls),
        "restarts": sum(call.restarts for call in calls),
    }


def quantile(values: list[float], part: float) -> float:
    """Of sorted values the one below or at which `part` of them are; 0 if there is none."""
    if not values:
        return 0.0
    return values[min(len(values) - 1, max(0, -int(-part * len(values) // 1) - 1))]


def _spread(values: Iterable[float]) -> dict[str, float]:
    ordered = sorted(max(0.0, value) for value in values)
    return {
        "count": len(ordered),
        "median": quantile(ordered, 0.5),
        "p90": quantile(ordered, 0.9),
        "max": ordered[-1] if ordered else 0.0,
    }


def _functions(ran: list[Call]) -> list[dict[str, Any]]:
    seconds: dict[str, list[float]] = {}
    for call in ran:
        seconds.setdefault(call.function, []).append(call.seconds)
    found = []
    for name, times in seconds.items():
        times.sort()
        found.append(
            {
                "function": name,
                "count": len(times),
                "total": sum(times),
                "median": quantile(times, 0.5),
                "p99": quantile(times, 0.99),
                "max": times[-1],
            }
        )
    return sorted(found, key=lambda entry: -entry["total"])


def _call(call: Call) -> dict[str, Any]:
    return {
        "driver": call.executor.driver,
        "executor": call.executor.number,
        "call": call.number,
        "function": call.function,
        "cores": call.cores,
        "seconds": call.seconds,
        "outcome": call.outcome,
        "reason": call.reason,
        "worker": call.runs[-1].worker,
        "pid": call.pid,
    }


def _executor(executor: Executor) -> dict[str, Any]:
    return {
        "driver": executor.driver,
        "executor": executor.number,
        "kind": executor.kind,
        "cores": executor.cores,
        "host": executor.host,
    }


# ---- text ----


def text(figures: dict[str, Any]) -> str:
    """The figures for people."""
    parts = [_summary(figures), *_warnings(figures)]
    if figures["functions"]:
        parts.append(_function_table(figures["functions"]))
    if figures["slowest"]:
        parts.append(_call_table("Slowest calls", figures["slowest"]))
    if figures["went_wrong"]:
        parts.append(
            _call_table("Failed, lost, terminated", figures["went_wrong"][:_LISTED], len(figures["went_wrong"]))
        )
    return "\n\n".join(parts)


def _summary(figures: dict[str, Any]) -> str:
    rows = [
        ("log", f"{figures['log']}: {_many(len(figures['executors']), 'executor')} of "
                f"{_many(len(figures['drivers']), 'driver')} on {', '.join(figures['nodes']) or 'no node'}"),
        ("began", figures["began"]),
        ("makespan", duration(figures["makespan"])),
        ("calls", _calls(figures["calls"])),
        ("cores", f"{figures['cores']}, used {figures['utilisation']:.1%} of the time "
                  f"({figures['core_seconds_used']:.3g} of {figures['core_seconds_available']:.3g} core seconds)"),
        ("waits", f"for cores      {_waits(figures['wait_for_cores'])}"),
        ("", f"for arguments  {_waits(figures['wait_for_arguments'])}"),
        ("data", f"{size(figures['bytes_sent'])} sent, {size(figures['bytes_received'])} received"),
    ]  # fmt: skip
    return "\n".join(f"{name:10}{value}" for name, value in rows)


def _calls(calls: dict[str, int]) -> str:
    names = {"not_ended": "not ended", "never_ran": "ended without having run", "restarts": "restarts"}
    told = [
        f"{calls[key]} {names.get(key, key)}" for key in calls if key != "total" and (calls[key] or key == "finished")
    ]
    return f"{calls['total']}: {', '.join(told)}"


def _waits(spread: dict[str, float]) -> str:
    if not spread["count"]:
        return "none"
    return (
        f"median {duration(spread['median'])}, 90 % below {duration(spread['p90'])}, longest {duration(spread['max'])}"
        f"  ({_many(int(spread['count']), 'call')})"
    )


def _warnings(figures: dict[str, Any]) -> list[str]:
    told = []
    if figures["torn"]:
        told.append("The last line is not whole: a driver was killed, or is still writing.")
    if figures["garbled_lines"]:
        told.append(f"{_many(figures['garbled_lines'], 'line')} could not be read and are left out.")
    if figures["dropped_events"]:
        told.append(
            f"{_many(figures['dropped_events'], 'event')} missing: the log's disk was full, or slower than the calls."
        )
    return ["\n".join(told)] if told else []


def _function_table(functions: list[dict[str, Any]]) -> str:
    lines = [f"{'By function':40} {'calls':>9} {'total':>9} {'median':>9} {'99 %':>9} {'longest':>9}"]
    lines += [
        f"{_short(entry['function'], 40):40} {entry['count']:9} "
        + " ".join(f"{duration(entry[key]):>9}" for key in ("total", "median", "p99", "max"))
        for entry in functions[:_LISTED]
    ]
    return "\n".join([*lines, *_rest(len(functions) - _LISTED)])


def _call_table(title: str, calls: list[dict[str, Any]], count: int = 0) -> str:
    lines = [f"{title:40} {'call':>9} {'time':>9} {'cores':>5} {'worker':>6}  outcome"]
    lines += [
        f"{_short(call['function'], 40):40} {call['call']:9} {duration(call['seconds']):>9} {call['cores']:5} "
        f"{call['worker']:6}  {call['outcome'] or 'not ended'}{': ' * bool(call['reason'])}{call['reason']}"
        for call in calls
    ]
    return "\n".join([*lines, *_rest(count - len(calls))])


def _rest(count: int) -> list[str]:
    return [f"… and {count} more"] if count > 0 else []


def _short(name: str, width: int) -> str:
    return name if len(name) <= width else "…" + name[1 - width :]


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def duration(seconds: float) -> str:
    """Seconds in the unit that fits, to three digits."""
    if seconds >= 3600:
        return f"{seconds / 3600:.3g} h" if seconds < 3.6e6 else f"{seconds / 3600:.0f} h"
    if seconds >= 60:
        return f"{seconds / 60:.3g} min"
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 0.9995:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.2g} µs" if seconds else "0 s"


def size(nbytes: float) -> str:
    """Bytes in the unit that fits, to three digits."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if nbytes < 1000:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1024
    return f"{nbytes:.3g} TiB"
