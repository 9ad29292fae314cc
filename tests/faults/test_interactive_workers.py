"""Workers behind a SocketInterface die, at every stage; so does their driver. Nobody waits for the dead."""

import os
import signal
import subprocess
import sys
import threading
import time

import mpi_functions
import mpis
import pytest
from support import AT_ONCE, SOON, Driver, alive_after

from executorlib.api import (
    ExecutorlibSocketError,
    MpiExecSpawner,
    SocketInterface,
    SubprocessSpawner,
    WorkerLostError,
    get_command_path,
)

SERIAL = get_command_path("interactive_serial.py")
PARALLEL = get_command_path("interactive_parallel.py")


class PollOnly(SubprocessSpawner):
    """A spawner that has no process to show, only what `poll()` says."""

    _child = None

    def bootup(self, command_lst, stop_function=None):
        if self._child is not None:
            self._child.wait(SOON)
        self._child = subprocess.Popen(command_lst, stdin=subprocess.DEVNULL)
        return self.poll()

    def poll(self):
        return self._child is not None and self._child.poll() is None

    def shutdown(self, wait=True):
        self._child.wait(SOON)


def call(fn, *args, **kwargs):
    return {"fn": fn, "args": args, "kwargs": kwargs}


@pytest.fixture(params=[SubprocessSpawner, PollOnly])
def spawner(request):
    return request.param()


@pytest.fixture
def make(spawner):
    made = []

    def make_one(*command, **arguments):
        interface = SocketInterface(spawner=spawner, time_out_ms=200, **arguments)
        number = str(interface.bind_to_random_port())
        interface.bootup(list(command) or [sys.executable, SERIAL, "--zmqport", number])
        made.append(interface)
        return interface

    yield make_one
    for interface in made:
        interface.shutdown()


def expect_loss(interface, message):
    started = time.monotonic()
    error = interface.send_and_receive_dict(message)["error"]
    assert isinstance(error, ExecutorlibSocketError)
    assert time.monotonic() - started < AT_ONCE
    return error


def pid_of(interface):
    return interface.send_and_receive_dict(call(os.getpid))["result"]


@pytest.mark.parametrize("ending", ["exit 3", "kill -9 $$"], ids=["exits", "killed"])
def test_dies_before_it_connects(make, ending):
    error = expect_loss(make("sh", "-c", f"sleep 0.1; {ending}"), call(abs, -1))
    assert isinstance(error, WorkerLostError)
    assert "before it had connected" in str(error)


def test_dies_while_idle(make):
    interface = make()
    os.kill(pid_of(interface), signal.SIGKILL)
    assert "in a call" in str(expect_loss(interface, call(abs, -1)))
    assert "there is no worker" in str(expect_loss(interface, call(abs, -1)))  # it stays dead, and says so again


@pytest.mark.parametrize("ending", [(os._exit, 3), (os.abort,)], ids=["exits", "aborts"])
def test_dies_in_a_call(make, spawner, ending):
    error = expect_loss(make(), call(*ending))
    assert "in a call" in str(error)
    if isinstance(spawner, PollOnly):
        return
    assert (error.status, error.signal) == ((3, None) if len(ending) > 1 else (None, signal.SIGABRT))
    assert error.pid > 0


def test_dies_while_it_is_sent_a_large_call(make):
    interface = make()
    pid = pid_of(interface)
    os.kill(pid, signal.SIGSTOP)  # so it does not read, and the call does not fit into the connection
    threading.Timer(0.1, os.kill, (pid, signal.SIGKILL)).start()
    expect_loss(interface, call(len, bytes(64 << 20)))


def test_dies_while_it_answers(make):
    """A worker that has written half of its answer has not answered."""
    half = eval("lambda n: __import__('threading').Timer(0.2, __import__('os')._exit, (1,)).start() or bytes(n)")
    interface = make()
    interface.send_dict(call(half, 256 << 20))
    # It is stuck in the middle of its answer now: nobody reads until it is gone.
    time_to_die = time.monotonic() + SOON
    while interface._spawner.poll() and time.monotonic() < time_to_die:
        os.sched_yield()
    assert isinstance(interface.receive_dict()["error"], ExecutorlibSocketError)


def test_answer_before_the_end_counts(make):
    interface = make()
    answer = eval("lambda: __import__('threading').Timer(0.1, __import__('os')._exit, (1,)).start() or 'said'")
    interface.send_dict(call(answer))
    end = time.monotonic() + SOON
    while interface._spawner.poll() and time.monotonic() < end:
        os.sched_yield()
    assert interface.receive_dict() == {"result": "said"}
    assert isinstance(interface.receive_dict()["error"], ExecutorlibSocketError)


def test_next_worker(make):
    """bootup() again starts another one, with a secret of its own."""
    interface = make()
    first = pid_of(interface)
    os.kill(first, signal.SIGKILL)
    expect_loss(interface, call(abs, -1))
    interface.bootup()
    assert pid_of(interface) != first


def test_stop_function(make):
    asked = []
    interface = SocketInterface(spawner=SubprocessSpawner(), time_out_ms=20)
    interface.bind_to_random_port()
    interface.bootup(["sleep", "60"], stop_function=lambda: asked.append(1) or len(asked) > 2)
    assert "stop_function" in str(expect_loss(interface, call(abs, -1)))
    interface._spawner._process.kill()
    interface.shutdown()


def test_without_a_number():
    interface = SocketInterface(spawner=SubprocessSpawner())
    interface.bootup(["sleep", "60"])
    assert "bind_to_random_port" in str(expect_loss(interface, call(abs, -1)))
    interface._spawner._process.kill()
    interface.shutdown()


@pytest.mark.orphans
def test_worker_that_ignores_its_end(monkeypatch):
    """Asked, then killed."""
    from executorlib.standalone.interactive import spawner

    monkeypatch.setattr(spawner, "END_LIMIT", 0.1)
    started = SubprocessSpawner()
    assert started.bootup(["sh", "-c", "trap '' TERM; echo; sleep 60 & wait; wait"])
    process = started._process
    started.shutdown(wait=True)
    assert process.returncode == -signal.SIGKILL
    assert not started.poll()


def test_worker_that_comes_late_finds_nobody():
    done = subprocess.run(
        [sys.executable, SERIAL, "--zmqport", "12345678"], capture_output=True, text=True, timeout=SOON
    )
    assert done.returncode == 1
    assert "no driver waits for a worker under number 12345678" in done.stderr


DRIVER = """
import os, subprocess, sys, time
from executorlib.api import *
cloudpickle_register(ind=1)
class Spawner(SubprocessSpawner):
    def bootup(self, command_lst, stop_function=None):
        self._process = subprocess.Popen(command_lst, stdin=subprocess.DEVNULL)
        return self.poll()
interface = interface_bootup([sys.executable, get_command_path("interactive_serial.py")], Spawner())
family = eval('''lambda: (lambda child: (print("family", __import__("os").getpid(), child.pid, flush=True),
    __import__("time").sleep(60)))(__import__("subprocess").Popen(["sleep", "60"]))''')
interface.send_and_receive_dict({"fn": family, "args": (), "kwargs": {}})
"""


@pytest.mark.orphans
def test_driver_dies(tmp_path):
    """The worker in its call, and what the call has started, go with it."""
    with Driver(tmp_path, DRIVER) as driver:
        pids = [int(pid) for pid in driver.expect("family").split()]
        driver.kill()
        assert not alive_after(set(pids), AT_ONCE)


def test_forked_child_of_the_driver_leaves_the_worker_alone(make):
    interface = make()
    first = pid_of(interface)
    child = os.fork()
    if child == 0:
        try:
            interface.__del__()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert pid_of(interface) == first


@pytest.fixture
def ranks(monkeypatch):
    mpis.MPICH.use(monkeypatch)
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(mpi_functions.__file__))
    with mpis.no_files_left():
        interface = SocketInterface(spawner=MpiExecSpawner(cores=2, openmpi_oversubscribe=True))
        interface.bootup([sys.executable, PARALLEL, "--zmqport", str(interface.bind_to_random_port())])
        yield interface
        interface.shutdown()


def test_one_rank_raises_while_others_wait_for_it(ranks):
    source = "MPI.COMM_WORLD.rank == 1 and 1 / 0 or MPI.COMM_WORLD.Barrier()"
    one_raises = eval(f"lambda: eval({source!r}, vars(__import__('mpi4py', fromlist=['MPI'])))")
    error = ranks.send_and_receive_dict(call(one_raises))["error"]
    assert type(error) is ZeroDivisionError
    assert "Traceback" in str(error.__cause__)
    ranks.bootup()
    assert ranks.send_and_receive_dict(call(mpi_functions.whoami)) == {"result": [(0, 2), (1, 2)]}


def test_one_rank_dies(ranks):
    source = "__import__('os')._exit(3) if MPI.COMM_WORLD.rank == 1 else MPI.COMM_WORLD.Barrier()"
    one_dies = eval(f"lambda: eval({source!r}, vars(__import__('mpi4py', fromlist=['MPI'])))")
    assert isinstance(ranks.send_and_receive_dict(call(one_dies))["error"], ExecutorlibSocketError)
