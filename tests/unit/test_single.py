"""What SingleNodeExecutor accepts, and what it asks of the engine."""

import pickle
import warnings

import pytest

from executorlib import SingleNodeExecutor
from executorlib.api import ResourceError


@pytest.fixture
def settings(pools):
    """The settings of the pool that an executor with the given arguments makes."""

    def settings(**arguments):
        SingleNodeExecutor(**arguments)
        return pools[-1].settings

    return settings


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, {"max_cores": 4, "max_workers": 0, "exclusive_wide": True}),
        ({"max_cores": 3}, {"max_cores": 3, "max_workers": 0, "exclusive_wide": False}),
        ({"max_workers": 3}, {"max_cores": 0, "max_workers": 3}),
        ({"max_cores": 3, "max_workers": 2}, {"max_cores": 3, "max_workers": 2, "exclusive_wide": False}),
        ({"max_cores": 2.9}, {"max_cores": 2}),
        ({"disable_dependencies": True}, {"allow_futures": False}),
        ({"hostname_localhost": True, "refresh_rate": 1}, {"allow_futures": True}),
    ],
    ids=repr,
)
def test_one_process_per_call(settings, arguments, expected):
    made = settings(**arguments)
    assert {key: made[key] for key in expected} == expected
    assert not made["persistent"]
    assert made["setup"] == b""


@pytest.mark.parametrize(
    ("arguments", "workers"),
    [
        ({"max_workers": 3}, 3),
        ({"max_cores": 3}, 3),
        ({"max_cores": 5, "resource_dict": {"threads_per_core": 2}}, 5),
        ({"max_cores": 3, "max_workers": 2}, 2),
    ],
    ids=repr,
)
def test_block_allocation(settings, arguments, workers):
    made = settings(block_allocation=True, **arguments)
    assert made["persistent"]
    assert (made["max_workers"], made["max_cores"], made["restart_limit"]) == (workers, 0, 0)


def test_block_allocation_without_limits_warns_where_the_user_is(settings):
    with pytest.warns(UserWarning, match="max_workers=4") as caught:
        SingleNodeExecutor(block_allocation=True)
    assert caught[0].filename == __file__


def test_nothing_else_warns(settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        settings()
        settings(max_workers=1, block_allocation=True)


def test_setup_of_a_block_allocation(settings):
    def init():
        return {"a": 1}

    made = settings(
        block_allocation=True,
        max_workers=1,
        restart_limit=2,
        init_function=init,
        resource_dict={"threads_per_core": 2},
    )
    setup = pickle.loads(made["setup"])
    assert made["restart_limit"] == 2
    assert (setup["threads"], setup["cores"]) == (2, 2)
    assert pickle.loads(setup["init"])() == {"a": 1}


def test_without_init_function_none_travels(settings):
    assert "init" not in pickle.loads(settings(block_allocation=True, max_workers=1)["setup"])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"max_workers": 0}, ResourceError),
        ({"max_workers": "2"}, ResourceError),
        ({"max_cores": -1}, ResourceError),
        ({"resource_dict": {"bad": 1}}, ResourceError),
        ({"resource_dict": {"cores": 0}}, ResourceError),
        ({"resource_dict": {"slurm_cmd_args": ["-v"]}}, ValueError),
        ({"resource_dict": {"threads_per_core": 3}, "max_cores": 2}, ValueError),
        ({"wait": False}, ValueError),
        ({"init_function": dict}, ValueError),
        ({"init_function": 3, "block_allocation": True, "max_workers": 1}, TypeError),
        ({"restart_limit": 1}, ValueError),
        ({"restart_limit": -1, "block_allocation": True, "max_workers": 1}, ValueError),
        ({"restart_limit": "1", "block_allocation": True, "max_workers": 1}, TypeError),
        ({"refresh_rate": "fast"}, TypeError),
        ({"refresh_rate": -1}, ValueError),
        ({"refresh_rate": float("nan")}, ValueError),
        ({"refresh_rate": 0.1, "disable_dependencies": True}, ValueError),
        ({"plot_dependency_graph": True, "disable_dependencies": True}, ValueError),
        ({"plot_dependency_graph_filename": "graph.svg", "disable_dependencies": True}, ValueError),
        ({"export_workflow_filename": "workflow.json", "disable_dependencies": True}, ValueError),
    ],
    ids=repr,
)
def test_wrong_arguments(pools, arguments, error):
    with pytest.raises(error):
        SingleNodeExecutor(**arguments)
    assert not pools


def test_more_cores_per_worker_than_there_are(pools):
    with pytest.raises(ValueError, match="max_cores"):
        SingleNodeExecutor(block_allocation=True, max_cores=1, resource_dict={"cores": 2})


def test_init_function_and_cache_warn(pools, tmp_path):
    with pytest.warns(UserWarning, match="init_function"):
        SingleNodeExecutor(block_allocation=True, max_workers=1, init_function=dict, cache_directory=tmp_path)


def test_the_version_of_keys_comes_from_the_environment(pools, tmp_path, monkeypatch):
    monkeypatch.setenv("EXECUTORLIB_CACHE_KEY_VERSION", "2")
    assert SingleNodeExecutor(cache_directory=tmp_path)._default.cache.key_version == 2
    own = {"cache_key_version": 1}
    assert SingleNodeExecutor(cache_directory=tmp_path, resource_dict=own)._default.cache.key_version == 1
    monkeypatch.setenv("EXECUTORLIB_CACHE_KEY_VERSION", "7")
    with pytest.raises(ValueError, match="cache_key_version"):
        SingleNodeExecutor(cache_directory=tmp_path)


def test_the_directory_is_made(pools, tmp_path):
    SingleNodeExecutor(resource_dict={"cwd": tmp_path / "a" / "b"})
    assert (tmp_path / "a" / "b").is_dir()


def test_one_dictionary_serves_many_executors(pools):
    resources = {"threads_per_core": 2, "cwd": None}
    for _ in range(2):
        SingleNodeExecutor(resource_dict=resources)
        SingleNodeExecutor(block_allocation=True, max_workers=1, resource_dict=resources)
    assert resources == {"threads_per_core": 2, "cwd": None}


def test_info_of_one_process_per_call(pools):
    exe = SingleNodeExecutor(max_cores=2, resource_dict={"priority": 3, "threads_per_core": 2})
    assert exe.info == {
        "priority": 3,
        "cores": 1,
        "cwd": None,
        "openmpi_oversubscribe": False,
        "cache_directory": None,
        "hostname_localhost": None,
        "log_obj_size": False,
        "max_cores": 2,
        "max_workers": None,
    }
    exe.shutdown()
    assert exe.info is None


def test_info_of_a_block_allocation(pools):
    exe = SingleNodeExecutor(max_workers=2, block_allocation=True, restart_limit=1)
    info = exe.info
    assert (info["init_function"], info["restart_limit"], info["max_workers"]) == (None, 1, 2)
    info["max_workers"] = 5
    exe.max_workers = 3
    assert exe.info["max_workers"] == 3
