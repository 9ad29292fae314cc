"""GPAW over MPI ranks that the executor starts, each call with the communicator of its own ranks."""

import importlib.util

import pytest
from support import SOON, needs_mpi

from executorlib import SingleNodeExecutor

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(importlib.util.find_spec("gpaw") is None, reason="needs gpaw and its setups"),
    needs_mpi,
]


def energy_of_aluminium(lattice):
    """In eV, for one lattice constant in Å; and the number of ranks that it took."""
    import os

    os.environ["GPAW_MPI4PY"] = "1"
    from ase.build import bulk
    from gpaw import GPAW, PW
    from gpaw.mpi4pywrapper import MPI4PYWrapper
    from mpi4py import MPI

    structure = bulk("Al", a=lattice)
    structure.calc = GPAW(mode=PW(200), kpts=(2, 2, 2), txt=None, communicator=MPI4PYWrapper(MPI.COMM_WORLD))
    return float(structure.get_potential_energy()), MPI.COMM_WORLD.Get_size()


def test_energies_over_volume():
    lattices = (3.9, 4.05, 4.2)
    with SingleNodeExecutor(max_cores=2) as exe:
        parallel = [exe.submit(energy_of_aluminium, a, resource_dict={"cores": 2}) for a in lattices]
        serial = [exe.submit(energy_of_aluminium, a) for a in lattices]
        for over_ranks, alone in zip(parallel, serial):
            energy, ranks = alone.result(timeout=5 * SOON)
            assert ranks == 1
            assert over_ranks.result(timeout=5 * SOON) == [(pytest.approx(energy, abs=1e-6), 2)] * 2
