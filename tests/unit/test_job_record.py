"""Notes of which job has a call: of one call, of the calls of an array, and of two drivers."""

import os

import pytest

from executorlib import _job_record


@pytest.fixture
def bases(tmp_path):
    """Of calls in two folders; one key ends as another does."""
    (tmp_path / "other").mkdir()
    return [str(tmp_path / name) for name in ("a", "b a", "c.(d", "other/a")]


def test_a_job_of_one_call(bases):
    assert _job_record.read(bases[0]) is None
    assert _job_record.make_all(bases[:1], "slurm", ["7"]) == [True]
    assert _job_record.read(bases[0]) == "7"
    assert _job_record.make_all(bases[:1], "slurm", ["8"]) == [False]
    assert _job_record.read(bases[0]) == "7"


@pytest.mark.parametrize("links", [True, False], ids=["links", "no_links"])
def test_an_array(bases, tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", _refuse)
    assert _job_record.make(bases[1], "slurm", "5")  # another driver
    made = _job_record.make_all(bases, "slurm", ["7_0", "7_1", "7_2", "7_3"])
    assert made == [True, False, True, True]
    assert [_job_record.read(base) for base in bases] == ["7_0", "5", "7_2", "7_3"]
    _job_record.remove(bases[0])
    assert [_job_record.read(base) for base in bases] == [None, "5", "7_2", "7_3"]
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


def _refuse(*_):
    raise PermissionError(1, "this file system has no hard links")


def test_a_record_that_is_none(tmp_path):
    (tmp_path / "k.job").write_text("damaged\n")
    assert _job_record.read(str(tmp_path / "k")) is None
