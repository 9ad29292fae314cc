"""The driver dies: everything it started is gone within a second."""

import os
import signal

import pytest
from support import AT_ONCE, SOON, Driver, alive_after, descendants, kill_quietly

pytestmark = pytest.mark.orphans

RUNNING = """
import os, sys
from executorlib import SingleNodeExecutor
import functions
gate, workers, block = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True"
exe = SingleNodeExecutor(max_workers=workers, block_allocation=block)
futures = [exe.submit(functions.start_family, gate) for _ in range(workers)]
"""


def run_until_calls_run(tmp_path, gate, mode, ending):
    driver = Driver(tmp_path, RUNNING + ending, gate.folder, mode.workers, mode.block)
    family = [pid for _ in range(mode.workers) for pid in gate.arrival()]
    return driver, family


def test_killed(tmp_path, make_gate, mode):
    gate = make_gate()
    driver, family = run_until_calls_run(tmp_path, gate, mode, "futures[0].result()")
    with driver:
        everything = set(family) | set(descendants(driver.pid))
        os.kill(driver.pid, signal.SIGKILL)
        assert not alive_after(everything, AT_ONCE)


def test_killed_while_idle(tmp_path, make_gate, mode):
    source = """
    import sys
    from executorlib import SingleNodeExecutor
    exe = SingleNodeExecutor(max_workers=int(sys.argv[1]), block_allocation=sys.argv[2] == "True")
    exe.submit(abs, -1).result()
    print("idle")
    sys.stdin.read()
    """
    with Driver(tmp_path, source, mode.workers, mode.block) as driver:
        driver.expect("idle")
        everything = descendants(driver.pid)
        assert everything
        os.kill(driver.pid, signal.SIGKILL)
        assert not alive_after(everything, AT_ONCE)


def test_killed_while_a_forked_child_of_the_driver_lives(tmp_path, make_gate, mode):
    """The child holds a copy of every descriptor of the driver, so nobody sees an end of file."""
    gate = make_gate()
    ending = """
child = os.fork()
if child == 0:
    import signal
    while True:
        signal.pause()
print("child", child)
futures[0].result()
"""
    driver, family = run_until_calls_run(tmp_path, gate, mode, ending)
    with driver:
        child = int(driver.expect("child"))
        try:
            everything = (set(family) | set(descendants(driver.pid))) - {child}
            os.kill(driver.pid, signal.SIGKILL)
            assert not alive_after(everything, AT_ONCE)
            assert alive_after([child], 0) == [child], "the user's own child is none of our business"
        finally:
            kill_quietly([child])


def test_killed_from_a_thread_that_started_the_executor(tmp_path, make_gate, mode):
    """The thread that made the executor ends; that is not the death of the driver."""
    gate = make_gate()
    source = """
    import sys, threading
    import functions
    from executorlib import SingleNodeExecutor
    gate, workers, block = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True"
    made = []
    def make():
        made.append(SingleNodeExecutor(max_workers=workers, block_allocation=block))
        made[0].submit(abs, -1).result()
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    future = made[0].submit(functions.start_family, gate)
    print("running")
    future.result()
    """
    with Driver(tmp_path, source, gate.folder, mode.workers, mode.block) as driver:
        family = gate.arrival()
        driver.expect("running")
        everything = set(family) | set(descendants(driver.pid))
        assert alive_after(family, 0.2) == sorted(family)
        os.kill(driver.pid, signal.SIGKILL)
        assert not alive_after(everything, AT_ONCE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGABRT])
def test_ended_by_another_signal(tmp_path, make_gate, mode, number):
    if mode.workers == 2:
        pytest.skip("one worker shows it")
    gate = make_gate()
    silence = "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); futures[0].result()"
    driver, family = run_until_calls_run(tmp_path, gate, mode, silence)
    with driver:
        everything = set(family) | set(descendants(driver.pid))
        os.kill(driver.pid, number)
        assert not alive_after([*everything, driver.pid], AT_ONCE)


def test_os_exit(tmp_path, make_gate, mode):
    gate = make_gate()
    driver, family = run_until_calls_run(tmp_path, gate, mode, "sys.stdin.readline(); os._exit(0)")
    with driver:
        everything = set(family) | set(descendants(driver.pid))
        driver.say()
        assert not alive_after([*everything, driver.pid], AT_ONCE)


def test_replaced_by_another_program(tmp_path, make_gate, mode):
    """execv keeps the pid: the driver's program is gone though its process lives."""
    gate = make_gate()
    ending = "sys.stdin.readline(); os.execv('/bin/sleep', ['sleep', '3600'])"
    driver, family = run_until_calls_run(tmp_path, gate, mode, ending)
    with driver:
        everything = set(family) | set(descendants(driver.pid))
        driver.say()
        assert not alive_after(everything, SOON)


def test_killed_while_starting(tmp_path, mode):
    """Killed right after the constructor, wherever the zygote is on its way."""
    source = """
    import os, signal, sys
    from executorlib import SingleNodeExecutor
    exe = SingleNodeExecutor(max_workers=int(sys.argv[1]), block_allocation=sys.argv[2] == "True")
    future = exe.submit(abs, -1)
    print("submitted")
    sys.stdin.read()
    """
    with Driver(tmp_path, source, mode.workers, mode.block) as driver:
        driver.expect("submitted")
        everything = descendants(driver.pid)
        os.kill(driver.pid, signal.SIGKILL)
        assert not alive_after(everything, AT_ONCE)
