"""What an executor for a scheduler is while its program is shown instead of run."""

from __future__ import annotations

from executorlib._pool import PoolExecutor
from executorlib._resources import check_limit, check_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from executorlib._record import RecordingPool


_DEFAULTS: dict[str, Any] = {"cores": 1, "threads_per_core": 1, "gpus_per_core": 0, "cwd": None, "slurm_cmd_args": []}


class RecordingExecutor(PoolExecutor):
    """Records calls, and needs neither a scheduler nor anything else that the calls ask for.

    Parameters:
        recorder: takes the calls.
        template: whether resources may have keys of the user's submission template.
        resource_dict, max_workers, max_cores, block_allocation: as of the executor that it stands for.
        **settings: more to show in `info`.
    """

    def __init__(
        self,
        recorder: RecordingPool,
        *,
        template: bool,
        resource_dict: Mapping[str, Any] | None,
        max_workers: int | None,
        max_cores: int | None,
        block_allocation: bool,
        **settings: Any,
    ) -> None:
        if template:
            self._check = check_open
        resources = self._check(resource_dict)
        max_cores = check_limit("max_cores", max_cores)
        super().__init__(
            resources=resources,
            accepts=lambda resources: None,
            persistent=bool(block_allocation),
            max_workers=check_limit("max_workers", max_workers),
            max_cores=max_cores,
            init_function=None,
            restart_limit=0,
            allow_futures=True,
            log_obj_size=False,
            info={**_DEFAULTS, **resources, **settings, "max_cores": max_cores},
            recorder=recorder,
        )
