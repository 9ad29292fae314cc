"""What other packages build on, beside the names of `executorlib` itself."""

from executorlib._errors import (
    CacheFileError,
    CallTerminatedError,
    EngineError,
    ExecutorlibSocketError,
    JobLostError,
    JobTimeoutError,
    RemoteTraceback,
    ResourceError,
    RunTimeExceededError,
    StartError,
    TerminatedError,
    WorkerLostError,
)
from executorlib.executor.single import TestClusterExecutor
from executorlib.standalone.command import get_command_path
from executorlib.standalone.interactive.communication import (
    SocketInterface,
    interface_bootup,
    interface_connect,
    interface_receive,
    interface_send,
    interface_shutdown,
)
from executorlib.standalone.interactive.spawner import MpiExecSpawner, SubprocessSpawner
from executorlib.standalone.queue import cancel_items_in_queue
from executorlib.standalone.serialize import cloudpickle_register

__all__ = [
    "CacheFileError",
    "CallTerminatedError",
    "EngineError",
    "ExecutorlibSocketError",
    "JobLostError",
    "JobTimeoutError",
    "MpiExecSpawner",
    "RemoteTraceback",
    "ResourceError",
    "RunTimeExceededError",
    "SocketInterface",
    "StartError",
    "SubprocessSpawner",
    "TerminatedError",
    "TestClusterExecutor",
    "WorkerLostError",
    "cancel_items_in_queue",
    "cloudpickle_register",
    "get_command_path",
    "interface_bootup",
    "interface_connect",
    "interface_receive",
    "interface_send",
    "interface_shutdown",
]
