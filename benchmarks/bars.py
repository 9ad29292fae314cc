"""What executorlib has to reach, as figures: each bar takes the results and gives the number it compares."""

from collections.abc import Callable
from dataclasses import dataclass

OURS = "ours"


@dataclass(frozen=True)
class Bar:
    """One requirement.

    Parameters
    ----------
    text : str
        What is compared.
    measure : callable
        Results -> number, or None when something needed was not measured.
    relation : str
        "≤" or "≥".
    limit : float
        The bar.
    strive : str
        What would be better still, as text.
    """

    text: str
    measure: Callable
    relation: str
    limit: float
    strive: str = ""

    def met(self, value):
        return value <= self.limit if self.relation == "≤" else value >= self.limit


def _value(measurement, metric):
    return lambda results: results.value(measurement, OURS, metric)


def _ratio(measurement, metric, other):
    """Ours over another peer."""
    return lambda results: results.ratio(measurement, metric, OURS, other)


def _round_trip_to_apart(results):
    """The limit's two processes share a core where the kernel likes it; between two cores it is higher."""
    ours = results.value("round_trip", OURS, "median_us")
    apart = results.value("round_trip", "limit", "apart_us")
    return ours / apart if ours and apart else None


def _gain(measurement, metric, other):
    """Another peer over ours: how many times less."""
    return lambda results: results.ratio(measurement, metric, other, OURS)


BARS = (
    Bar("round trip / limit", _ratio("round_trip", "median_us", "limit"), "≤", 1.6, "1.1"),
    Bar("round trip / limit between two cores", _round_trip_to_apart, "≤", float("inf")),
    Bar("throughput / limit", _ratio("throughput", "submit_per_s", "limit"), "≥", 0.2, "0.5"),
    Bar("throughput / ProcessPoolExecutor", _ratio("throughput", "submit_per_s", "process"), "≥", 10, "30"),
    Bar("submit / ProcessPoolExecutor, 1,000 in a row", _ratio("submit_cost", "module_mean_us", "process"), "≤", 0.25),
    Bar("submit / ProcessPoolExecutor, single call", _ratio("submit_cost", "module_us", "process"), "≤", float("inf")),
    Bar(
        "submit, module function, 1,000 in a row [µs]", _value("submit_cost", "module_mean_us"), "≤", float("inf"), "5"
    ),
    Bar("submit, lambda / cloudpickle.dumps", _value("submit_cost", "lambda_ratio"), "≤", 1.3),
    Bar("submit, __main__ function / cloudpickle.dumps", _value("submit_cost", "main_ratio"), "≤", 1.3),
    Bar("submit, 500,000 floats / cloudpickle.dumps", _value("submit_cost", "floats_ratio"), "≤", 1.1),
    Bar("one process per call, round trip / bare fork", _ratio("per_call", "round_trip_ms", "limit"), "≤", 2.5, "1.2"),
    Bar("one process per call, reference / ours", _gain("per_call", "round_trip_ms", "reference"), "≥", 100),
    Bar("one process per call [calls/s]", _value("per_call", "rate_per_s"), "≥", 500, "1,000"),
    Bar("2 MPI ranks, one group per call / bare mpiexec", _ratio("mpi", "per_call_ms", "limit"), "≤", 1.3, "0.5"),
    Bar("2 MPI ranks, persistent group / reference", _ratio("mpi", "round_trip_ms", "reference"), "≤", 0.1),
    Bar("cached hit among 1,000 files, reference / ours", _gain("cache", "hit_1000_ms", "reference"), "≥", 15),
    Bar("cached hit among 4,000 files, reference / ours", _gain("cache", "hit_4000_ms", "reference"), "≥", 40),
    Bar("cached hit among 100,000 files / among 100", _value("cache", "flat"), "≤", 1.3, "1"),
    Bar("first computation with a cache / reference", _ratio("cache", "first_ms", "reference"), "≤", 0.25),
    Bar("256 MiB kept and on the disk / plain write", _ratio("cache", "large_s", "limit"), "≤", 1.25, "1"),
    Bar("emcee / multiprocessing.Pool(2)", _ratio("emcee_page", "total_s", "pool"), "≤", 0.6, "0.25"),
    Bar("emcee, reference / ours", _gain("emcee_page", "total_s", "reference"), "≥", 15),
    Bar("constructor to first result / ProcessPoolExecutor", _ratio("start", "persistent_ms", "process"), "≤", 3),
    Bar("constructor to first result [ms]", _value("start", "persistent_ms"), "≤", float("inf"), "60"),
    Bar("chain, per link / round trip", _value("chain", "ratio"), "≤", 1.0, "0.5"),
    Bar("64 MiB array, ProcessPoolExecutor / ours", _gain("arrays", "mib64_ms", "process"), "≥", 7, "memcpy"),
    Bar("`a += 1` works at every size", _value("arrays", "writable"), "≥", 1),
    Bar("10,000 pending calls on 64 MiB, growth [MiB]", _value("pending_array", "growth_mib"), "≤", 200),
    Bar("10,000 pending calls reached", _value("pending_array", "calls"), "≥", 10_000),
    Bar("held results of 2 MiB work at 1,024 files", _value("held_results", "works"), "≥", 1),
    Bar("submit, result, drop: growth [KiB]", _value("churn", "growth_kib"), "≤", 1024, "0"),
    Bar("one process per call, NumPy, warm [ms]", _value("numpy_call", "module_ms"), "≤", 20, "3"),
    Bar("memory per pending call [B]", _value("pending", "bytes_per_call"), "≤", 1024, "400"),
    Bar("submit rate, last / first 10 % of pending", _value("pending", "rate_ratio"), "≥", 0.8, "1"),
    Bar("1,000 nodes of 128 cores, in the engine [calls/s]", _value("scheduler", "engine_per_s"), "≥", 100_000),
    Bar("cost of a call, 1,000 nodes / 10 with as many cores", _value("scheduler", "engine_flat"), "≤", 2, "1"),
    Bar("1,000 nodes, submitted from Python [calls/s]", _value("scheduler", "submit_1000_per_s"), "≥", 30_000),
    Bar("idle: wake-ups", _value("idle", "wakeups"), "≤", 0),
    Bar("1,000 no-ops beside a 10 s call, behind it [s]", _value("long_call", "first_s"), "≤", 1),
    Bar("1,000 no-ops beside a 10 s call, around it [s]", _value("long_call", "middle_s"), "≤", 1),
)
