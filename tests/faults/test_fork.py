"""fork() in the user's process: the engine is the parent's alone."""

import re

import pytest
from support import SOON, Driver, run_script

HEAD = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import functions
from executorlib import SingleNodeExecutor
workers, block = int(sys.argv[1]), sys.argv[2] == "True"
exe = SingleNodeExecutor(max_workers=workers, block_allocation=block)
done = exe.submit(abs, -1)
done.result()
held = exe.submit(functions.identity, 7)
def in_child(action):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            action()
        except RuntimeError as error:
            print("refused:", error, flush=True)
        os._exit(0)
    print("child ended with", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
TAIL = """
print("parent:", held.result(), exe.submit(abs, -3).result(), flush=True)
exe.shutdown()
"""


def run(tmp_path, mode, source):
    result = run_script(tmp_path, HEAD + source + TAIL, mode.workers, mode.block)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[-1] == "parent: 7 3"
    return lines[:-1]


@pytest.mark.parametrize(
    "action",
    [
        "exe.submit(abs, -2)",
        "list(exe.map(abs, [-2]))",
        "exe.submit(abs, -2).result()",
        "exe.shutdown()",
        "exe.batched([exe.submit(abs, -2)], 1)",
    ],
)
def test_every_entry_point_refuses_clearly(tmp_path, mode, action):
    lines = run(tmp_path, mode, f"in_child(lambda: {action})")
    assert lines[-1] == "child ended with 0"
    if "shutdown" not in action:
        assert re.match("refused: .*(fork|parent process)", lines[0])


def test_a_pending_future_refuses_to_be_waited_for(tmp_path, mode, make_gate):
    gate = make_gate()
    source = f"""
pending = exe.submit(functions.pass_gate, {gate.folder!r})
in_child(lambda: pending.result(timeout=60))
"""
    with Driver(tmp_path, HEAD + source + TAIL, mode.workers, mode.block) as driver:
        gate.arrival()
        assert re.search("fork|parent process", driver.expect("refused:"))
        assert driver.expect("child ended with") == "0"
        gate.open()
        assert driver.expect("parent:") == "7 3"
        assert driver.process.wait(SOON) == 0


def test_a_result_taken_before_is_still_there(tmp_path, mode):
    assert run(tmp_path, mode, "in_child(lambda: print(done.result(), flush=True))")[0] == "1"


def test_the_childs_descriptors_of_the_engine_are_closed(tmp_path, mode):
    """A child that lives long must not keep the workers' channels open."""
    source = """
def sockets():
    targets = []
    for name in os.listdir("/proc/self/fd"):
        try:
            targets.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            pass
    print("sockets", sum(target.startswith(("socket:", "anon_inode:")) for target in targets), flush=True)
in_child(sockets)
"""
    assert run(tmp_path, mode, source)[0] == "sockets 0"


@pytest.mark.parametrize("ending", ["sys.exit(0)", "os._exit(0)", "pass"])
def test_the_end_of_the_child_harms_nobody(tmp_path, mode, ending):
    """It runs exit handlers and destructors, or does not; the parent's workers go on either way."""
    source = f"""
sys.stdout.flush()
pid = os.fork()
if pid == 0:
    {ending}
    sys.exit(0)
print("child ended with", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
    assert run(tmp_path, mode, source) == ["child ended with 0"]


def test_multiprocessing_with_fork(tmp_path, mode):
    source = """
import multiprocessing
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(abs, [-1, -2]), flush=True)
"""
    assert run(tmp_path, mode, source) == ["[1, 2]"]


def test_deleting_the_executor_in_the_child(tmp_path, mode):
    source = """
def delete():
    global exe, done, held
    import gc
    del exe, done, held
    gc.collect()
    print("deleted", flush=True)
in_child(delete)
"""
    assert run(tmp_path, mode, source)[0] == "deleted"


def test_subprocesses_of_the_driver_inherit_nothing(tmp_path, mode):
    source = """
import subprocess
listing = subprocess.run(["ls", "/proc/self/fd"], capture_output=True, text=True, close_fds=False).stdout.split()
print(sorted(map(int, listing)) <= [0, 1, 2, 3, 4], flush=True)
"""
    assert run(tmp_path, mode, source) == ["True"]
