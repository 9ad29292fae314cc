"""Fixtures: every test of this folder runs once for each executor, all of one executor in a row."""

import os

import pytest
import support

from executors.kinds import KINDS, placed


@pytest.fixture(scope="module", params=KINDS, ids=str)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def place(kind, tmp_path_factory):
    """What the executor needs around it; the folder for its files."""
    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as monkeypatch, placed(kind, monkeypatch, folder):
        # Batch jobs find the tests' modules by it.
        monkeypatch.setenv("PYTHONPATH", support.script_environment()["PYTHONPATH"])
        yield folder


@pytest.fixture(scope="module")
def make_any(kind, place):
    """Make executors of the kind, which all end with the module."""
    made = []

    def make_executor(workers=2, **arguments):
        arguments = {**kind.arguments(workers), **arguments}
        if kind.by_files:
            arguments.setdefault("cache_directory", place / f"cache-{len(made)}")
        try:
            made.append(kind.executor_class(**arguments))
        except NotImplementedError as error:
            pytest.skip(str(error))
        return made[-1]

    yield make_executor
    for executor in made:
        executor.shutdown(wait=True, cancel_futures=True)
    agents = place / "agents"
    assert not agents.exists() or os.listdir(agents) == []


@pytest.fixture(scope="module")
def exe(make_any):
    """One executor for all tests that leave it as it was."""
    return make_any(workers=3)


@pytest.fixture
def make(make_any):
    """Make executors that end with the test."""
    made = []

    def make_executor(*args, **arguments):
        made.append(make_any(*args, **arguments))
        return made[-1]

    yield make_executor
    for executor in made:
        executor.shutdown(wait=True, cancel_futures=True)
