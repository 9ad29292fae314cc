"""The integration page's emcee and pipefunc examples, as printed there, each run as a script.

A script must end by itself with status 0. What a check needs is put around the page's text, never into it.
"""

import json
import os

import pytest
import support

TIME_FACTOR = float(os.environ.get("EXECUTORLIB_TEST_TIME_FACTOR", "1"))

EMCEE = """\
import numpy as np
import emcee
from executorlib import SingleNodeExecutor

def log_prob(theta):
    return -0.5 * np.sum(theta**2)

initial = np.random.randn(32, 5)
nwalkers, ndim = initial.shape

with SingleNodeExecutor(block_allocation=True) as exe:
    sampler = emcee.EnsembleSampler(nwalkers, ndim, log_prob, pool=exe)
    sampler.run_mcmc(initial, 100, progress=True)
"""

PIPEFUNC = """\
import numpy as np
from pipefunc import Pipeline, pipefunc
from executorlib import SingleNodeExecutor

@pipefunc(output_name="y", mapspec="x[i] -> y[i]")
def f(x):
    return x**2

@pipefunc(output_name="z", mapspec="y[i] -> z[i]")
def g(y):
    return y + 1

pipeline = Pipeline([f, g])
inputs = {"x": [1, 2, 3]}

with SingleNodeExecutor() as exe:
    results = pipeline.map(inputs, executor=exe)

print(results["z"].output.tolist())
"""

PIPEFUNC_PER_OUTPUT = """\
executor = {
    "y": SingleNodeExecutor(max_workers=2),
    "z": SingleNodeExecutor(max_workers=4),
}
results = pipeline.map(inputs, executor=executor)
"""

SEED = """\
import numpy
numpy.random.seed(7)
"""

SERIAL_CHAIN = """\
import json
numpy.random.seed(7)
initial = np.random.randn(32, 5)
serial = emcee.EnsembleSampler(nwalkers, ndim, log_prob)
serial.run_mcmc(initial, 100)
print(json.dumps({
    "shape": sampler.get_chain().shape,
    "same": bool(np.array_equal(sampler.get_chain(), serial.get_chain())),
    "accepted": float(np.mean(sampler.acceptance_fraction)),
}))
"""


def run_page(tmp_path, text):
    done = support.run_script(tmp_path, text, timeout=200 * TIME_FACTOR)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_emcee_as_printed(tmp_path):
    done = run_page(tmp_path, EMCEE)
    assert "100/100" in done.stderr  # the progress bar that the page asks for


def test_emcee_gives_the_serial_chain(tmp_path):
    done = run_page(tmp_path, SEED + EMCEE + SERIAL_CHAIN)
    chain = json.loads(done.stdout.splitlines()[-1])
    assert chain["same"]
    assert chain["shape"] == [100, 32, 5]
    assert 0.2 < chain["accepted"] < 0.9


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(PIPEFUNC, id="one executor"),
        pytest.param(PIPEFUNC + PIPEFUNC_PER_OUTPUT + 'print(results["z"].output.tolist())\n', id="one per output"),
    ],
)
def test_pipefunc_as_printed(tmp_path, text):
    lines = run_page(tmp_path, text).stdout.split("\n")
    printed = [line for line in lines if line]
    assert printed == ["[2, 5, 10]"] * (2 if "executor = {" in text else 1)
