"""What a refused command says."""

import pickle
import subprocess

import pytest

from executorlib._refusal import CommandError


@pytest.mark.parametrize(
    ("output", "words"),
    [("sbatch: error: invalid partition\n", "invalid partition"), ("", "wrote nothing"), (None, "wrote")],
)
def test_it_says_what_the_command_wrote(output, words):
    error = pickle.loads(pickle.dumps(CommandError(1, ["sbatch", "--partition=a b"], output, "")))
    assert isinstance(error, subprocess.CalledProcessError)
    assert (error.returncode, error.cmd, error.output) == (1, ["sbatch", "--partition=a b"], output)
    assert words in str(error)
    assert "sbatch '--partition=a b'" in str(error)
