"""The reference, executorlib 1.11.0, in a virtual environment of its own: both packages import by the same name."""

import os
import pathlib
import subprocess
import sys
import venv

REQUIREMENTS = ("executorlib==1.11.0", "numpy", "emcee", "tqdm", "mpi4py", "mpich", "h5py")
FOLDER = pathlib.Path(__file__).resolve().parent.parent / ".venv-reference"
VARIABLE = "EXECUTORLIB_REFERENCE_PYTHON"


def _complete(interpreter):
    command = [interpreter, "-c", "import executorlib, numpy, emcee, tqdm, mpi4py, h5py"]
    return interpreter.exists() and subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


def python(given=None):
    """Interpreter with the reference: `given`, else the one named by the environment variable
    EXECUTORLIB_REFERENCE_PYTHON, else that of .venv-reference at the root of the repository, made when missing.

    Raises
    ------
    subprocess.CalledProcessError
        When pip cannot install the reference.
    """
    chosen = given or os.environ.get(VARIABLE)
    if chosen:
        return chosen
    interpreter = FOLDER / "bin" / "python"
    if not _complete(interpreter):
        print(f"installing {REQUIREMENTS[0]} into {FOLDER}", file=sys.stderr)
        venv.create(FOLDER, with_pip=True, clear=True)
        subprocess.run([interpreter, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True, stdout=sys.stderr)
    return str(interpreter)
