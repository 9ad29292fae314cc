"""Libraries that take an executor, a pool or a map: each gives with ours what it gives without, to the last bit."""

import random

import numpy
import pytest
from scipy import integrate, optimize, stats

from executorlib import SingleNodeExecutor

pytestmark = pytest.mark.timeout(300)


class Serial:
    """A pool of nobody."""

    map = staticmethod(map)


@pytest.fixture
def exe():
    with SingleNodeExecutor(max_workers=2, block_allocation=True) as exe:
        yield exe


def log_likelihood(x):
    return -0.5 * float(numpy.sum(numpy.asarray(x) ** 2))


def prior(u):
    return 10 * numpy.asarray(u) - 5


def vector(x):
    return numpy.array([numpy.sin(x), x**2])


def distances(x):
    return numpy.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])


SCIPY = {
    "minimize": lambda pool: (
        optimize.minimize(optimize.rosen, [0.5] * 3, method="L-BFGS-B", options={"workers": pool.map}).x
    ),
    "least_squares": lambda pool: optimize.least_squares(distances, [2.0, 2.0], workers=pool.map).x,
    "brute": lambda pool: optimize.brute(log_likelihood, ((-1, 1), (-1, 1)), Ns=4, workers=pool.map, finish=None),
    "quad_vec": lambda pool: integrate.quad_vec(vector, 0, 1, workers=pool.map)[0],
    "cubature": lambda pool: integrate.cubature(numpy.sin, [0], [1], workers=pool.map).estimate,
    "multiscale_graphcorr": lambda pool: (
        stats.multiscale_graphcorr(
            numpy.arange(8.0), numpy.arange(8.0) ** 2, reps=4, workers=pool.map, random_state=1
        ).pvalue
    ),
}


@pytest.mark.filterwarnings("ignore:The number of replications is low")
def test_scipy(exe):
    pytest.importorskip("scipy", minversion="1.16", reason="SciPy 1.16 has the last of these parameters")
    for name, compute in SCIPY.items():
        assert numpy.array_equal(compute(exe), compute(Serial())), name


def test_cma(exe):
    cma = pytest.importorskip("cma")

    def best(pool):
        strategy = cma.CMAEvolutionStrategy([0.5, 0.5], 0.3, {"seed": 2, "verbose": -9, "maxiter": 5})
        while not strategy.stop():
            candidates = strategy.ask()
            strategy.tell(candidates, list(pool.map(optimize.rosen, candidates)))
        return strategy.result.fbest

    assert best(exe) == best(Serial())


def test_deap(exe):
    """Its individuals are of classes that are made while the program runs."""
    base = pytest.importorskip("deap.base")
    from deap import algorithms, creator, tools

    creator.create("Fitness", base.Fitness, weights=(-1.0,))
    creator.create("Individual", list, fitness=creator.Fitness)

    def best(pool):
        random.seed(1)
        toolbox = base.Toolbox()
        toolbox.register("map", pool.map)
        toolbox.register("individual", tools.initRepeat, creator.Individual, random.random, 3)
        toolbox.register("evaluate", lambda individual: (sum(x * x for x in individual),))
        toolbox.register("mate", tools.cxTwoPoint)
        toolbox.register("mutate", tools.mutGaussian, mu=0, sigma=0.1, indpb=0.5)
        toolbox.register("select", tools.selTournament, tournsize=3)
        start = [toolbox.individual() for _ in range(8)]
        population, _ = algorithms.eaSimple(start, toolbox, 0.5, 0.2, 3, verbose=False)
        return min(individual.fitness.values for individual in population)

    assert best(exe) == best(Serial())


@pytest.mark.filterwarnings("ignore:The sampling was stopped short")
def test_dynesty(exe):
    dynesty = pytest.importorskip("dynesty")

    def evidence(pool):
        rng = numpy.random.default_rng(1)
        sampler = dynesty.NestedSampler(log_likelihood, prior, 2, nlive=20, rstate=rng, pool=pool, queue_size=2)
        sampler.run_nested(maxiter=60, print_progress=False)
        return sampler.results.logz[-1]

    assert evidence(exe) == evidence(Serial())
