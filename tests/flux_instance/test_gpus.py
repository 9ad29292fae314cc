"""GPUs under Flux: which ones calls see, in an instance of two nodes with four pretended GPUs and two cores each."""

import json
import subprocess
import sys

import pytest
import support
from mpis import MPICH

pytestmark = pytest.mark.timeout(120 * support.TIME_FACTOR)

CONFIGURATION = """
[resource]
noverify = true
[[resource.config]]
hosts = "gpu[0-1]"
cores = "0-1"
gpus = "0-3"
"""

# Each call waits until as many as there are to be at once have come, so that none has the GPUs of one before.
BEGINNING = """
import json, os, re, sys, time
from executorlib import FluxClusterExecutor, FluxJobExecutor

def node():  # of its job
    return re.search(r"/jobtmp-(\\d+)-", os.environ["FLUX_URI"])[1]

def see(folder, together, number):
    os.makedirs(folder, exist_ok=True)
    open(os.path.join(folder, str(os.getpid())), "x").close()
    while len(os.listdir(folder)) < together:
        time.sleep(0.01)
    return node(), os.environ["CUDA_VISIBLE_DEVICES"]

def see_as_rank(folder, together, number):
    from mpi4py import MPI
    return see(folder, together, number)

def results(executor, calls, function=see, ranks=1, name="together", **options):
    folder = os.path.join(sys.argv[1], name)
    futures = [executor.submit(function, folder, calls * ranks, number, **options) for number in range(calls)]
    return [future.result(timeout=60) for future in futures]

"""


@pytest.fixture
def found(flux, tmp_path, monkeypatch):
    """Run a script in such an instance; what it has put into `found`."""

    def run(source):
        (tmp_path / "flux.toml").write_text(CONFIGURATION)
        script = support.write_script(tmp_path, BEGINNING + source + "\nprint(json.dumps(found))\n")
        command = ["flux", "start", "--test-size=2", "--test-hosts=gpu[0-1]", f"--config-path={tmp_path}/flux.toml"]
        done = subprocess.run(
            [*command, sys.executable, str(script), str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=100 * support.TIME_FACTOR,
            env=support.script_environment(),
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    MPICH.use(monkeypatch)
    return run


ALL_PAIRS = sorted([node, pair] for node in "01" for pair in ("0,1", "2,3"))


def test_calls_of_agents(found):
    seen = found("""
with FluxJobExecutor(resource_dict={"gpus_per_core": 2}) as executor:
    found = results(executor, 4)
""")
    assert sorted(seen) == ALL_PAIRS


def test_jobs_over_two_nodes(found):
    seen = found("""
with FluxJobExecutor(resource_dict={"cores": 2, "num_nodes": 2, "gpus_per_core": 2}) as executor:
    found = results(executor, 2, see_as_rank, 2)
""")
    assert sorted(rank for call in seen for rank in call) == ALL_PAIRS
    assert all(one[1] == other[1] for one, other in seen)


def test_ranks_of_one_job_beside_agents(found):
    seen = found("""
with FluxJobExecutor() as executor:
    executor.submit(sum, [1]).result(timeout=60)
    wanted = {"cores": 4, "num_nodes": 2, "gpus_per_core": 2}
    found = results(executor, 1, see_as_rank, 4, resource_dict=wanted)[0]
""")
    assert sorted(seen) == ALL_PAIRS


@pytest.mark.parametrize("arguments", ["", ", block_allocation=True, max_workers=4"], ids=["detached", "lasting"])
def test_jobs_of_the_cluster_executor(found, arguments):
    seen = found(f"""
with FluxClusterExecutor(
    cache_directory=os.path.join(sys.argv[1], "cache"), resource_dict={{"gpus_per_core": 2}}{arguments}
) as executor:
    found = results(executor, 4)
""")
    assert sorted(gpus for _, gpus in seen) == ["0,1", "0,1", "2,3", "2,3"]
