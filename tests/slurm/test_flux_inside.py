"""Flux started inside Slurm: `srun flux start`, and an executor in that instance."""

import os
import shutil
import sys

import pytest
import support

pytestmark = [
    pytest.mark.timeout(120 * support.TIME_FACTOR),
    pytest.mark.skipif(not shutil.which("flux"), reason="needs Flux, whose command flux is not in PATH"),
]

SCRIPT = """
    import os, sys, functions
    from executorlib import FluxJobExecutor

    def broker(folder):
        functions.pass_gate(folder)
        return os.environ["FLUX_URI"].split("/jobtmp-")[0]

    cores = int(sys.argv[2])
    with FluxJobExecutor(**eval(sys.argv[3])) as executor:
        futures = [executor.submit(broker, sys.argv[1]) for _ in range(2 * cores)]
        print(len({future.result() for future in futures}), "brokers", flush=True)
        squares = executor.map(pow, range(100), [2] * 100)
        print("sum", sum(squares), flush=True)
"""


@pytest.mark.parametrize("block", [False, True], ids=["per_call", "block"])
def test_calls_run_on_all_nodes_of_the_job(slurm, tmp_path, gate, block):
    cores = len(os.sched_getaffinity(0))  # Flux sees those of the machine, on which both nodes are
    arguments = {"block_allocation": True, "max_workers": 2 * cores} if block else {}
    script = support.write_script(tmp_path, SCRIPT)
    variables = {
        "PYTHONPATH": support.script_environment()["PYTHONPATH"],
        "EXECUTORLIB_AGENT_DIRECTORY": str(tmp_path / "agents"),
    }
    command = ["srun", "-N2", "-n2", "--exclusive", "--mpi=pmi2", "env", "-u", "FLUX_URI"]
    command += [f"{name}={value}" for name, value in variables.items()]
    with slurm.popen(*command, "flux", "start", sys.executable, script, gate.folder, cores, repr(arguments)) as step:
        gate.arrivals(2 * cores)
        gate.open()
        out, err = step.communicate(timeout=support.SOON)
    assert (out, step.returncode) == ("2 brokers\nsum 328350\n", 0), err
    assert os.listdir(tmp_path / "agents") == []
