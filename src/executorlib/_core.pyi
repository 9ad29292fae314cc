from collections.abc import Callable, Iterable
from concurrent import futures
from typing import Any

class Future(futures.Future):
    _nbytes_sent: int
    _nbytes_received: int
    def terminate(self) -> bool: ...

class Pool:
    def __init__(
        self,
        *,
        zygote: tuple[str, list[str], list[str]] = ...,
        persistent: bool,
        max_cores: int,
        max_workers: int,
        restart_limit: int = 0,
        setup: bytes = b"",
        allow_futures: bool = True,
        exclusive_wide: bool = True,
        imports: Callable[[list[bytes]], bytes] | None = None,
        ranks: int = 1,
        needs: tuple[int, ...] = ...,
        host: Pool | None = None,
        fleet: tuple[str, str, bytes, int, int, int] | None = None,
        timeline: str | None = None,
    ) -> None: ...
    agents: int
    closed: bool
    lost: bool
    port: int
    def submit(
        self,
        fn: Callable,
        args: tuple,
        kwargs: dict[str, Any],
        needs: tuple[int, ...],
        setup: bytes | None = None,
        options: bytes | None = None,
    ) -> Future: ...
    def map(
        self,
        fn: Callable,
        iterables: tuple[Iterable, ...],
        needs: tuple[int, ...],
        setup: bytes | None = None,
        options: bytes | None = None,
    ) -> list[Future]: ...
    def shutdown(self, wait: bool = True, cancel_futures: bool = False) -> None: ...
    def launch(self, argv: list[str], environment: list[str], handover: str | None) -> None: ...
    def set_gpus(self, variable: str, names: list[str]) -> None: ...
    def resize(self, max_workers: int) -> None: ...
    def resize_agents(self, ids: list[bytes]) -> None: ...
    def number_workers(self, ids: bytes) -> None: ...
    def pids(self) -> list[int]: ...
    def __len__(self) -> int: ...

def cpu_count() -> int: ...
def in_worker() -> bool: ...
def submitting() -> bool: ...
def foreign_future(future: futures.Future) -> tuple: ...
def select_item(value: Any, item: Any) -> Any: ...
def set_error_factory(factory: Callable[[str, dict[str, Any]], BaseException]) -> None: ...
def set_remote_cause(setter: Callable[[BaseException, str], None]) -> None: ...
def set_cloudpickler(getter: Callable[[], type]) -> None: ...
def zygote_main(channel: int) -> None: ...
def provide_tls(api: object) -> None: ...
def serve(
    pool: Pool,
    addresses: list[str],
    *,
    port: int,
    name: str,
    key: bytes,
    index: int,
    grace_ms: int,
    cores: int,
    calls: int,
    gpus: int,
) -> str: ...
def rank_main() -> None: ...
