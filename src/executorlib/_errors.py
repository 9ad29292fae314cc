"""The exceptions of this package.

    RuntimeError
     └── ExecutorlibSocketError        a call ended without an answer from its function
          ├── WorkerLostError          its worker process died
      │    └── JobLostError             with its batch job, for the scheduler's reason
      │         └── JobTimeoutError         which was the time limit (also a RunTimeExceededError)
          ├── StartError               no worker process could be started for it
          ├── TerminatedError          it was ended from outside
          │    └── CallTerminatedError      by terminate()
          └── EngineError              the engine itself failed (also a BrokenExecutor)
    ValueError, TypeError
     └── ResourceError                 a resource request that is wrong in value or in kind
    OSError
     └── CacheFileError                a result file that is damaged, or no result file
    TimeoutError
     └── RunTimeExceededError          a call ran longer than its run_time_max
    Exception
     └── RemoteTraceback               the worker's traceback, as the cause of a function's exception

`error_for` and `set_remote_cause` are what the extension calls to make them.
"""

from __future__ import annotations

from concurrent.futures import BrokenExecutor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ExecutorlibSocketError(RuntimeError):
    """A call ended without an answer from its function."""

    __module__ = "executorlib.api"


class WorkerLostError(ExecutorlibSocketError):
    """The worker process of a call died before it answered.

    Attributes:
        pid (int | None): process id of the worker.
        host (str | None): name of the host it ran on.
        signal (int | None): the signal that killed it, None if it exited.
        status (int | None): its exit status, None if a signal killed it.
        stderr (str): the last lines it wrote to its standard error.
        where (str): what it was doing.
        restarts (int): how often the call had been given a new worker before.
    """

    __module__ = "executorlib.api"

    def __init__(
        self,
        message: str = "the worker was lost",
        *,
        pid: int | None = None,
        host: str | None = None,
        signal: int | None = None,
        status: int | None = None,
        stderr: str = "",
        where: str = "",
        restarts: int = 0,
    ) -> None:
        super().__init__(message)
        self.pid = pid
        self.host = host
        self.signal = signal
        self.status = status
        self.stderr = stderr
        self.where = where
        self.restarts = restarts


class StartError(ExecutorlibSocketError):
    """No worker process could be started.

    Attributes:
        reason (str): what went wrong.
        stderr (str): what the process that failed to start wrote to its standard error.
    """

    __module__ = "executorlib.api"

    def __init__(self, message: str = "no worker could be started", *, reason: str = "", stderr: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.stderr = stderr


class TerminatedError(ExecutorlibSocketError):
    """A call was ended from outside before it could finish."""

    __module__ = "executorlib.api"


class _EndedCall(Exception):
    """What is known about the process of a call that was ended."""

    def __init__(self, message: str, *, pid: int | None = None, host: str | None = None, stderr: str = "") -> None:
        super().__init__(message)
        self.pid = pid
        self.host = host
        self.stderr = stderr


class CallTerminatedError(_EndedCall, TerminatedError):
    """A call that ran, or one that it takes as argument, was ended by `terminate()`.

    Attributes:
        pid (int | None): process id of its worker.
        host (str | None): name of the host it ran on.
        stderr (str): the last lines it wrote to its standard error.
    """

    __module__ = "executorlib.api"

    def __init__(self, message: str = "the call was terminated", **process: Any) -> None:
        super().__init__(message, **process)


class RunTimeExceededError(_EndedCall, TimeoutError):
    """A call, or one that it takes as argument, ran longer than its `run_time_max` and was ended.

    Attributes:
        seconds (float | None): the limit.
        pid (int | None): process id of its worker.
        host (str | None): name of the host it ran on.
        stderr (str): the last lines it wrote to its standard error.
    """

    __module__ = "executorlib.api"

    def __init__(self, message: str = "the call ran too long", *, seconds: float | None = None, **process: Any) -> None:
        super().__init__(message, **process)
        self.seconds = seconds


class JobLostError(WorkerLostError):
    """The batch job of a call ended without a result.

    Beside these it has the attributes of `WorkerLostError`; `host` is the node, or the nodes.

    Attributes:
        job_id (str): the scheduler's number of the job; "12_3" is task 3 of the array 12.
        reason (str): the state in which the scheduler says it ended, such as "OUT_OF_MEMORY", "NODE_FAIL",
            "PREEMPTED", "CANCELLED" or "FAILED".
        log (str | None): path of the job's log, whose end is in `stderr`.
    """

    __module__ = "executorlib.api"

    def __init__(
        self,
        message: str = "the batch job was lost",
        *,
        job_id: str = "",
        reason: str = "",
        log: str | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(message, **fields)
        self.job_id = job_id
        self.reason = reason
        self.log = log


class JobTimeoutError(JobLostError, RunTimeExceededError):
    """The batch job of a call reached its time limit and was ended by the scheduler.

    Attributes:
        seconds (float | None): the call's `run_time_max`, None if it had the limit of its partition.
    """

    __module__ = "executorlib.api"

    def __init__(
        self, message: str = "the batch job ran too long", *, seconds: float | None = None, **fields: Any
    ) -> None:
        JobLostError.__init__(self, message, **fields)
        self.seconds = seconds


class EngineError(ExecutorlibSocketError, BrokenExecutor):
    """The engine that runs the calls failed; the executor accepts no more of them."""

    __module__ = "executorlib.api"


class ResourceError(ValueError, TypeError):
    """A resource request cannot be understood or cannot be met."""

    __module__ = "executorlib.api"


class CacheFileError(OSError):
    """A file of a cache cannot be read: it is cut short, damaged, empty, or no result file at all.

    Attributes:
        filename (str): the file.
        strerror (str): what is wrong with it.
    """

    __module__ = "executorlib.api"


class RemoteTraceback(Exception):
    """The traceback of an exception where it was raised: in the worker."""

    __module__ = "executorlib.api"

    def __str__(self) -> str:
        return "\n" + "".join(self.args)


def set_remote_cause(exception: BaseException, traceback: str) -> None:
    """Make the worker's traceback the cause of `exception`, as it arrived in this process."""
    if traceback:
        exception.__cause__ = RemoteTraceback(traceback)


def error_for(kind: str, info: dict[str, Any]) -> BaseException:
    """The exception for a call that ended without an answer.

    Parameters:
        kind: "worker_lost", "job_lost", "start_failed", "terminated", "time_limit" or "broken".
        info: what is known about it; every key is optional.
    """
    return _MAKERS[kind](info)


_SIGKILL = 9


def _worker_lost(info: dict[str, Any]) -> BaseException:
    fields = {key: value for key, value in info.items() if key in _WORKER_FIELDS}
    # Without a process: a node is gone, or there was none.
    pid, host = info.get("pid") or None, info.get("host") or None
    subject = f"worker process {pid} on {host}" if pid else f"node {host}" if host else "the call"
    fields |= {"pid": pid, "host": host}
    message = f"{subject} {_fate(info)}"
    if info.get("where"):
        message += f" {info['where']}"
    if info.get("signal") == _SIGKILL and not info.get("reason"):
        message += "; when memory runs out, the kernel ends the largest process so: dmesg tells"
    if info.get("restarts"):
        message += f", after {info['restarts']} restart(s) of the call"
    return WorkerLostError(message + _tail(info), **fields)


def _job_lost(info: dict[str, Any]) -> BaseException:
    reason = info.get("reason", "UNKNOWN")
    message = f"job {info.get('job_id')} on {info.get('host') or 'no node yet'} ended as {reason}"
    message += f" ({info['note']})" if info.get("note") else ""
    if info.get("signal"):
        message += f", by signal {_signal_name(info['signal'])}"
    elif info.get("status"):
        message += f", with exit status {info['status']}"
    message += f" {info['where']}" if info.get("where") else ""
    message += _ADVICE.get(reason, "")
    message += f"; its log is {info['log']}" if info.get("log") else ""
    fields = {key: info[key] for key in (*_WORKER_FIELDS, "job_id", "reason", "log") if key in info}
    if reason == "TIMEOUT":
        return JobTimeoutError(message + _tail(info), seconds=info.get("seconds"), **fields)
    return JobLostError(message + _tail(info), **fields)


# What a user can do about the end of a job.
_ADVICE = {
    "TIMEOUT": "; run_time_max in its resource_dict asks for more time",
    "OUT_OF_MEMORY": '; memory_max (GB), or slurm_cmd_args=["--mem=…"], in its resource_dict asks for more memory',
    "NODE_FAIL": "; submitted again, it starts on another node",
    "PREEMPTED": "; a job of higher priority took its place; submitted again, it waits for another",
    "CANCELLED": "; somebody has cancelled it",
}


def _start_failed(info: dict[str, Any]) -> BaseException:
    reason = info.get("reason", "")
    message = f"no worker could be started: {reason}" if reason else "no worker could be started"
    return StartError(message + _tail(info), reason=reason, stderr=info.get("stderr", ""))


def _terminated(info: dict[str, Any]) -> BaseException:
    message = f"the call in process {info['pid']} on {info.get('host')} was terminated" if info.get("pid") else ""
    fields = {key: info[key] for key in ("pid", "host", "stderr") if key in info}
    return CallTerminatedError((message or "the call was terminated") + _tail(info), **fields)


def _time_limit(info: dict[str, Any]) -> BaseException:
    message = f"the call in process {info.get('pid')} on {info.get('host')} ran longer than"
    message += f" run_time_max={info.get('seconds', 0):g} s and was ended"
    fields = {key: info[key] for key in ("seconds", "pid", "host", "stderr") if key in info}
    return RunTimeExceededError(message + _tail(info), **fields)


def _broken(info: dict[str, Any]) -> BaseException:
    return EngineError(f"the engine of the executor failed: {info.get('reason') or 'unknown reason'}")


_WORKER_FIELDS = frozenset({"pid", "host", "signal", "status", "stderr", "where", "restarts"})
_MAKERS = {
    "worker_lost": _worker_lost,
    "job_lost": _job_lost,
    "start_failed": _start_failed,
    "terminated": _terminated,
    "time_limit": _time_limit,
    "broken": _broken,
}


def _fate(info: dict[str, Any]) -> str:
    reason = info.get("reason")
    if info.get("signal"):
        fate = f"was killed by signal {_signal_name(info['signal'])}"
    elif info.get("status") is not None:
        fate = f"exited with status {info['status']}"
    else:
        return f"was lost: {reason}" if reason else "was lost"
    return f"{fate} ({reason})" if reason else fate


def _signal_name(number: int) -> str:
    from signal import Signals

    try:
        return f"{number} ({Signals(number).name})"
    except ValueError:
        return str(number)


def _tail(info: dict[str, Any]) -> str:
    stderr = (info.get("stderr") or "").rstrip()
    return f"; its standard error ended with:\n{stderr}" if stderr else ""
