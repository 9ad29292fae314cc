"""Every way in which an executor can end, each with one documented outcome.

Pending work completes; the interpreter then ends with the exit status that the script asked for.
"""

import pytest
from support import SOON, Driver, run_script

HEAD = """
import gc, os, sys
import functions
from executorlib import SingleNodeExecutor
log, workers, block = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True"
def submit_to(exe):
    return [exe.submit(functions.append_line, log, n) for n in range(5)]
def make():
    return SingleNodeExecutor(max_workers=workers, block_allocation=block)
"""

#: What the script does at its end, its exit status, and a word of the traceback that is expected on stderr.
ENDINGS = {
    "with": ("with make() as exe:\n    submit_to(exe)", 0, None),
    "shutdown": ("exe = make()\nsubmit_to(exe)\nexe.shutdown()", 0, None),
    "shutdown without waiting": ("exe = make()\nsubmit_to(exe)\nexe.shutdown(wait=False)", 0, None),
    "del": ("exe = make()\nfutures = submit_to(exe)\ndel exe\nprint(len([f.result() for f in futures]))", 0, None),
    "del of everything": ("exe = make()\nfutures = submit_to(exe)\ndel exe, futures", 0, None),
    "never bound to a name": ("submit_to(make())", 0, None),
    "garbage collection of a cycle": ("exe = make()\nexe.me = exe\nsubmit_to(exe)\ndel exe\ngc.collect()", 0, None),
    "cycle through a callback": (
        "exe = make()\nfor f in submit_to(exe): f.add_done_callback(lambda _, e=exe: e)\ndel exe, f", 0, None,
    ),
    "end of script": ("exe = make()\nfutures = submit_to(exe)", 0, None),
    "end of script after results": ("exe = make()\nfor f in submit_to(exe): f.result()", 0, None),
    "end of script in a function": ("def main():\n    exe = make()\n    submit_to(exe)\nmain()", 0, None),
    "sys.exit": ("exe = make()\nsubmit_to(exe)\nsys.exit(3)", 3, None),
    "sys.exit in with": ("with make() as exe:\n    submit_to(exe)\n    sys.exit(3)", 3, None),
    "uncaught exception": ("exe = make()\nsubmit_to(exe)\nraise LookupError('mine')", 1, "LookupError: mine"),
    "uncaught exception in with": (
        "with make() as exe:\n    submit_to(exe)\n    raise LookupError('mine')", 1, "LookupError: mine",
    ),
    "rebinding": ("exe = make()\nsubmit_to(exe)\nexe = make()\nprint(exe.submit(abs, -5).result())", 0, None),
    "rebinding many times": ("for n in range(5):\n    exe = make()\n    if n == 2: submit_to(exe)", 0, None),
    "module attribute": ("import functions as f\nf.exe = make()\nsubmit_to(f.exe)", 0, None),
    "held by a future's callback": (
        "exe = make()\nfutures = submit_to(exe)\nfutures[0].add_done_callback(lambda f: None)", 0, None,
    ),
    "end of another thread": (
        "import threading\nt = threading.Thread(target=lambda: submit_to(make()))\nt.start()\nt.join()", 0, None,
    ),
    "submission from a thread that outlives the main thread": (
        "import threading\ndef late():\n    threading.main_thread().join()\n    submit_to(exe)\n"
        "exe = make()\nsubmit_to(exe)\nthreading.Thread(target=late).start()", 0, "ANY",
    ),
    "daemon thread waiting": (
        "import threading\nexe = make()\nfs = submit_to(exe)\n"
        "threading.Thread(target=lambda: [f.result() for f in fs], daemon=True).start()", 0, None,
    ),
    "exit handler registered before": (
        "import atexit\natexit.register(print, 'handler')\nexe = make()\nsubmit_to(exe)", 0, None,
    ),
    "future only": ("f = submit_to(make())[-1]\nprint(f.result())", 0, None),
    "chain": (
        "exe = make()\nsubmit_to(exe)\nf = exe.submit(abs, -1)\nfor _ in range(20): f = exe.submit(abs, f)", 0, None,
    ),
    "weakref callback": ("import weakref\nexe = make()\nr = weakref.ref(exe)\nsubmit_to(exe)\ndel exe", 0, None),
}  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
def test_pending_work_completes(tmp_path, mode, ending):
    source, code, complaint = ENDINGS[ending]
    log = tmp_path / "log"
    result = run_script(tmp_path, HEAD + source, log, mode.workers, mode.block)
    assert result.returncode == code, result.stderr
    assert sorted(set(log.read_text().split())) == list("01234")
    if complaint is None:
        assert result.stderr == ""
    elif complaint != "ANY":
        assert result.stderr.rstrip().endswith(complaint) and "Exception ignored" not in result.stderr


def test_cancelling_shutdown_leaves_the_rest_undone(tmp_path, mode, make_gate):
    gate = make_gate()
    source = """
gate = sys.argv[4]
exe = make()
held = [exe.submit(functions.pass_gate, gate) for _ in range(workers)]
print("ready")
sys.stdin.readline()
futures = submit_to(exe)
exe.shutdown(wait=False, cancel_futures=True)
print("cancelled", all(future.cancelled() for future in futures))
"""
    log = tmp_path / "log"
    with Driver(tmp_path, HEAD + source, log, mode.workers, mode.block, gate.folder) as driver:
        driver.expect("ready")
        gate.arrivals(mode.workers)
        driver.say()
        assert driver.expect("cancelled") == "True"
        gate.open()
        assert driver.process.wait(SOON) == 0
    assert not log.exists()


@pytest.mark.parametrize("unused", ["exe = make()", "with make(): pass", "make()", "exe = make(); exe.shutdown()"])
def test_unused(tmp_path, mode, unused):
    result = run_script(tmp_path, HEAD + unused, tmp_path / "log", mode.workers, mode.block)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_results_printed_by_callbacks_at_the_end(tmp_path, mode):
    """Callbacks of work that completes at the interpreter's end still run."""
    source = "exe = make()\nfor f in submit_to(exe): f.add_done_callback(lambda f: print('done', f.result()))"
    result = run_script(tmp_path, HEAD + source, tmp_path / "log", mode.workers, mode.block)
    assert sorted(result.stdout.splitlines()) == [f"done {n}" for n in range(5)]
    assert (result.returncode, result.stderr) == (0, "")


def test_submission_in_an_exit_handler_is_refused(tmp_path, mode):
    source = """
import atexit
@atexit.register
def late():
    try:
        exe.submit(abs, -1)
    except RuntimeError as error:
        print("refused:", error)
exe = make()
exe.submit(abs, -1).result()
"""
    result = run_script(tmp_path, HEAD + source, tmp_path / "log", mode.workers, mode.block)
    assert "refused: cannot schedule new futures" in result.stdout
    assert result.returncode == 0


def test_failing_calls_at_the_end(tmp_path, mode):
    """Work that fails, or kills its worker, at the interpreter's end delays nothing."""
    source = """
exe = make()
exe.submit(functions.divide, 1, 0)
exe.submit(functions.crash, "SIGKILL")
submit_to(exe)
"""
    log = tmp_path / "log"
    result = run_script(tmp_path, HEAD + source, log, mode.workers, mode.block)
    assert (result.returncode, result.stderr) == (0, "")
    assert sorted(log.read_text().split()) == list("01234")


def test_interactive_interpreter(tmp_path, mode):
    """As typed at a prompt or in a notebook: rebinding, then the end of input."""
    import subprocess
    import sys

    from support import script_environment

    lines = (
        "from executorlib import SingleNodeExecutor\n"
        f"exe = SingleNodeExecutor(max_workers={mode.workers}, block_allocation={mode.block})\n"
        "def triple(x): return 3 * x\n"
        "\n"
        "print(exe.submit(triple, 2).result())\n"
        f"exe = SingleNodeExecutor(max_workers={mode.workers}, block_allocation={mode.block})\n"
        "print(exe.submit(triple, 3).result())\n"
    )
    done = subprocess.run(
        [sys.executable, "-i", "-q"], input=lines, capture_output=True, text=True, timeout=30, cwd=tmp_path,
        env=script_environment(),
    )  # fmt: skip
    assert done.stdout.split() == ["6", "9"] and done.returncode == 0
    assert "Traceback" not in done.stderr and "ignored" not in done.stderr
