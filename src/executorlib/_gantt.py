"""A timeline as a picture: who ran what when, and how many cores were in use."""

from __future__ import annotations

import os
from dataclasses import dataclass

from executorlib._report import cores_at_once
from executorlib._timeline import lanes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from executorlib._timeline import Lane, Timeline

# Runs within this part of the picture's width are drawn as one.
_FINEST = 1 / 3000

# Functions with a colour of their own; the others share one.
_COLOURED = 9

_WRONG = "#d62728"
_OTHER = "#9a9a9a"


def check(path: str | os.PathLike[str]) -> None:
    """Refuse, before any work, a picture that cannot be drawn.

    Raises:
        ValueError: for a name that ends neither in .png nor in .svg.
        ImportError: without matplotlib.
    """
    if os.path.splitext(path)[1].lower() not in (".png", ".svg"):
        raise ValueError(f"a Gantt chart is a .png or an .svg file, not {os.fspath(path)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(f"a Gantt chart needs matplotlib ({error}): pip install 'executorlib[report]'") from None


def draw(timeline: Timeline, path: str | os.PathLike[str]) -> None:
    """Draw a Gantt chart: a row per worker, and below it the cores in use.

    Raises:
        ValueError, ImportError: see `check`.
        OSError: if the file cannot be written.
    """
    check(path)
    from matplotlib.figure import Figure

    rows = lanes(timeline)
    chart = Figure(figsize=(12, min(40.0, 3.0 + 0.25 * len(rows))), layout="constrained")
    upper, lower = chart.subplots(2, sharex=True, height_ratios=(max(3.0, 0.25 * len(rows)), 1.5))
    _draw_rows(upper, timeline, rows)
    _draw_use(lower, timeline)
    lower.set_xlim(0, max(timeline.ended - timeline.began, 1e-6))
    chart.savefig(path, dpi=150)


@dataclass(slots=True)
class Bar:
    """A run, or several that are too short to be seen; in seconds since the first submission."""

    began: float
    ended: float
    function: str  # of the longest run in it
    wrong: bool
    longest: float


def bars(timeline: Timeline, lane: Lane) -> list[Bar]:
    """What to draw of a lane. Neighbours that share a pixel become one bar."""
    finest = (timeline.ended - timeline.began) * _FINEST
    found: list[Bar] = []
    for call, begin, end in lane.runs:
        began, ended = begin - timeline.began, end - timeline.began
        wrong = call.outcome in ("failed", "lost", "terminated")
        last = found[-1] if found else None
        if last is None or ended - last.began >= finest or wrong != last.wrong:
            found.append(Bar(began, ended, call.function, wrong, ended - began))
            continue
        last.ended = ended
        if ended - began > last.longest:
            last.longest, last.function = ended - began, call.function
    return found


def _draw_rows(axes: Any, timeline: Timeline, rows: list[Lane]) -> None:
    from matplotlib.patches import Patch

    colours = _colours(timeline)
    for y, lane in enumerate(rows):
        drawn = bars(timeline, lane)
        axes.broken_barh(
            [(bar.began, bar.ended - bar.began) for bar in drawn],
            (y - 0.4, 0.8),
            facecolors=[colours.get(bar.function, _OTHER) for bar in drawn],
            edgecolors=[_WRONG if bar.wrong else "none" for bar in drawn],
            linewidth=1.5,
            rasterized=len(drawn) * len(rows) > 20000,  # an SVG of so many rectangles is of no use
        )
    several = len({id(lane.executor) for lane in rows}) > 1
    labels = [f"{lane.executor.number}: {lane.label}" if several else lane.label for lane in rows]
    step = 1 + len(rows) // 160
    axes.set_yticks(range(0, len(rows), step), labels[::step], fontsize=7)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    patches = [Patch(color=colour, label=function) for function, colour in colours.items()]
    if len(colours) == _COLOURED:
        patches.append(Patch(color=_OTHER, label="other functions"))
    patches.append(Patch(facecolor="none", edgecolor=_WRONG, label="failed, lost, terminated"))
    axes.legend(handles=patches, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    axes.set_title(f"{os.path.basename(timeline.path)}: {len(timeline.calls)} calls", fontsize=10)


def _colours(timeline: Timeline) -> dict[str, Any]:
    """The functions that took most of the time, and their colours."""
    import matplotlib

    seconds: dict[str, float] = {}
    for call in timeline.calls:
        seconds[call.function] = seconds.get(call.function, 0.0) + call.seconds * call.cores
    first = sorted(seconds, key=lambda function: -seconds[function])[:_COLOURED]
    palette = [colour for i, colour in enumerate(matplotlib.colormaps["tab10"].colors) if i != 3]
    return dict(zip(first, palette, strict=False))


def _draw_use(axes: Any, timeline: Timeline) -> None:
    changes = []
    for call in timeline.calls:
        for run in call.runs:
            ended = timeline.ended if run.ended is None else run.ended
            changes += [(run.began - timeline.began, call.cores), (ended - timeline.began, -call.cores)]
    changes.sort()
    times, used, now = [0.0], [0], 0
    for time, change in changes:
        now += change
        times.append(time)
        used.append(now)
    axes.fill_between(times, used, step="post", alpha=0.5, linewidth=0, rasterized=len(times) > 20000)
    cores = cores_at_once(timeline)
    axes.axhline(cores, color="black", linewidth=0.8, linestyle="dashed")
    axes.set_ylim(0, 1.1 * max([cores, *used, 1]))
    axes.set_ylabel("cores in use", fontsize=8)
    axes.set_xlabel("seconds since the first submission", fontsize=8)
