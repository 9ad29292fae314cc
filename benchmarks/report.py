"""The table (Markdown), the raw figures (JSON) and the plot (PNG) of a run."""

import json
import math

from benchmarks import measure
from benchmarks.bars import BARS
from benchmarks.peers import PEERS

WIDE = 20  # from this ratio on an axis is logarithmic
PANELS = (
    ("start", "persistent_ms"),
    ("round_trip", "median_us"),
    ("throughput", "submit_per_s"),
    ("submit_cost", "module_mean_us"),
    ("per_call", "round_trip_ms"),
    ("chain", "link_us"),
    ("arrays", "mib64_ms"),
    ("emcee_page", "total_s"),
    ("pending", "bytes_per_call"),
)


def number(value):
    """Three significant digits, thousands separated."""
    if value is None:
        return "–"
    if value == 0 or math.isinf(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def _rows(headings, lines):
    yield "| " + " | ".join(headings) + " |"
    yield "| --- |" + " ---: |" * (len(headings) - 1)
    for line in lines:
        yield "| " + " | ".join(line) + " |"


def _bar_lines(results):
    for bar in BARS:
        value = bar.measure(results)
        required = "–" if math.isinf(bar.limit) else f"{bar.relation} {number(bar.limit)}"
        verdict = "–" if math.isinf(bar.limit) else "yes" if value is not None and bar.met(value) else "no"
        yield bar.text, required, number(value), "not measured" if value is None else verdict, bar.strive


def _peer_columns(results, names):
    present = {peer for name in names for peer in results.peers(name)}
    return [peer for peer in PEERS.values() if peer.name in present]


def _figure_lines(results, names, columns):
    for name in names:
        module = measure.load(name)
        if not results.peers(name):
            continue
        yield (f"**{module.TITLE}**", *("" for _ in columns))
        for metric, heading in module.METRICS.items():
            values = [results.value(name, peer.name, metric) for peer in columns]
            if any(value is not None for value in values):
                yield (heading, *map(number, values))


def _failure_lines(results, names):
    """One line per peer and reason."""
    measurements = {}
    for name in names:
        for peer in results.peers(name):
            column = results.column(name, peer)
            if column.error:
                measurements.setdefault((PEERS[peer].label, column.error), []).append(name)
    for (label, error), failed in measurements.items():
        yield f"- {label}: {error} ({', '.join(failed)})"


def markdown(results, machine):
    """The whole report as Markdown."""
    names = [name for name in measure.NAMES if results.peers(name)]
    columns = _peer_columns(results, names)
    lines = ["# Benchmarks", "", ", ".join(f"{key}: {value}" for key, value in machine.items()), ""]
    lines += ["## Bars", "", *_rows(("what", "bar", "measured", "met", "strive for"), _bar_lines(results)), ""]
    headings = ("medians over the rounds", *(peer.label for peer in columns))
    lines += ["## Figures", "", *_rows(headings, _figure_lines(results, names, columns)), ""]
    failures = list(_failure_lines(results, names))
    if failures:
        lines += ["## Not measured", "", *failures, ""]
    return "\n".join(lines)


def plot(results, path):
    """Draw the main figures as bars beside each other; returns False where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    colours = dict(zip(PEERS, pyplot.get_cmap("tab10").colors))
    figure, axes = pyplot.subplots(3, 3, figsize=(15, 9), constrained_layout=True)
    for axis, (name, metric) in zip(axes.flat, PANELS):
        module = measure.load(name)
        axis.set_title(f"{module.TITLE}\n{module.METRICS[metric]}", fontsize=9)
        values = {peer: results.value(name, peer, metric) for peer in reversed(PEERS)}
        shown = {peer: value for peer, value in values.items() if value is not None and value > 0}
        if not shown:
            axis.set_axis_off()
            continue
        labels = [PEERS[peer].label for peer in shown]
        bars = axis.barh(labels, list(shown.values()), color=[colours[peer] for peer in shown])
        axis.bar_label(bars, [number(value) for value in shown.values()], padding=3, fontsize=8)
        if max(shown.values()) > WIDE * min(shown.values()):
            axis.set_xscale("log")
        axis.margins(x=0.2)
        axis.tick_params(labelsize=8)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return True


def write(results, machine, folder):
    """Write latest.json, latest.md and latest.png into `folder`; returns the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    text = markdown(results, machine)
    bars = [
        {
            "text": bar.text,
            "relation": bar.relation,
            "limit": None if math.isinf(bar.limit) else bar.limit,
            "measured": (value := bar.measure(results)),
            "met": None if value is None or math.isinf(bar.limit) else bar.met(value),
        }
        for bar in BARS
    ]
    document = {"machine": machine, "bars": bars, "measurements": results.to_dict()}
    (folder / "latest.json").write_text(json.dumps(document, indent=1) + "\n")
    (folder / "latest.md").write_text(text)
    plot(results, folder / "latest.png")
    return text
