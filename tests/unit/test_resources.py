"""The resource dictionary."""

import os
import pickle
import types
from pathlib import Path

import pytest

from executorlib._errors import ResourceError
from executorlib._resources import Request, check, check_limit, check_one_node, check_open, first_difference


class Two:
    def __index__(self):
        return 2


def test_nothing_asks_for_nothing():
    assert check(None) == {}
    assert check({}) == {}
    assert check({"cores": None, "cwd": None}) == {}


def test_values_become_plain():
    given = {"cores": Two(), "threads_per_core": True, "cwd": Path("a") / "b", "error_log_file": b"log"}
    before = dict(given)
    assert check(given) == {"cores": 2, "threads_per_core": 1, "cwd": os.path.join("a", "b"), "error_log_file": "log"}
    assert given == before


def test_any_mapping_will_do():
    assert check(types.MappingProxyType({"priority": -3})) == {"priority": -3}


@pytest.mark.parametrize(
    "resources",
    [
        5,
        [("cores", 1)],
        {"memory": 1},
        {3: 1},
        {"cores": 0},
        {"cores": -1},
        {"cores": "1"},
        {"cores": 1.5},
        {"threads_per_core": 0},
        {"gpus_per_core": -1},
        {"gpus_per_core": 1.5},
        {"gpus_per_core": "1"},
        {"pin": 1},
        {"num_nodes": 0},
        {"run_time_max": 0},
        {"run_time_max": -0.5},
        {"run_time_max": "1"},
        {"run_time_max": float("nan")},
        {"run_time_max": float("inf")},
        {"terminate_grace": -1},
        {"run_time_max": []},
        {"stdout_file": 1},
        {"stderr_file": ["log"]},
        {"priority": "high"},
        {"priority": -(2**31)},
        {"cores": 2**31},
        {"cwd": 3},
        {"error_log_file": []},
        {"cache_key": 3},
        {"cache_directory": 3},
        {"cache_key_version": 3},
        {"cache_key_version": "2"},
        {"exclusive": "yes"},
        {"openmpi_oversubscribe": 1},
        {"slurm_cmd_args": "--mem=1"},
        {"slurm_cmd_args": [1]},
    ],
    ids=repr,
)
def test_wrong_values(resources):
    with pytest.raises(ResourceError) as caught:
        check(resources)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, TypeError)
    if isinstance(resources, dict):
        assert str(next(iter(resources))) in str(caught.value)


@pytest.mark.parametrize(
    "resources", [{"num_nodes": 2}, {"slurm_cmd_args": ["-v"]}, {"submission_template": "t"}], ids=repr
)
def test_what_one_node_cannot_give(resources):
    with pytest.raises(ValueError, match=next(iter(resources))):
        check_one_node(check(resources))


def test_what_one_node_can_give():
    check_one_node(
        check(
            {
                "cores": 1,
                "threads_per_core": 4,
                "gpus_per_core": 0.5,
                "pin": True,
                "num_nodes": 1,
                "exclusive": True,
                "openmpi_oversubscribe": False,
                "slurm_cmd_args": [],
                "cwd": ".",
                "error_log_file": "log",
                "stdout_file": "log",
                "stderr_file": Path("log"),
                "run_time_max": 0.5,
                "terminate_grace": 0,
                "priority": 2,
            }
        )
    )


def test_request_of_nothing():
    request = Request({})
    assert (request.cores, request.threads, request.own_threads) == (1, 1, False)
    assert (request.cwd, request.needs, request.options) == (None, (1, 1, 0, 0, 0, 0, 300, 0), None)
    assert not request.limited


def test_request():
    request = Request({"cores": 2, "threads_per_core": 3, "cwd": "here", "priority": 7, "error_log_file": "log"})
    assert (request.cores, request.threads, request.own_threads) == (6, 3, True)
    assert request.cwd == os.path.abspath("here")
    assert request.needs == (6, 2, 0, 0, 7, 0, 300, 0)
    assert pickle.loads(request.options) == {"error_log_file": "log"}


def test_times_are_milliseconds():
    request = Request({"run_time_max": 0.0001, "terminate_grace": 0})
    assert request.needs[5:7] == (1, 0) and request.limited
    assert Request({"run_time_max": 3, "terminate_grace": 1.5}).needs[5:7] == (3000, 1500)


@pytest.mark.parametrize("key", ["run_time_max", "terminate_grace"])
def test_times_have_an_end(key):
    with pytest.raises(ResourceError, match=key):
        Request({key: 1e9})


def test_output_files_go_along_with_the_call():
    request = Request({"stdout_file": "out", "stderr_file": "err", "priority": 1})
    assert pickle.loads(request.options) == {"stdout_file": "out", "stderr_file": "err"}


def test_an_exclusive_call_asks_for_all_cores():
    assert Request({"exclusive": True}).needs[0] > 2**31


@pytest.mark.parametrize(
    ("requested", "given", "difference"),
    [
        ({}, {}, None),
        ({"cores": 1, "threads_per_core": 1, "slurm_cmd_args": []}, {}, None),
        ({"threads_per_core": 2}, {}, "threads_per_core"),
        ({"threads_per_core": 2}, {"threads_per_core": 2}, None),
        ({"threads_per_core": 1}, {"threads_per_core": 2}, "threads_per_core"),
        ({"cwd": "a"}, {}, "cwd"),
        ({"cwd": "a"}, {"cwd": os.path.abspath("a")}, None),
        ({"cwd": "a"}, {"cwd": "b"}, "cwd"),
        ({"priority": 3, "error_log_file": "log", "cache_key": "k", "run_time_max": 3}, {}, None),
        ({"stdout_file": "out", "stderr_file": "err", "terminate_grace": 1}, {"run_time_max": 2}, None),
        ({"exclusive": True}, {}, "exclusive"),
    ],
)
def test_first_difference(requested, given, difference):
    assert first_difference(requested, given) == difference


@pytest.mark.parametrize(("value", "limit"), [(None, None), (1, 1), (Two(), 2), (2.0, 2), (2.7, 2)])
def test_limit(value, limit):
    assert check_limit("max_cores", value) == limit


@pytest.mark.parametrize("value", [0, -1, 0.5, "2", float("nan"), float("inf"), [1]])
def test_wrong_limit(value):
    with pytest.raises(ResourceError, match="max_cores"):
        check_limit("max_cores", value)


@pytest.mark.parametrize(("typo", "meant"), [("core", "cores"), ("thread_per_core", "threads_per_core")])
def test_a_misspelt_key_is_told_what_it_may_mean(typo, meant):
    with pytest.raises(ResourceError, match=f"unknown resource '{typo}' .did you mean '{meant}'."):
        check({typo: 2})
    with pytest.warns(UserWarning, match=f"{typo} .did you mean '{meant}'.") as warned:
        assert check_open({typo: 2, "partition": "long"}) == {typo: 2, "partition": "long"}
    assert warned[0].filename == __file__
    assert "partition (" not in str(warned[0].message)
