"""In a file of its own, the last one, because what it waits for takes half a minute."""

import os

import pytest
from support import SOON

from executorlib import get_future_from_cache
from executorlib.api import JobTimeoutError, RunTimeExceededError


def test_time_limit(impatient, expiring, expiring_calls):
    fields = impatient.wait_job(expiring, "TIMEOUT", timeout=120)
    assert (fields["Reason"], fields["ExitCode"]) == ("TimeLimit", "0:15")


def test_a_call_whose_job_reached_its_time_limit(impatient, expiring, tmp_path, monkeypatch):
    for name, value in impatient.variables.items():
        monkeypatch.setenv(name, value)
    impatient.wait_job(expiring, "TIMEOUT", timeout=120)
    (tmp_path / "k_i.h5").touch()
    os.symlink(f"slurm {expiring}", tmp_path / "k.job")
    with pytest.raises(JobTimeoutError, match="run_time_max") as caught:
        get_future_from_cache(str(tmp_path), "k").result(SOON)
    assert isinstance(caught.value, RunTimeExceededError)
    assert (caught.value.job_id, caught.value.reason, caught.value.host) == (expiring, "TIMEOUT", "n1")


def test_calls_in_an_allocation_that_reached_its_time_limit(impatient, expiring, expiring_calls):
    said = expiring_calls.expect("ended", timeout=120)
    assert said.startswith("WorkerLostError") and "its agent died" in said
    assert expiring_calls.process.wait(timeout=SOON) == 0
