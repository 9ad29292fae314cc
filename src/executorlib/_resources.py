"""What a call asks for: the resource dictionary, checked and turned into a request to the engine.

    user's dict  --check-->  new dict of known keys, right types, no None  --Request-->  what one call needs

The user's dictionary is only read.
"""

from __future__ import annotations

import os
from _pickle import dumps
from collections.abc import Mapping
from functools import cache
from operator import index

from executorlib._errors import ResourceError
from executorlib._warn import warn_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from executorlib._steps import Step


def check(resource_dict: Mapping[str, Any] | None) -> dict[str, Any]:
    """A new dictionary of the checked entries, without those that are None.

    Raises:
        ResourceError: for an unknown key, or a value of the wrong type or out of range.
    """
    if resource_dict is None:
        return {}
    if not isinstance(resource_dict, Mapping):
        raise ResourceError(f"resource_dict must be a dictionary, not {type(resource_dict).__name__}")
    checked = {}
    for key, value in resource_dict.items():
        convert = _CONVERTERS.get(key)
        if convert is None:
            raise ResourceError(f"unknown resource {key!r}{_meant(key)}; known are {', '.join(_CONVERTERS)}")
        if value is not None:
            checked[key] = convert(key, value)
    return checked


def is_known(key: str) -> bool:
    """Whether this key of a resource dictionary means something here, and not to a submission template only."""
    return key in _CONVERTERS


def check_open(resource_dict: Mapping[str, Any] | None) -> dict[str, Any]:
    """Like `check`, but keys that are unknown are kept, with a warning: a submission template may use them."""
    if not isinstance(resource_dict, Mapping):
        return check(resource_dict)
    unknown = {key: value for key, value in resource_dict.items() if key not in _CONVERTERS}
    if unknown:
        warn_user(f"unknown resources, which are not checked: {', '.join(f'{key}{_meant(key)}' for key in unknown)}")
    return check({key: value for key, value in resource_dict.items() if key not in unknown}) | unknown


def check_one_node(resources: dict[str, Any]) -> None:
    """Refuse what one node without a scheduler cannot give, now or ever."""
    if resources.get("slurm_cmd_args"):
        raise ResourceError("slurm_cmd_args needs Slurm; SingleNodeExecutor starts its workers without a scheduler")
    if "submission_template" in resources:
        raise ResourceError("submission_template needs one of the Cluster executors")
    if resources.get("num_nodes", 1) > 1:
        raise ResourceError(f"num_nodes={resources['num_nodes']}, but SingleNodeExecutor has one node")


def first_difference(requested: dict[str, Any], given: dict[str, Any]) -> str | None:
    """The first key for which a worker started with `given` does not have what is `requested`."""
    for key, value in requested.items():
        has = given.get(key, _DEFAULTS.get(key))
        if key == "cwd" and has is not None:
            value, has = os.path.abspath(value), os.path.abspath(has)
        if value != has and key not in _PER_CALL:
            return key
    return None


def check_limit(name: str, value: Any) -> int | None:
    """A limit such as `max_cores` as an integer, fractions dropped; None stays None."""
    if value is None:
        return None
    if isinstance(value, float) and value == value and abs(value) != float("inf"):
        value = int(value)
    return _count(name, value)


# What the engine counts with.
_LARGEST = 2**31 - 1
_LONGEST = (2**32 - 1) / 1e3  # seconds

# Cores of a call that runs alone.
_ALL_CORES = 2**32 - 1

# Seconds from SIGTERM to SIGKILL, unless the user says otherwise.
_GRACE = 0.3


class Request:
    """What one call needs, in the terms of the engine and of the worker.

    Attributes:
        cores (int): cores it occupies: ranks times threads.
        threads (int): threads of each rank.
        own_threads (bool): whether the user chose `threads`; then it beats thread variables in the environment.
        gpus (int): GPUs of all ranks, or shares of GPUs.
        gpu_share (int): thousandths of a GPU that each share is; 0 for whole GPUs.
        pin (bool): whether it gets processors of its own.
        cwd (str | None): absolute directory to run in, None for the driver's.
        ranks (int): MPI ranks that run the call; 1 is a plain process.
        oversubscribe (bool): whether there may be more ranks than cores.
        needs (tuple[int, ...]): for the engine: cores, ranks, GPUs, thousandths of each GPU that is shared (0 is whole
            GPUs; each share counts as a GPU), priority (higher starts first), time limit (0 is none) and grace time in
            milliseconds, whether it is pinned, nodes and cores on each of them where these are counted.
        options (bytes | None): what the worker does for this call only, pickled; None for nothing.
        cache (CacheRequest | None): where its result is kept, if it is.
        step (Step | None): how a scheduler starts it, if it is to.
    """

    __slots__ = (
        "cache", "cores", "cwd", "gpu_share", "gpus", "needs", "options", "oversubscribe", "own_threads", "pin",
        "ranks", "step", "threads",
    )  # fmt: skip

    def __init__(self, resources: dict[str, Any]) -> None:
        self.threads = resources.get("threads_per_core", 1)
        self.own_threads = "threads_per_core" in resources
        self.ranks = resources.get("cores", 1)
        self.oversubscribe = resources.get("openmpi_oversubscribe", False)
        self.cores = self.ranks * self.threads
        self.step: Step | None = None
        cwd = resources.get("cwd")
        self.cwd = None if cwd is None else os.path.abspath(cwd)
        gpus = resources.get("gpus_per_core", 0)
        # Each rank has the same: whole GPUs, or one share.
        self.gpus, self.gpu_share = (self.ranks, _share(gpus)) if isinstance(gpus, float) else (self.ranks * gpus, 0)
        self.pin = resources.get("pin", False)
        self.needs: tuple[int, ...] = (
            _ALL_CORES if resources.get("exclusive") else self.cores,
            self.ranks,
            self.gpus,
            self.gpu_share,
            resources.get("priority", 0),
            _milliseconds("run_time_max", resources.get("run_time_max", 0)),
            _milliseconds("terminate_grace", resources.get("terminate_grace", _GRACE)),
            int(self.pin),
        )
        options = {key: resources[key] for key in _OPTIONS if key in resources}
        self.options = dumps(options, 5) if options else None
        self.cache = CacheRequest(resources, options) if "cache_directory" in resources else None

    def become_step(self, step: Step, cores: int, node_cores: int) -> None:
        """A scheduler starts the call: it counts as so many cores, `node_cores` on each node, with GPUs from there."""
        self.step = step
        grace_ms = max(self.needs[6], step.ending_ms)
        self.needs = (cores, self.ranks, 0, 0, *self.needs[4:6], grace_ms, 0, step.nodes, node_cores)

    @property
    def limited(self) -> bool:
        """Whether the call has a time limit."""
        return bool(self.needs[5])


class CacheRequest:
    """Where the result of a call is kept, in terms of the driver.

    Attributes:
        directory (str): absolute path of the cache.
        key (str | None): the user's own name for it, None to make one.
        key_version (int): how one is made.
        resources (dict): what was asked for the call, apart from the cache.
        options (dict): what else the worker does for the call only.
    """

    __slots__ = ("directory", "key", "key_version", "options", "resources")

    def __init__(self, resources: dict[str, Any], options: dict[str, Any]) -> None:
        self.directory = os.path.abspath(resources["cache_directory"])
        self.key = resources.get("cache_key")
        self.key_version = resources.get("cache_key_version", 1)
        self.resources = {key: value for key, value in resources.items() if key not in _OF_CACHE}
        self.options = options


@cache
def _meant(key: Any) -> str:
    """What a misspelt key may stand for, as words for a message; nothing if there is none like it."""
    from difflib import get_close_matches

    return "".join(
        f" (did you mean {known!r}?)" for known in get_close_matches(str(key), _CONVERTERS, n=1, cutoff=0.75)
    )


def _milliseconds(key: str, seconds: float) -> int:
    if seconds > _LONGEST:
        raise ResourceError(f"{key} must be at most {_LONGEST} s, but is {seconds}")
    return int(-(-seconds * 1000 // 1))


def _integer(key: str, value: Any) -> int:
    try:
        number = index(value)
    except TypeError:
        raise ResourceError(f"{key} must be an integer, not {value!r}") from None
    if abs(number) > _LARGEST:
        raise ResourceError(f"{key} must be at most {_LARGEST}, but is {number}")
    return number


def _count(key: str, value: Any) -> int:
    count = _integer(key, value)
    if count < 1:
        raise ResourceError(f"{key} must be greater than 0, not {count}")
    return count


def _count_or_zero(key: str, value: Any) -> int:
    count = _integer(key, value)
    if count < 0:
        raise ResourceError(f"{key} must not be negative, but is {count}")
    return count


def _gpus(key: str, value: Any) -> int | float:
    if isinstance(value, float) and not value.is_integer():
        if 0 < value < 1:
            return value
        raise ResourceError(f"{key} must be an integer, or between 0 and 1 to share a GPU, not {value!r}")
    return _count_or_zero(key, int(value) if isinstance(value, float) else value)


def _share(part: float) -> int:
    """Thousandths, rounded down: three thirds make one GPU."""
    return max(1, int(part * 1000))


def _seconds(key: str, value: Any) -> int | float:
    seconds = _seconds_or_zero(key, value)
    if seconds == 0:
        raise ResourceError(f"{key} must be greater than 0 s, not {value!r}")
    return seconds


def _seconds_or_zero(key: str, value: Any) -> int | float:
    try:
        seconds = index(value) if hasattr(value, "__index__") else float(value)
    except (TypeError, ValueError):
        seconds = None
    if seconds is None or isinstance(value, (str, bytes)) or not 0 <= seconds < float("inf"):
        raise ResourceError(f"{key} must be a number of seconds, not {value!r}")
    return seconds


def _flag(key: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ResourceError(f"{key} must be True or False, not {value!r}")


def _text(key: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ResourceError(f"{key} must be a string, not {value!r}")


def _key_version(key: str, value: Any) -> int:
    version = _integer(key, value)
    if version not in (1, 2):
        raise ResourceError(f"{key} must be 1 or 2, not {version}")
    return version


def _path(key: str, value: Any) -> str:
    try:
        return os.fsdecode(value)
    except TypeError:
        raise ResourceError(f"{key} must be a path, not {value!r}") from None


def _texts(key: str, value: Any) -> list[str]:
    if isinstance(value, (list, tuple)):
        return [_text(f"each of {key}", item) for item in value]
    raise ResourceError(f"{key} must be a list of strings, not {value!r}")


_CONVERTERS: dict[str, Callable[[str, Any], Any]] = {
    "cores": _count,
    "threads_per_core": _count,
    "gpus_per_core": _gpus,
    "cwd": _path,
    "openmpi_oversubscribe": _flag,
    "cache_key": _text,
    "cache_key_version": _key_version,
    "cache_directory": _path,
    "num_nodes": _count,
    "exclusive": _flag,
    "error_log_file": _path,
    "stdout_file": _path,
    "stderr_file": _path,
    "run_time_max": _seconds,
    "terminate_grace": _seconds_or_zero,
    "priority": _integer,
    "pin": _flag,
    "slurm_cmd_args": _texts,
    "submission_template": _text,
}

# What a worker has when nothing was said.
_DEFAULTS = {
    "cores": 1,
    "threads_per_core": 1,
    "gpus_per_core": 0,
    "openmpi_oversubscribe": False,
    "num_nodes": 1,
    "exclusive": False,
    "pin": False,
    "slurm_cmd_args": [],
}

# What the file of a call says when nothing was said.
FILE_DEFAULTS = {
    "cores": 1,
    "threads_per_core": 1,
    "gpus_per_core": 0,
    "cwd": None,
    "openmpi_oversubscribe": False,
    "exclusive": False,
}

# What goes to the worker with the call.
_OPTIONS = ("error_log_file", "stdout_file", "stderr_file")

_OF_CACHE = frozenset({"cache_key", "cache_key_version", "cache_directory"})

# What a running worker can do anew for each call.
_PER_CALL = frozenset({*_OF_CACHE, "run_time_max", "terminate_grace", "priority", *_OPTIONS})
