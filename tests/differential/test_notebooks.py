"""The Slurm cells of the reference's notebooks on HPC clusters and HPC jobs run unchanged.

EXECUTORLIB_REFERENCE_NOTEBOOKS names a folder with copies of them, from github.com/pyiron/executorlib. What a site
would have is put around them: the partitions they name, none of which is the default, and an accounting.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import support
from beds.slurm import SlurmBed, missing
from slurm.nodes import Job

FOLDER = os.environ.get("EXECUTORLIB_REFERENCE_NOTEBOOKS")

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not FOLDER, reason="EXECUTORLIB_REFERENCE_NOTEBOOKS does not name a folder with notebooks"),
]

#: Runs cells in one namespace, as a notebook does, and says how each has ended.
RUNNER = """
import json, sys, traceback, warnings
from executorlib import SlurmClusterExecutor, SlurmJobExecutor
warnings.simplefilter("ignore")
cells = json.load(open(sys.argv[1]))
for number, cell in enumerate(cells):
    print(f"--- cell {number}", flush=True)
    try:
        exec(compile(cell, f"<cell {number}>", "exec"), globals())
    except Exception as error:
        traceback.print_exc()
        print("raised", type(error).__name__, flush=True)
"""

#: This bed keeps no accounts.
SACCT = """\
#!/bin/sh
echo "JobID State AllocCPUS Elapsed"
scontrol --oneliner show job "$2" | tr ' ' '\\n' | grep -E '^(JobId|JobState|NumCPUs|RunTime)='
"""


def slurm_cells(name):
    """The Python of code cells and texts of a notebook that has to do with Slurm's executors, and with no Flux."""
    (path,) = Path(FOLDER).glob(name)
    found = []
    for cell in json.loads(path.read_text())["cells"]:
        text = "".join(cell["source"])
        blocks = [text] if cell["cell_type"] == "code" else re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        found += [block for block in blocks if re.search("Slurm|get_cache_data|excep", block) and "lux" not in block]
    return found


def outside_a_job(cell):
    return "SlurmJobExecutor" not in cell or "SlurmClusterExecutor" in cell


def run(bed, cells, folder, **variables):
    programs = folder / "bin"
    programs.mkdir()
    (programs / "sacct").write_text(SACCT)
    (programs / "sacct").chmod(0o700)
    (folder / "cells.json").write_text(json.dumps(cells))
    (folder / "run.py").write_text(RUNNER)
    env = {**support.script_environment(**bed.variables), **variables}
    env["PATH"] = f"{programs}:{env['PATH']}"
    done = subprocess.run(
        [sys.executable, "run.py", "cells.json"], cwd=folder, env=env, timeout=200, capture_output=True, text=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    said = dict(enumerate(re.split(r"--- cell \d+\n", done.stdout)[1:]))
    assert done.returncode == 0 and len(said) == len(cells), done.stdout + done.stderr
    return said, done.stderr


@pytest.fixture
def bed():
    if reason := missing():
        pytest.skip(reason)
    with SlurmBed() as bed:
        yield bed


def test_hpc_cluster(bed, tmp_path):
    bed.run("scontrol", "update", "PartitionName=main", "Default=NO")
    for partition in ("s.cmfe", "regular"):
        bed.run("scontrol", "create", f"PartitionName={partition}", "Nodes=ALL")
    cells = [cell for cell in slurm_cells("2-*.ipynb") if outside_a_job(cell)]
    # What names no partition is for sites that have a default one …
    plain = [cell for cell in cells if not re.search("partition|echo|excep|get_cache_data", cell)]
    others = [cell for cell in cells if cell not in plain]
    said, errors = run(bed, others, tmp_path)
    text = "".join(said.values())
    assert "8\n" in text and "'size': 4" in text and "[0, 2, 4, 6]" in text, text + errors
    # … and where there is none, one fails as the notebook says, in the next cell too.
    raised = [number for number, part in said.items() if "raised" in part]
    assert [said[number].split()[-1] for number in raised] == ["CalledProcessError"], text + errors
    assert "sbatch: error: Batch job submission failed: No partition specified" in text, text + errors
    assert "NumCPUs=4" in text  # what the notebook asks the accounting of a call
    bed.run("scontrol", "update", "PartitionName=main", "Default=YES")
    folder = tmp_path / "plain"
    folder.mkdir()
    said, errors = run(bed, plain, folder)
    text = "".join(said.values())
    assert "raised" not in text, text + errors
    assert text.count("[2, 4, 6]") == 2


def test_hpc_job(bed, tmp_path):
    cells = [cell for cell in slurm_cells("3-*.ipynb") + slurm_cells("2-*.ipynb") if not outside_a_job(cell)]
    assert len(cells) >= 2
    said, errors = run(bed, cells, tmp_path, **Job(bed).variables)
    text = "".join(said.values())
    assert "raised" not in text, text + errors
    assert "2\n" in text and "[0, 2, 4, 6]" in text
