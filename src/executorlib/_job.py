"""One detached job: a process that takes a call from its input file, computes it, and writes its output file.

    python _job.py [--queued] <input file>         what a queue runs

    <base>_i.h5  the call             <base>_o.h5  result or error            <base>/  claims, logs, `failure`

Who may compute is decided by claims (src/core/batch/job.h). What the function raised is its outcome and is kept in the
output file. What went wrong around it is not: that goes to the file `failure`, for the driver that waits, and the call
can be submitted again.

Loaded from its file, without the package: importing that takes longer than the interpreter.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

INPUT, OUTPUT = "_i.h5", "_o.h5"
LOGS = "out.log", "err.log"
FAILURE = "failure"
# Which job of a scheduler has the call (_job_record.py); and what its script leaves, beside the output file that is
# watched for, if it ends without a result.
RECORD, ENDED = ".job", ".ended"

# Exit statuses, in the sense of sysexits.h: it failed, and says why in `failure`; another job has the claim.
FAILED = 74
CLAIMED = 75

# What makes a call run inside an executor of its job, which starts ranks, keeps time, and assigns devices.
_NEED_EXECUTOR = ("cores", "run_time_max", "gpus_per_core", "pin")
# The scheduler of a batch job keeps the time, and has chosen the devices.
_NEED_EXECUTOR_IN_QUEUE = ("cores", "pin")
_FOR_EXECUTOR = (*_NEED_EXECUTOR, "threads_per_core", "terminate_grace", "openmpi_oversubscribe")

_CALL = ("function", "input_args", "input_kwargs", "resource_dict", "error_log_file", "setup")
_ITEM = ("executorlib.task_scheduler.file.shared", "FutureItem")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_PATIENCE = 60.0  # seconds for a network file system to show what another machine has written


def command(input_file: str, queued: bool = False) -> "list[str]":
    """What starts the job of this input file, with the interpreter and the flags of this process.

    Parameters:
        input_file: of the call.
        queued: whether it is a job of a scheduler, which keeps its time and has chosen its devices.
    """
    from executorlib._environment import interpreter

    options = ["--queued"] if queued else []
    return [*interpreter(), os.path.abspath(__file__), *options, input_file]


# ---- results in files ----


def read_output(path: str, patience: float = 0.0) -> "dict[str, bytes]":
    """The fields "output" or "error" (and "traceback") of an output file.

    Raises:
        FileNotFoundError: if it is not there within `patience` seconds, or holds neither.
        CacheFileError: if it is torn, or no result file.
    """
    from time import monotonic, sleep

    deadline = monotonic() + patience
    pause = 0.01
    while True:
        try:
            fields = _extension("_store").read(path, ["output", "error", "traceback"])
        except FileNotFoundError:
            fields = {}
        if "output" in fields or "error" in fields:
            return fields
        if monotonic() >= deadline:
            raise FileNotFoundError(2, "no result in this file", path)
        sleep(min(pause, max(0.0, deadline - monotonic())))
        pause = min(2 * pause, 1.0)


def load_output(fields: "dict[str, bytes]") -> "Any":
    """The result; raises the error that is there instead."""
    from _pickle import loads

    if "output" in fields:
        return loads(fields["output"])
    error = loads(fields["error"])
    if not isinstance(error, BaseException):
        error = RuntimeError(f"the call failed with what is no exception: {error!r}")
    if "traceback" in fields:
        from executorlib._errors import set_remote_cause

        set_remote_cause(error, loads(fields["traceback"]))
    raise error


def load_result(path: str, selector: "int | str | None", patience: float) -> "Any":
    """What an output file holds, or one item of it; None stays None."""
    value = load_output(read_output(path, patience))
    return value if selector is None or value is None else value[selector]


class _Item:
    """A reference to a result, unpickled without its package; a nested one becomes the result at once."""

    def __new__(cls, file_name=None, selector=None):
        return object.__new__(cls) if file_name is None else _argument(file_name, selector)

    def result(self):
        state = vars(self)
        return _argument(state["_file_name"], state["_selector"])


def _argument(path: str, selector: "int | str | None") -> "Any":
    """The result of another call; its failure is not the outcome of this one."""
    try:
        return load_result(path, selector, _PATIENCE)
    except Exception as failure:
        raise _NotTheFunction from failure


def _load_call(data: bytes) -> "Any":
    from _pickle import Unpickler
    from io import BytesIO

    class Loader(Unpickler):
        def find_class(self, module, name):
            return _Item if (module, name) == _ITEM else super().find_class(module, name)

    return Loader(BytesIO(data)).load()


def _resolved(value: "Any") -> "Any":
    return value.result() if isinstance(value, _Item) else value


# ---- the job ----


class _NotTheFunction(Exception):
    """Wraps what went wrong around the function."""


def run(input_file: str, queued: bool = False) -> int:
    """Compute the call unless another job does or has done; returns the exit status."""
    base = os.path.abspath(input_file)[: -len(INPUT)]
    if os.path.exists(base + OUTPUT):
        remove(base + INPUT)
        return 0
    core = _extension("_core")
    generation = core.take_claim(base)
    if generation is None:
        return CLAIMED
    status = 0
    try:
        # It may have been written, and its claims removed, between the look above and our claim.
        if not os.path.exists(base + OUTPUT):
            _compute(base, queued)
        remove(base + INPUT)
        remove(base + RECORD)
    except BaseException as failure:
        status = FAILED
        _report(base, (isinstance(failure, _NotTheFunction) and failure.__cause__) or failure)
    core._finish()
    remove_empty_logs(base)
    core.release_claim(base, generation)
    return status


def _compute(base: str, queued: bool) -> None:
    from _pickle import dumps
    from time import time

    store = _extension("_store")
    began = time()
    queue_id = _queue_id()
    fields = store.read(base + INPUT, list(_CALL))
    outcome = _outcome(base, fields, queued)
    fields.pop("setup", None)
    times = {"runtime": dumps(time() - began), "queue_id": dumps(queue_id)}
    store.write(base + OUTPUT, {**fields, **outcome, **times})


def _queue_id() -> int:
    environ = os.environ
    if "FLUX_JOB_ID" in environ:  # there may be a Slurm job around its instance
        return job_number(environ["FLUX_JOB_ID"])
    return int(environ.get("SLURM_JOB_ID") or os.getpid())


def job_number(text: str) -> int:
    """A job id of Flux, in base 58 (RFC 19) or decimal, as a number.

    Example:
        >>> job_number("ƒ2ZSz"), job_number("17")
        (304267, 17)
    """
    text = text.strip()
    if not text.startswith(("ƒ", "f")):
        return int(text)
    number = 0
    for character in text[1:]:
        number = 58 * number + _BASE58.index(character)
    return number


def _outcome(base: str, fields: "dict[str, bytes]", queued: bool) -> "dict[str, bytes]":
    from _pickle import dumps, loads

    worker = _extension("_worker")
    worker.apply_setup(loads(fields["setup"]) if "setup" in fields else {})
    resources = loads(fields["resource_dict"]) if "resource_dict" in fields else {}
    log = loads(fields["error_log_file"]) if "error_log_file" in fields else None
    if queued and "FLUX_JOB_ID" in os.environ:
        _extension("_flux_nest").open_here(resources.get("cores", 1) * resources.get("threads_per_core", 1))
    worker.apply_setup({"cwd": _enter(resources.get("cwd") or os.path.dirname(base))})
    call = None
    try:
        call = _take_call(fields)
        result = _evaluate(call, resources, queued)
        try:
            return {"output": _dump(result)}
        except Exception as error:
            worker.explain_result(error, call[0], result)
            raise
    except _NotTheFunction:
        raise
    except BaseException as error:
        _forget_own_frames(error)
        text = worker.format_traceback(error)
        if log and call:
            worker.log_error(dumps({"error_log_file": log}), call, text)
        return {"error": _dump_error(error, text), "traceback": dumps(text)}


def _forget_own_frames(error: BaseException) -> None:
    """A traceback begins where the user's function does."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    error.__traceback__ = frames


def _enter(directory: str) -> str:
    os.makedirs(directory, exist_ok=True)
    os.chdir(directory)
    return os.getcwd()


def _take_call(fields: "dict[str, bytes]") -> tuple:
    from _pickle import loads

    args = _load_call(fields["input_args"]) if "input_args" in fields else ()
    kwargs = _load_call(fields["input_kwargs"]) if "input_kwargs" in fields else {}
    args = [_resolved(value) for value in args]
    kwargs = {name: _resolved(value) for name, value in kwargs.items()}
    return loads(fields["function"]), args, kwargs


def _evaluate(call: tuple, resources: dict, queued: bool) -> "Any":
    function, args, kwargs = call
    needs = _NEED_EXECUTOR_IN_QUEUE if queued else _NEED_EXECUTOR
    if resources.get("cores", 1) == 1 and not any(resources.get(key) for key in needs[1:]):
        return function(*args, **kwargs)
    from executorlib._errors import ExecutorlibSocketError, RunTimeExceededError
    from executorlib.executor.single import SingleNodeExecutor

    wanted = {key: resources[key] for key in _FOR_EXECUTOR if resources.get(key) is not None}
    if queued:
        wanted.pop("run_time_max", None)
    with SingleNodeExecutor(max_workers=1, resource_dict=wanted) as executor:
        if queued:  # the scheduler has counted the cores, by which it may mean more than there are
            executor._zygote.cores = wanted.get("cores", 1) * wanted.get("threads_per_core", 1)
        try:
            future = executor.submit(function, *args, **kwargs)
        except Exception as refused:
            raise _NotTheFunction from refused
        try:
            return future.result()
        except (ExecutorlibSocketError, RunTimeExceededError) as lost:
            raise _NotTheFunction from lost


def _dump(value: "Any") -> bytes:
    from _pickle import dumps

    try:
        dumped = dumps(value, 5)
        if b"__main__" not in dumped:
            return dumped
    except Exception:  # by value, then
        pass
    return _extension("_worker").load_own("_by_value").dumps(value)


def _dump_error(error: BaseException, text: str) -> bytes:
    """Pickled in a form that is known to unpickle."""
    worker = _extension("_worker")
    for attempt in (error, worker.Rebuilt(error), worker.Described(error)):
        if worker.dump_checked(attempt, type(error), text) is not None:
            return _dump(attempt)
    return _dump(RuntimeError(f"{type(error).__name__}: the exception could not be pickled"))


def _report(base: str, failure: "BaseException") -> None:
    """Tell the driver what went wrong around the function; where that cannot be written, the exit status is left."""
    text = _extension("_worker").format_traceback(failure)
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
        with open(os.path.join(base, FAILURE), "wb") as file:
            file.write(_dump_error(failure, text))
    except OSError:
        return


def take_failure(base: str) -> "BaseException | None":
    """What `_report` has left, which is removed; in the driver."""
    from _pickle import loads

    path = os.path.join(base, FAILURE)
    try:
        with open(path, "rb") as file:
            failure = loads(file.read())
    except Exception:  # not there, or cut off by a full disk
        return None
    finally:
        remove(path)
    return failure if isinstance(failure, BaseException) else None


def remove(path: str) -> None:
    try:  # noqa: SIM105 - contextlib would be one more import
        os.unlink(path)
    except OSError:
        pass


def remove_empty_logs(base: str) -> None:
    for log in LOGS:
        path = os.path.join(base, log)
        try:
            if os.path.getsize(path) == 0:
                os.unlink(path)
        except OSError:
            continue


# ---- without the package ----


def _extension(name: str) -> "Any":
    """A module of the package, as loaded by `_boot`, or imported where the package is."""
    module = sys.modules.get(f"executorlib.{name}")
    if module is None:
        from importlib import import_module

        module = import_module(f"executorlib.{name}")
    return module


def _boot() -> None:
    from _frozen_importlib import _load  # type: ignore[attr-defined]
    from _frozen_importlib_external import spec_from_file_location
    from _imp import extension_suffixes

    folder = os.path.dirname(os.path.abspath(__file__))
    if sys.path and os.path.abspath(sys.path[0]) == folder:
        del sys.path[0]  # it would offer the package's modules by their bare names
    modules = ["_core", "_store", "_worker"]
    if "FLUX_JOB_ID" in os.environ:
        modules.append("_flux_nest")
    for name in modules:
        for suffix in (*extension_suffixes(), ".py"):
            path = os.path.join(folder, name + suffix)
            if os.path.exists(path):
                _load(spec_from_file_location(f"executorlib.{name}", path))
                break


if __name__ == "__main__":
    _boot()
    sys.argv = sys.argv[1:]
    os._exit(run(sys.argv[-1], queued="--queued" in sys.argv[:-1]))
