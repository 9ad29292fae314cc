"""A code that is no Python: each call starts Quantum ESPRESSO with mpiexec, in a folder of its own."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import mpis
import pytest

from executorlib import SingleNodeExecutor

PSEUDOPOTENTIAL = Path("/usr/share/espresso/pseudo/Al.pz-vbc.UPF")  # where Debian's package has it
LAUNCHER = mpis.OPEN_MPI.launcher()  # of the MPI that Debian's is built with

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("pw.x") is None, reason="needs Quantum ESPRESSO's pw.x"),
    pytest.mark.skipif(not PSEUDOPOTENTIAL.exists(), reason=f"needs {PSEUDOPOTENTIAL}"),
    pytest.mark.skipif(LAUNCHER is None, reason="needs the mpiexec of Open MPI"),
]

INPUT = """\
&control calculation = 'scf', pseudo_dir = '{folder}', outdir = '.' /
&system ibrav = 2, celldm(1) = {lattice}, nat = 1, ntyp = 1, ecutwfc = 12,
        occupations = 'smearing', degauss = 0.05 /
&electrons /
ATOMIC_SPECIES
Al 26.98 {file}
ATOMIC_POSITIONS alat
Al 0 0 0
K_POINTS automatic
2 2 2 1 1 1
"""


def total_energy(lattice, *launcher):
    """In Ry, of fcc aluminium with a lattice constant in Bohr; and the number of MPI processes that it took."""
    text = INPUT.format(lattice=lattice, folder=PSEUDOPOTENTIAL.parent, file=PSEUDOPOTENTIAL.name)
    Path("scf.in").write_text(text)
    done = subprocess.run([*launcher, "pw.x", "-in", "scf.in"], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    found = re.search(r"!\s+total energy\s+=\s+(\S+) Ry", done.stdout)
    processes = re.search(r"\(MPI\), running on\s+(\d+) processors", done.stdout)
    return float(found[1]), int(processes[1])


def in_folder(folder, *arguments):
    folder.mkdir()
    os.chdir(folder)
    return total_energy(*arguments)


@pytest.fixture
def serial(tmp_path, monkeypatch):
    for name, value in mpis.AS_ROOT.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "serial"
    folder.mkdir()
    with monkeypatch.context() as here:
        here.chdir(folder)
        return {lattice: total_energy(lattice, LAUNCHER, "-n", "1")[0] for lattice in (7.3, 7.5, 7.7)}


@pytest.mark.parametrize("block", [False, True], ids=["per_call", "block"])
def test_energies_over_volume(block, serial, tmp_path):
    launcher = [LAUNCHER, "--oversubscribe", "-n", "2"]
    with SingleNodeExecutor(max_workers=2, block_allocation=block, resource_dict={"threads_per_core": 2}) as exe:
        futures = {lattice: exe.submit(in_folder, tmp_path / str(lattice), lattice, *launcher) for lattice in serial}
        found = {lattice: future.result() for lattice, future in futures.items()}
    assert {processes for _, processes in found.values()} == {2}
    assert {lattice: energy for lattice, (energy, _) in found.items()} == pytest.approx(serial, abs=1e-6)
    assert serial[7.5] < min(serial[7.3], serial[7.7])
