"""The emcee example of the integration page, as printed, with each pool in place of the executor."""

import sys
import time

TITLE = "emcee example of the integration page"
PEERS = ("serial", "pool", "process", "thread", "loky", "reference", "ours")
METRICS = {
    "total_s": "with-block: constructor, sampling, shutdown [s]",
    "sampling_s": "sampling alone [s]",
}
ROUNDS = (2, 5)
TIMEOUT_S = 120

EXAMPLE = """
import numpy as np
import emcee

def log_prob(theta):
    return -0.5 * np.sum(theta**2)

initial = np.random.randn(32, 5)
nwalkers, ndim = initial.shape
"""


def measure(peer, quick):
    main = sys.modules["__main__"].__dict__
    exec(EXAMPLE, main)  # in __main__, where the example's reader has it
    emcee, log_prob, initial = main["emcee"], main["log_prob"], main["initial"]
    nwalkers, ndim = initial.shape
    while True:
        start = time.perf_counter()
        with peer.page() as exe:
            sampler = emcee.EnsembleSampler(nwalkers, ndim, log_prob, pool=exe)
            before = time.perf_counter()
            sampler.run_mcmc(initial, 100, progress=True)
            after = time.perf_counter()
        total = time.perf_counter() - start
        if sampler.get_chain().shape != (100, nwalkers, ndim):
            raise AssertionError("the chain is incomplete")
        yield {"total_s": total, "sampling_s": after - before}
