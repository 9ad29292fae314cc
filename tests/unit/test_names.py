"""Public names, where they live and what they take, as scripts and other packages rely on."""

import inspect
import os
import subprocess
import sys

import pytest

import executorlib
import executorlib.api
from executorlib.standalone.select import FutureSelector

SINGLE_NODE = [
    "max_workers",
    "cache_directory",
    "max_cores",
    "resource_dict",
    "hostname_localhost",
    "block_allocation",
    "init_function",
    "disable_dependencies",
    "refresh_rate",
    "plot_dependency_graph",
    "plot_dependency_graph_filename",
    "export_workflow_filename",
    "log_obj_size",
    "wait",
    "restart_limit",
    "openmpi_oversubscribe",
]
DEFAULTS = {
    "block_allocation": False,
    "disable_dependencies": False,
    "refresh_rate": 0.01,
    "plot_dependency_graph": False,
    "log_obj_size": False,
    "wait": True,
    "restart_limit": 0,
    "openmpi_oversubscribe": False,
    "flux_executor_nesting": False,
    "flux_log_files": False,
}


def without(*names):
    return [name for name in SINGLE_NODE if name not in names]


def after(names, place, *more):
    return names[: names.index(place) + 1] + list(more) + names[names.index(place) + 1 :]


PARAMETERS = {
    executorlib.SingleNodeExecutor: [*SINGLE_NODE, "timeline"],  # ours
    executorlib.api.TestClusterExecutor: without("restart_limit"),
    executorlib.SlurmJobExecutor: after(SINGLE_NODE, "resource_dict", "pmi_mode"),
    executorlib.FluxJobExecutor: after(
        SINGLE_NODE, "resource_dict", "pmi_mode", "flux_executor", "flux_executor_nesting", "flux_log_files"
    ),
    executorlib.SlurmClusterExecutor: [
        *after(without("restart_limit"), "resource_dict", "pysqa_config_directory", "pmi_mode"),
        "restart_limit",  # ours
    ],
    executorlib.FluxClusterExecutor: [
        *after(without("restart_limit"), "resource_dict", "pysqa_config_directory", "pmi_mode"),
        "restart_limit",  # ours
    ],
}


@pytest.mark.parametrize("cls", PARAMETERS, ids=lambda cls: cls.__name__)
def test_constructor(cls):
    parameters = list(inspect.signature(cls).parameters.values())
    assert [parameter.name for parameter in parameters] == PARAMETERS[cls]
    assert {parameter.kind for parameter in parameters} == {inspect.Parameter.POSITIONAL_OR_KEYWORD}
    for parameter in parameters:
        assert parameter.default == DEFAULTS.get(parameter.name), parameter.name


def test_names_of_the_package():
    assert set(executorlib.__all__) == {
        "BaseExecutor",
        "FluxClusterExecutor",
        "FluxJobExecutor",
        "SingleNodeExecutor",
        "SlurmClusterExecutor",
        "SlurmJobExecutor",
        "get_cache_data",
        "get_cache_data_queue",
        "get_future_from_cache",
        "get_item_from_future",
        "split_future",
        "terminate_task_in_cache",
        "terminate_tasks_in_cache",
    }
    assert all(hasattr(executorlib, name) for name in executorlib.__all__)
    assert executorlib.__version__.startswith("1.11.0+core.")


def test_names_of_the_api():
    assert all(hasattr(executorlib.api, name) for name in executorlib.api.__all__)
    assert {
        "ExecutorlibSocketError",
        "MpiExecSpawner",
        "SocketInterface",
        "SubprocessSpawner",
        "TestClusterExecutor",
        "cancel_items_in_queue",
        "cloudpickle_register",
        "get_command_path",
        "interface_bootup",
        "interface_connect",
        "interface_receive",
        "interface_send",
        "interface_shutdown",
    } <= set(executorlib.api.__all__)


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (executorlib.api.SocketInterface, ["spawner", "log_obj_size", "time_out_ms"]),
        (executorlib.api.SocketInterface.bootup, ["self", "command_lst", "stop_function"]),
        (executorlib.api.SocketInterface.send_dict, ["self", "input_dict"]),
        (executorlib.api.SocketInterface.send_and_receive_dict, ["self", "input_dict"]),
        (executorlib.api.SocketInterface.shutdown, ["self", "wait"]),
        (
            executorlib.api.SubprocessSpawner,
            ["cwd", "cores", "worker_id", "openmpi_oversubscribe", "threads_per_core"],
        ),
        (executorlib.api.SubprocessSpawner.bootup, ["self", "command_lst", "stop_function"]),
        (executorlib.api.MpiExecSpawner, ["cwd", "cores", "worker_id", "openmpi_oversubscribe", "threads_per_core"]),
        (
            executorlib.api.interface_bootup,
            ["command_lst", "connections", "hostname_localhost", "log_obj_size", "worker_id", "stop_function"],
        ),
        (executorlib.api.interface_connect, ["host", "port"]),
        (executorlib.api.interface_send, ["socket", "result_dict"]),
        (executorlib.api.interface_receive, ["socket"]),
        (executorlib.api.interface_shutdown, ["socket", "context"]),
        (executorlib.api.get_command_path, ["executable"]),
        (executorlib.api.cloudpickle_register, ["ind"]),
        (executorlib.api.cancel_items_in_queue, ["que"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_parameters_of_the_api(function, names):
    assert list(inspect.signature(function).parameters) == names


def test_worker_programs_are_where_they_are_looked_for():
    for program in ("interactive_serial.py", "interactive_parallel.py"):
        assert os.path.isfile(executorlib.api.get_command_path(program))


def test_names_elsewhere():
    from executorlib.standalone.interactive.arguments import get_future_objects_from_input
    from executorlib.standalone.interactive.communication import ExecutorlibSocketError
    from executorlib.standalone.serialize import cloudpickle_register
    from executorlib.task_scheduler.file.shared import FutureItem

    assert ExecutorlibSocketError is executorlib.api.ExecutorlibSocketError
    assert cloudpickle_register is executorlib.api.cloudpickle_register
    assert list(inspect.signature(FutureItem).parameters) == ["file_name", "selector"]
    assert list(inspect.signature(get_future_objects_from_input).parameters) == ["args", "kwargs"]


@pytest.mark.parametrize(
    ("thing", "module"),
    [
        (executorlib.BaseExecutor, "executorlib.executor.base"),
        (executorlib.SingleNodeExecutor, "executorlib.executor.single"),
        (executorlib.api.TestClusterExecutor, "executorlib.executor.single"),
        (executorlib.SlurmJobExecutor, "executorlib.executor.slurm"),
        (executorlib.SlurmClusterExecutor, "executorlib.executor.slurm"),
        (executorlib.FluxJobExecutor, "executorlib.executor.flux"),
        (executorlib.FluxClusterExecutor, "executorlib.executor.flux"),
        (FutureSelector, "executorlib.standalone.select"),
        (executorlib.split_future, "executorlib.standalone.select"),
        (executorlib.get_cache_data, "executorlib"),
        (executorlib.api.WorkerLostError, "executorlib.api"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_module(thing, module):
    assert thing.__module__ == module
    assert getattr(sys.modules[module], thing.__name__) is thing


@pytest.mark.parametrize("cls", [executorlib.BaseExecutor, executorlib.SingleNodeExecutor])
def test_methods_take_what_the_standard_library_gives(cls):
    submit = inspect.signature(cls.submit).parameters
    assert [submit[name].kind for name in list(submit)[:2]] == [inspect.Parameter.POSITIONAL_ONLY] * 2
    assert submit["resource_dict"].kind is inspect.Parameter.KEYWORD_ONLY
    of_map = ["self", "fn", "iterables", "timeout", "chunksize", "buffersize"]  # the last from Python 3.14 on
    assert list(inspect.signature(cls.map).parameters) == of_map
    shutdown = inspect.signature(cls.shutdown).parameters
    assert shutdown["wait"].default is True
    assert shutdown["cancel_futures"].kind is inspect.Parameter.KEYWORD_ONLY


def test_importing_the_package_imports_no_more_than_it_needs():
    """Start-up time is part of every short script."""
    script = "import concurrent.futures, sys; before = set(sys.modules); import executorlib; "
    script += "print(*set(sys.modules) - before)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    allowed = {"executorlib", "_executorlib_core", "_executorlib_worker", "_pickle", "_compat_pickle", "__future__"}
    allowed |= {"copyreg"}
    assert {name.partition(".")[0] for name in answer.stdout.split()} <= allowed


def test_a_call_on_one_node_loads_nothing_for_other_executors():
    script = "import sys; from executorlib import SingleNodeExecutor\n"
    script += "with SingleNodeExecutor(max_workers=1) as exe: assert exe.submit(sum, [1, 2]).result() == 3\n"
    script += "print(*(name for name in sys.modules if name.startswith('executorlib.')))"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    loaded = {name.removeprefix("executorlib.") for name in answer.stdout.split()}
    assert "executor.single" in loaded
    later = {"executor.slurm", "executor.flux", "executor.recording", "_cache", "_file_pool", "_gpus", "_store"}
    assert not later & loaded


def test_what_is_loaded_later_is_listed_and_a_wrong_name_is_refused():
    assert set(executorlib.__all__) <= set(dir(executorlib))
    with pytest.raises(AttributeError, match="'executorlib' has no attribute 'FluxExecutor'"):
        executorlib.FluxExecutor  # noqa: B018
