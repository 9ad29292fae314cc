"""The tree of exceptions, and what they say."""

import concurrent.futures
import pickle
import signal
import traceback

import pytest

from executorlib import _errors, api


@pytest.mark.parametrize(
    ("error", "bases"),
    [
        (api.ExecutorlibSocketError, [RuntimeError]),
        (api.WorkerLostError, [api.ExecutorlibSocketError]),
        (api.StartError, [api.ExecutorlibSocketError]),
        (api.TerminatedError, [api.ExecutorlibSocketError]),
        (api.CallTerminatedError, [api.TerminatedError]),
        (api.RunTimeExceededError, [TimeoutError]),
        (api.EngineError, [api.ExecutorlibSocketError, concurrent.futures.BrokenExecutor]),
        (api.ResourceError, [ValueError, TypeError]),
        (api.RemoteTraceback, [Exception]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bases(error, bases):
    assert all(issubclass(error, base) for base in bases)


KILLED = {
    "pid": 12,
    "host": "node7",
    "signal": int(signal.SIGKILL),
    "status": None,
    "stderr": "first\nlast words\n",
    "where": "while calling the function",
    "restarts": 2,
}


def test_a_killed_worker():
    error = _errors.error_for("worker_lost", KILLED)
    assert type(error) is api.WorkerLostError
    assert {key: getattr(error, key) for key in KILLED} == KILLED
    for part in ("12", "node7", "9 (SIGKILL)", "while calling the function", "2 restart", "last words"):
        assert part in str(error)


def test_a_worker_that_left():
    error = _errors.error_for("worker_lost", {"pid": 12, "host": "node7", "signal": None, "status": 3, "stderr": ""})
    assert (error.signal, error.status) == (None, 3)
    assert "exited with status 3" in str(error)
    assert "standard error" not in str(error)


def test_a_signal_without_a_name():
    assert "signal 99" in str(_errors.error_for("worker_lost", {"signal": 99}))


def test_a_worker_that_did_not_start():
    error = _errors.error_for("start_failed", {"reason": "exec failed", "stderr": "no such file", "more": 1})
    assert type(error) is api.StartError
    assert (error.reason, error.stderr) == ("exec failed", "no such file")
    assert "exec failed" in str(error)
    assert "no such file" in str(error)


def test_the_reason_is_told():
    error = _errors.error_for("broken", {"reason": "out of descriptors"})
    assert type(error) is api.EngineError
    assert "out of descriptors" in str(error)


ENDED = {"pid": 12, "host": "node7", "stderr": "first\nlast words\n"}


def test_a_terminated_call():
    error = _errors.error_for("terminated", {**KILLED, **ENDED})
    assert type(error) is api.CallTerminatedError
    assert {key: getattr(error, key) for key in ENDED} == ENDED
    for part in ("12", "node7", "last words"):
        assert part in str(error)


def test_a_call_that_ran_too_long():
    error = _errors.error_for("time_limit", {**KILLED, **ENDED, "seconds": 1.5})
    assert type(error) is api.RunTimeExceededError
    assert (error.seconds, error.errno) == (1.5, None)
    assert {key: getattr(error, key) for key in ENDED} == ENDED
    for part in ("12", "node7", "run_time_max=1.5 s", "last words"):
        assert part in str(error)


def test_a_lost_job():
    info = {"job_id": "12_3", "reason": "OUT_OF_MEMORY", "host": "n1", "status": 125, "log": "/l", "stderr": "oom\n"}
    error = pickle.loads(pickle.dumps(_errors.error_for("job_lost", info)))
    assert (type(error), error.job_id, error.reason, error.log) == (api.JobLostError, "12_3", "OUT_OF_MEMORY", "/l")
    for part in ("12_3", "n1", "125", "memory_max", "oom"):
        assert part in str(error)
    late = pickle.loads(pickle.dumps(_errors.error_for("job_lost", {**info, "reason": "TIMEOUT", "seconds": 60})))
    assert isinstance(late, (api.WorkerLostError, api.RunTimeExceededError))
    assert (type(late), late.seconds, late.host) == (api.JobTimeoutError, 60, "n1")
    assert "run_time_max" in str(late)


@pytest.mark.parametrize("kind", ["worker_lost", "job_lost", "start_failed", "terminated", "time_limit", "broken"])
def test_nothing_has_to_be_known(kind):
    assert str(_errors.error_for(kind, {}))


def test_errors_survive_pickling():
    error = pickle.loads(pickle.dumps(_errors.error_for("worker_lost", KILLED)))
    assert type(error) is api.WorkerLostError
    assert {key: getattr(error, key) for key in KILLED} == KILLED
    assert "node7" in str(error)
    error = pickle.loads(pickle.dumps(_errors.error_for("time_limit", {**ENDED, "seconds": 2})))
    assert (type(error), error.seconds, error.pid) == (api.RunTimeExceededError, 2, 12)
    assert "run_time_max=2 s" in str(error)


def test_the_cause_is_the_remote_traceback():
    error = KeyError("x")
    _errors.set_remote_cause(error, "Traceback (most recent call last):\n  somewhere else\nKeyError: 'x'\n")
    assert isinstance(error.__cause__, api.RemoteTraceback)
    assert "somewhere else" in "".join(traceback.format_exception(error))


def test_a_killed_worker_may_have_been_out_of_memory():
    killed = _errors.error_for("worker_lost", {"pid": 12, "host": "node7", "signal": 9})
    assert "memory" in str(killed)
    assert "memory" not in str(_errors.error_for("worker_lost", {"pid": 12, "host": "node7", "signal": 11}))
