"""The integration page's emcee and pipefunc examples, as printed there, each run as a script.

A script must end by itself with status 0. What a check needs is put around the page's text, never into it.
"""

import json
import os

import pytest
import support
from page import EMCEE, PIPEFUNC, PIPEFUNC_PER_OUTPUT

TIME_FACTOR = float(os.environ.get("EXECUTORLIB_TEST_TIME_FACTOR", "1"))

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
