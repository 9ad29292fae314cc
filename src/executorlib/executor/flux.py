"""Executors for machines under Flux."""

from __future__ import annotations

from executorlib._record import recorder_for
from executorlib._unavailable import unavailable
from executorlib.executor.base import BaseExecutor
from executorlib.executor.recording import RecordingExecutor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


class FluxJobExecutor(BaseExecutor):
    """Runs calls inside a Flux allocation. In this release it shows graphs of calls, and runs none."""

    def __init__(
        self,
        max_workers: int | None = None,
        cache_directory: str | None = None,
        max_cores: int | None = None,
        resource_dict: Mapping[str, Any] | None = None,
        pmi_mode: str | None = None,
        flux_executor: Any = None,
        flux_executor_nesting: bool = False,
        flux_log_files: bool = False,
        hostname_localhost: bool | None = None,
        block_allocation: bool = False,
        init_function: Callable | None = None,
        disable_dependencies: bool = False,
        refresh_rate: float = 0.01,
        plot_dependency_graph: bool = False,
        plot_dependency_graph_filename: str | None = None,
        export_workflow_filename: str | None = None,
        log_obj_size: bool = False,
        wait: bool = True,
        restart_limit: int = 0,
        openmpi_oversubscribe: bool = False,
    ) -> None:
        recorder = recorder_for(
            plot_dependency_graph, plot_dependency_graph_filename, export_workflow_filename, disable_dependencies
        )
        if recorder is None:
            raise unavailable("FluxJobExecutor")
        super().__init__(
            RecordingExecutor(
                recorder,
                template=False,
                resource_dict=resource_dict,
                max_workers=max_workers,
                max_cores=max_cores,
                block_allocation=block_allocation,
                openmpi_oversubscribe=openmpi_oversubscribe,
                cache_directory=cache_directory,
                hostname_localhost=hostname_localhost,
                log_obj_size=log_obj_size,
                pmi_mode=pmi_mode,
            )
        )


class FluxClusterExecutor(BaseExecutor):
    """Submits each call to Flux as a job. In this release it shows graphs of calls, and runs none."""

    def __init__(
        self,
        max_workers: int | None = None,
        cache_directory: str | None = None,
        max_cores: int | None = None,
        resource_dict: Mapping[str, Any] | None = None,
        pysqa_config_directory: str | None = None,
        pmi_mode: str | None = None,
        hostname_localhost: bool | None = None,
        block_allocation: bool = False,
        init_function: Callable | None = None,
        disable_dependencies: bool = False,
        refresh_rate: float = 0.01,
        plot_dependency_graph: bool = False,
        plot_dependency_graph_filename: str | None = None,
        export_workflow_filename: str | None = None,
        log_obj_size: bool = False,
        wait: bool = True,
        openmpi_oversubscribe: bool = False,
    ) -> None:
        recorder = recorder_for(
            plot_dependency_graph, plot_dependency_graph_filename, export_workflow_filename, disable_dependencies
        )
        if recorder is None:
            raise unavailable("FluxClusterExecutor")
        super().__init__(
            RecordingExecutor(
                recorder,
                template=True,
                resource_dict=resource_dict,
                max_workers=max_workers,
                max_cores=max_cores,
                block_allocation=block_allocation,
                openmpi_oversubscribe=openmpi_oversubscribe,
                cache_directory=cache_directory,
                hostname_localhost=hostname_localhost,
                log_obj_size=log_obj_size,
                pmi_mode=pmi_mode,
            )
        )
