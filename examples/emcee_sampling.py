"""Sample a Gaussian posterior with emcee on executorlib.

emcee asks its pool for nothing but ``map()``, so an executor can be handed to it as it is. The chain is
compared with the one of a serial run: with the same seed both must agree to the last bit.
"""

import sys
import time

import emcee
import numpy as np

from executorlib import SingleNodeExecutor

SEED = 42
STEPS = 100


def log_prob(theta):
    return -0.5 * np.sum(theta**2)


def sample(pool=None):
    """Run the sampler from a fixed seed; ``pool=None`` is emcee's serial mode."""
    np.random.seed(SEED)
    initial = np.random.randn(32, 5)
    nwalkers, ndim = initial.shape
    sampler = emcee.EnsembleSampler(nwalkers, ndim, log_prob, pool=pool)
    sampler.run_mcmc(initial, STEPS, progress=False)
    return sampler.get_chain()


def sample_on_executor():
    with SingleNodeExecutor(block_allocation=True) as exe:
        return sample(pool=exe)


def main():
    start = time.perf_counter()
    chain = sample_on_executor()
    seconds = time.perf_counter() - start
    if not np.array_equal(chain, sample()):
        print("FAILED: the chain differs from the serial one", file=sys.stderr)
        return 1
    print(f"emcee: {chain.shape[1]} walkers, {chain.shape[0]} steps in {seconds:.3f} s")
    print(f"standard deviation of the samples: {chain.std():.2f} (the posterior's is 1)")
    print("identical to the serial chain")
    return 0


if __name__ == "__main__":
    sys.exit(main())
