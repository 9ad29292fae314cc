"""What an executor for a scheduler is while its program is shown instead of run."""

from __future__ import annotations

from executorlib._pool import PoolExecutor
from executorlib._record import recorder_for
from executorlib._resources import check_limit, check_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from executorlib._record import RecordingPool


_DEFAULTS: dict[str, Any] = {"cores": 1, "threads_per_core": 1, "gpus_per_core": 0, "cwd": None, "slurm_cmd_args": []}


def recording_executor(
    plot_dependency_graph: bool,
    plot_dependency_graph_filename: str | None,
    export_workflow_filename: str | None,
    disable_dependencies: bool,
    **settings: Any,
) -> RecordingExecutor | None:
    """The one that takes the calls if they are to be shown, else None.

    Parameters:
        plot_dependency_graph, plot_dependency_graph_filename, export_workflow_filename, disable_dependencies: as of
            the executor that it stands for.
        **settings: of `RecordingExecutor`.
    """
    recorder = recorder_for(
        plot_dependency_graph, plot_dependency_graph_filename, export_workflow_filename, disable_dependencies
    )
    return None if recorder is None else RecordingExecutor(recorder, **settings)


class RecordingExecutor(PoolExecutor):
    """Records calls, and needs neither a scheduler nor anything else that the calls ask for.

    Parameters:
        recorder: takes the calls.
        resource_dict, max_workers, max_cores, block_allocation: as of the executor that it stands for; resources may
            have keys of the user's submission template.
        **settings: more to show in `info`.
    """

    _check = staticmethod(check_open)

    def __init__(
        self,
        recorder: RecordingPool,
        *,
        resource_dict: Mapping[str, Any] | None,
        max_workers: int | None,
        max_cores: int | None,
        block_allocation: bool,
        **settings: Any,
    ) -> None:
        resources = check_open(resource_dict)
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
