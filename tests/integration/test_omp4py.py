"""The integration page's omp4py example, as printed there; and how many threads omp4py has then."""

import os

import pytest
import support
from page import OMP4PY

pytest.importorskip("omp4py", reason="omp4py is not installed")

TIME_FACTOR = float(os.environ.get("EXECUTORLIB_TEST_TIME_FACTOR", "1"))

THREADS = """\
from omp4py import omp, omp_get_max_threads, omp_get_num_threads, omp_get_thread_num
from executorlib import SingleNodeExecutor

@omp
def threads():
    found = []
    with omp("parallel"):
        with omp("critical"):
            found.append((omp_get_num_threads(), omp_get_thread_num()))
    return omp_get_max_threads(), sorted(found)

for block in (False, True):
    for number in (1, 2, 4):
        request = {"threads_per_core": number}
        with SingleNodeExecutor(max_workers=1, block_allocation=block, resource_dict=request) as exe:
            found = exe.submit(threads).result()
            assert found == (number, [(number, thread) for thread in range(number)]), (block, number, found)
print("as asked for")
"""


def run(folder, text):
    done = support.run_script(folder, text, timeout=200 * TIME_FACTOR)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_page(tmp_path):
    assert 3.13 < float(run(tmp_path, OMP4PY)) < 3.15


def test_as_many_threads_as_asked_for(tmp_path):
    assert run(tmp_path, THREADS).strip() == "as asked for"
