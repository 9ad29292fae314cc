"""One module per measurement.

Each has TITLE, PEERS (names of peers it makes sense for), METRICS (key -> heading with unit), ROUNDS (quick, full),
TIMEOUT_S (per round) and `measure(peer, quick)`, a generator: everything before its first `yield` is preparation and
warm-up, each `yield` hands out one round as a dict of metrics, closing it shuts the executor down.
ALONE = True keeps other peers closed meanwhile; FRESH = True starts a new process for every round; ABANDON = True
kills the process in the end, where a shutdown would first work off what is still pending.
"""

import importlib

NAMES = (
    "start",
    "round_trip",
    "submit_cost",
    "throughput",
    "per_call",
    "mpi",
    "cache",
    "numpy_call",
    "chain",
    "fan_in",
    "arrays",
    "emcee_page",
    "long_call",
    "idle",
    "pending",
    "pending_array",
    "held_results",
    "churn",
    "scheduler",
)
POOLS = ("process", "thread", "loky", "dask", "reference", "ours")


def load(name):
    """The module of the measurement called `name`."""
    return importlib.import_module(f"benchmarks.measure.{name}")
