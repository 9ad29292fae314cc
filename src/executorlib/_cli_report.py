"""`executorlib report LOG`: what a timeline log says."""

from __future__ import annotations

import gc
import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any


def add_commands(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "report",
        help="utilisation, waits and slowest calls of a timeline log",
        description="Says how well the cores were used, what calls waited for, and which took longest, from a log that "
        "an executor with timeline=LOG, or the variable EXECUTORLIB_TIMELINE=LOG, has written.",
    )
    parser.add_argument("log", metavar="LOG", help="the log")
    parser.add_argument("--slowest", metavar="N", type=_count, default=10, help="list so many calls; 10 by default")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument(
        "--gantt", metavar="FILE", action="append", default=[], help="draw who ran what when (.png or .svg; matplotlib)"
    )
    parser.add_argument("--trace", metavar="FILE", help="write a trace for https://ui.perfetto.dev or Chrome (JSON)")
    parser.set_defaults(run=_report)


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def _report(arguments: argparse.Namespace) -> int:
    from executorlib import _gantt, _report, _timeline, _trace

    for path in arguments.gantt:
        _gantt.check(path)
    gc.disable()  # there are millions of objects and no cycles
    timeline = _timeline.read(arguments.log)
    figures = _report.figures(timeline, arguments.slowest)
    print(json.dumps(figures, indent=2) if arguments.json else _report.text(figures))
    for path in arguments.gantt:
        _gantt.draw(timeline, path)
    if arguments.trace:
        _trace.write(timeline, arguments.trace)
    return 0
