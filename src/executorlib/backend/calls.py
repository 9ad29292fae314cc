"""What a worker does with the dictionaries that its driver sends.

    {"fn": …, "args": …, "kwargs": …}                  call it            {"result": …} or {"error": …}
    {"init": True, "fn": …, "args": …, "kwargs": …}    call it, and keep  {"result": True} or {"error": …}
                                                       the dictionary that it returns as presets
    {"shutdown": True}                                 end                {"result": True}

A preset fills a parameter of its name that the driver has not given. "error_log_file" may name a file for tracebacks.
"""

from __future__ import annotations

import importlib.util
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: What an answer is to.
CALL, INIT, SHUTDOWN = "call", "init", "shutdown"
#: The entry under which an exception travels, pickled together with the text of its traceback.
RAISED = "executorlib.raised"
#: The entry under which the answers of several ranks travel, each pickled.
RANKS = "executorlib.ranks"

_DEFAULTS = {"host": "localhost", "worker_id": 0}
_FLAGS = {"zmqport": "--zmqport", "host": "--host", "worker_id": "--worker-id"}


def parse_arguments(argument_lst: list[str]) -> dict[str, Any]:
    """The settings of a worker from its command line.

    Parameters:
        argument_lst (list[str]): the command line.

    Returns:
        dict: "zmqport", if given, the number under which the driver waits; "host", "localhost" by default; "worker_id",
        0 by default. Those given are strings.

    Example:
        >>> parse_arguments(["--zmqport", "70000", "--worker-id", "3"])
        {'host': 'localhost', 'worker_id': '3', 'zmqport': '70000'}
    """
    given = {name: argument_lst[argument_lst.index(flag) + 1] for name, flag in _FLAGS.items() if flag in argument_lst}
    return {**_DEFAULTS, **given}


def call_funct(input_dict: dict[str, Any], funct: Callable | None = None, memory: dict[str, Any] | None = None) -> Any:
    """Call the function of a dictionary.

    Parameters:
        input_dict (dict): "fn", "args" and "kwargs".
        funct (Callable | None): called with the function and its arguments in the function's place.
        memory (dict | None): presets by name.

    Returns:
        Any: what the function returns.

    Example:
        >>> call_funct({"fn": divmod, "args": (7, 2), "kwargs": {}})
        (3, 1)
    """
    call = input_dict["fn"], tuple(input_dict["args"]), input_dict["kwargs"]
    function, args, kwargs = _worker().bind(call, memory or {})
    return function(*args, **kwargs) if funct is None else funct(function, *args, **kwargs)


class Session:
    """The calls of one worker: what the dictionaries ask for, with the presets that earlier ones have made.

    Parameters:
        worker_id (int): the preset "executorlib_worker_id".
    """

    def __init__(self, worker_id: int) -> None:
        self._presets: dict[str, Any] = {"executorlib_worker_id": worker_id}

    def answer(self, data: bytes | memoryview) -> tuple[str, bytes]:
        """Do what a pickled dictionary asks for.

        Returns:
            tuple[str, bytes]: CALL, INIT, SHUTDOWN or RAISED, and the pickled answer.
        """
        message = None
        try:
            message = loads(data)
            kind = _kind(message)
            result = self._perform(kind, message)
            try:
                return kind, dumps({"result": result})
            except Exception as error:
                _worker().explain_result(error, message["fn"], result)
                raise
        except BaseException as exception:  # also SystemExit: it is the call that ends, not the worker
            return RAISED, _dump_raised(exception, message)

    def _perform(self, kind: str, message: dict[str, Any]) -> Any:
        if kind == SHUTDOWN:
            return True
        result = call_funct(message, memory=self._presets)
        if kind == CALL:
            return result
        self._presets.update(result)
        return True


def joined(answers: list[tuple[str, bytes]]) -> bytes:
    """One answer for those of all ranks: the first exception, or the list of results.

    Parameters:
        answers (list[tuple[str, bytes]]): what `Session.answer()` has returned on each rank.
    """
    for kind, data in answers:
        if kind == RAISED:
            return data
    kind, data = answers[0]
    return dumps({RANKS: [data for _, data in answers]}) if kind == CALL and len(answers) > 1 else data


def dumps(value: Any) -> bytes:
    import cloudpickle

    return cloudpickle.dumps(value)


def loads(data: bytes | memoryview) -> Any:
    import cloudpickle

    return cloudpickle.loads(data)


def _kind(message: dict[str, Any]) -> str:
    if message.get("shutdown"):
        return SHUTDOWN
    missing = [key for key in ("fn", "args", "kwargs") if key not in message]
    if missing:
        raise ValueError(f"what a worker is sent needs {' and '.join(map(repr, missing))}, or 'shutdown'")
    return INIT if message.get("init") else CALL


def _dump_raised(exception: BaseException, message: Any) -> bytes:
    """The answer for a call that has raised, in a form that is known to unpickle; writes "error_log_file"."""
    call = options = None
    if isinstance(message, dict) and message.get("error_log_file") and "fn" in message:
        call = message["fn"], message.get("args"), message.get("kwargs")
        options = dumps({"error_log_file": os.fspath(message["error_log_file"])})
    return dumps({RAISED: _worker().dump_exception(exception, call, options)})


def import_from_cwd() -> None:
    """Let functions of modules in the working directory be imported."""
    cwd = os.path.abspath(".")
    if cwd not in sys.path:
        sys.path.insert(0, cwd)


def _worker() -> Any:
    """What workers of this package do around a call; loaded from its file where there is no package."""
    name = "_executorlib_worker"
    if name not in sys.modules:
        path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "_worker.py")
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]
