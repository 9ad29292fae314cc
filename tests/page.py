"""The examples of the reference's integration page, as printed there, and the same with another class name."""

CLASS = "SingleNodeExecutor"

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

OMP4PY = """\
import random
from omp4py import omp
from executorlib import SingleNodeExecutor

@omp
def calc_pi(num_points):
    count = 0
    with omp("parallel for reduction(+:count)"):
        for i in range(num_points):
            x = random.random()
            y = random.random()
            if x * x + y * y <= 1.0:
                count += 1
    return 4 * (count / num_points)

with SingleNodeExecutor() as exe:
    future = exe.submit(calc_pi, 10000000, resource_dict={"threads_per_core": 4})
    print(future.result())
"""

PYLAMMPSMPI = """\
from ase.build import bulk
from atomistics.calculators import (
    calc_molecular_dynamics_nvt_with_lammpslib,
    get_potential_by_name,
)
from pylammpsmpi import LammpsASELibrary
from executorlib import SingleNodeExecutor

structure = bulk("Ti")
potential = get_potential_by_name(potential_name="2016--Mendelev-M-I--Ti-3--LAMMPS--ipr1")

with SingleNodeExecutor(resource_dict={"cores": 2}) as exe:
    lmp = LammpsASELibrary(executor=exe)
    result_dict = calc_molecular_dynamics_nvt_with_lammpslib(
        structure=structure,
        potential_dataframe=potential,
        lmp=lmp,
    )
    lmp.close()
"""


def on(executor, text):
    """The example *text* with the name of the class changed to *executor*, and nothing else."""
    return text.replace(CLASS, executor)
