"""Files that somebody else may have made."""

import os
import subprocess
import warnings

import pytest

from executorlib import SingleNodeExecutor, _fleet, _trust
from executorlib.api import TestClusterExecutor

STRANGER = 65534


@pytest.fixture
def hand_over(tmp_path):
    return _fleet.write_privately("told", str(tmp_path / "agents"))


def test_a_private_file_is_read(hand_over):
    assert _trust.read_private(hand_over) == "told"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_file_that_others_could_have_written_or_read_is_refused(hand_over, mode):
    os.chmod(hand_over, mode)
    with pytest.raises(PermissionError, match=f"mode {mode:o}.*EXECUTORLIB_AGENT_DIRECTORY"):
        _trust.read_private(hand_over)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_a_file_of_another_user_is_refused(hand_over):
    os.chown(hand_over, STRANGER, -1)
    with pytest.raises(PermissionError, match=f"belongs to user {STRANGER}"):
        _trust.read_private(hand_over)


def test_an_agent_trusts_no_file_that_others_could_have_written(hand_over):
    os.chmod(hand_over, 0o622)
    agent = subprocess.run(_fleet.agent_command(hand_over), capture_output=True, text=True, timeout=60)
    assert agent.returncode == 1
    assert agent.stderr.startswith("this executorlib agent does not trust its hand-over file")


def test_no_key_is_written_where_modes_are_not_kept(tmp_path, monkeypatch):
    make = _fleet.tempfile.mkstemp

    def with_a_mode_of_its_own(**arguments):
        descriptor, path = make(**arguments)
        os.chmod(path, 0o755)
        return descriptor, path

    monkeypatch.setattr(_fleet.tempfile, "mkstemp", with_a_mode_of_its_own)
    with pytest.raises(PermissionError, match="nobody else may have access"):
        _fleet.write_privately("told", str(tmp_path))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("executor", [SingleNodeExecutor, TestClusterExecutor])
def test_a_cache_that_everybody_may_write_to_is_warned_of(tmp_path, executor):
    os.chmod(tmp_path, 0o1777)
    with pytest.warns(UserWarning, match="not safe: everybody may write there") as caught:
        executor(cache_directory=str(tmp_path)).shutdown()
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory away")
def test_a_cache_that_somebody_has_made_where_everybody_may_is_warned_of(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    os.chown(cache, STRANGER, -1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _trust.warn_of_cache(str(cache))  # a colleague's
    os.chmod(tmp_path, 0o1777)
    with pytest.warns(UserWarning, match=f"belongs to user {STRANGER}"):
        _trust.warn_of_cache(str(cache))


def test_one_s_own_cache_is_none(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _trust.warn_of_cache(str(tmp_path))
        _trust.warn_of_cache(str(tmp_path / "missing"))
