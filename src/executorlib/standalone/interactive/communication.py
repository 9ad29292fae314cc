"""Sockets to worker processes that others start. Only the error is available in this release."""

from __future__ import annotations

from executorlib._errors import ExecutorlibSocketError
from executorlib._unavailable import unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = [
    "ExecutorlibSocketError",
    "SocketInterface",
    "interface_bootup",
    "interface_connect",
    "interface_receive",
    "interface_send",
    "interface_shutdown",
]


class SocketInterface:
    """The driver's end of a connection to a worker process. Not available in this release."""

    def __init__(self, spawner: Any = None, log_obj_size: bool = False, time_out_ms: int = 1000) -> None:
        raise unavailable("SocketInterface")


def interface_bootup(
    command_lst: list[str],
    connections: Any,
    hostname_localhost: bool | None = None,
    log_obj_size: bool = False,
    worker_id: int | None = None,
    stop_function: Callable | None = None,
) -> SocketInterface:
    """Start a worker process and connect to it. Not available in this release."""
    raise unavailable("interface_bootup")


def interface_connect(host: str, port: str) -> tuple[Any, Any]:
    """Connect a worker process to its driver. Not available in this release."""
    raise unavailable("interface_connect")


def interface_receive(socket: Any) -> dict:
    """Receive a dictionary. Not available in this release."""
    raise unavailable("interface_receive")


def interface_send(socket: Any, result_dict: dict) -> None:
    """Send a dictionary. Not available in this release."""
    raise unavailable("interface_send")


def interface_shutdown(socket: Any, context: Any) -> None:
    """Close a connection. Not available in this release."""
    raise unavailable("interface_shutdown")
