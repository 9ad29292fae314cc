"""Fixtures inside a real Flux instance of two nodes: `flux start --test-size=2 make test-flux`."""

import os

import pytest
import support
from beds.waiting import until

from flux_instance.cluster import FluxCluster
from flux_instance.instance import Instance, require


@pytest.fixture(scope="session")
def session_flux():
    require()
    return Instance()


@pytest.fixture
def flux(session_flux, monkeypatch, tmp_path):
    """The instance; after the test no job of it is left, nor the file with a key."""
    monkeypatch.setenv("EXECUTORLIB_AGENT_DIRECTORY", str(tmp_path / "agents"))
    monkeypatch.setenv("PYTHONPATH", support.script_environment()["PYTHONPATH"])
    yield session_flux
    try:
        until(lambda: not session_flux.jobs(), support.SOON, "the end of all jobs")
        if (tmp_path / "agents").exists():
            assert os.listdir(tmp_path / "agents") == []
    finally:
        session_flux.cancel_all()
        session_flux.configure()


@pytest.fixture
def cluster(flux):
    """The same for tests that go for all schedulers."""
    return FluxCluster(flux)


@pytest.fixture(params=[False, True], ids=["per_call", "block"])
def arguments(request, flux):
    """Those of an executor that uses all of the instance, in both modes."""
    return {"block_allocation": True, "max_workers": 2 * flux.cores} if request.param else {}
