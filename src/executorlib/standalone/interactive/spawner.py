"""How others start worker processes. Not available in this release."""

from __future__ import annotations

from executorlib._unavailable import unavailable


class SubprocessSpawner:
    """Starts one worker process. Not available in this release."""

    def __init__(
        self,
        cwd: str | None = None,
        cores: int = 1,
        worker_id: int = 0,
        openmpi_oversubscribe: bool = False,
        threads_per_core: int = 1,
    ) -> None:
        raise unavailable(type(self).__name__)


class MpiExecSpawner(SubprocessSpawner):
    """Starts the MPI ranks of one worker. Not available in this release."""
