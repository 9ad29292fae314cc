"""Talking to a worker through `executorlib.api`: what packages do that start workers in their own way."""

import logging
import os
import pickle
import socket
import subprocess
import sys
import textwrap

import functions
import mpi_functions
import mpis
import pytest
from support import SOON, open_descriptors, run_script

from executorlib.api import (
    ExecutorlibSocketError,
    MpiExecSpawner,
    SocketInterface,
    SubprocessSpawner,
    get_command_path,
    interface_bootup,
    interface_receive,
    interface_send,
    interface_shutdown,
)

SERIAL = get_command_path("interactive_serial.py")
PARALLEL = get_command_path("interactive_parallel.py")


def call(fn, *args, **kwargs):
    return {"fn": fn, "args": args, "kwargs": kwargs}


def boot(spawner, program=SERIAL, python=sys.executable, **arguments):
    interface = SocketInterface(spawner=spawner, **arguments)
    interface.bootup([python, program, "--host", "localhost", "--zmqport", str(interface.bind_to_random_port())])
    return interface


@pytest.fixture
def interface(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(os.path.dirname(functions.__file__))
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(functions.__file__))
    made = boot(SubprocessSpawner(cwd=tmp_path / "new" / "folder"))
    yield made
    made.shutdown(wait=True)


def test_calls(interface, tmp_path):
    assert interface.status
    assert interface.send_and_receive_dict(call(divmod, 7, 2)) == {"result": (3, 1)}
    assert interface.send_and_receive_dict(call(os.getcwd)) == {"result": str(tmp_path / "new" / "folder")}
    assert interface.send_and_receive_dict({**call(sum, [1, 2]), "resource_dict": {"cores": 1}}) == {"result": 3}
    assert interface.shutdown() is True
    assert interface.shutdown() is None


def test_presets(interface):
    assert interface.send_and_receive_dict({"init": True, **call(dict, j=5)}) == {"result": True}
    # A function of this module goes by value, as a notebook's does.
    add = eval("lambda i, j=0, *, executorlib_worker_id: (i + j, executorlib_worker_id)")
    assert interface.send_and_receive_dict(call(add, 2)) == {"result": (7, 0)}
    assert interface.send_and_receive_dict(call(add, 2, j=1)) == {"result": (3, 0)}


def test_answers_come_in_the_order_of_calls(interface):
    """Large ones too: neither side waits for the other to read first."""
    large = bytes(4 << 20)
    for _ in range(3):
        interface.send_dict(call(bytes.upper, large))
    for _ in range(3):
        assert interface.receive_dict() == {"result": large}


def test_exception(interface, tmp_path):
    log = tmp_path / "errors.log"
    error = interface.send_and_receive_dict({**call(divmod, 1, 0), "error_log_file": str(log)})["error"]
    assert type(error) is ZeroDivisionError
    assert "Traceback" in str(error.__cause__)
    assert log.read_text().startswith("function: <built-in function divmod>\nargs: (1, 0)\nkwargs: {}\nTraceback")


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (call(sys.exit, 3), SystemExit),
        (call(eval, "lambda: (i for i in ())", {}), None),
        (call(eval, "(i for i in ())"), TypeError),
        ({"fn": divmod}, ValueError),
        ("no dictionary", AttributeError),
        ({"init": True, **call(abs, -1)}, TypeError),
    ],
    ids=["exit", "function", "unpicklable_result", "incomplete", "no_dictionary", "init_without_dictionary"],
)
def test_a_call_that_goes_wrong_leaves_the_worker(interface, message, error):
    answer = interface.send_and_receive_dict(message)
    assert type(answer["error"]) is error if error else callable(answer["result"])
    assert interface.send_and_receive_dict(call(abs, -1)) == {"result": 1}


def test_what_cannot_be_unpickled_is_that_call_s_error(interface):
    class Unreadable:
        def __reduce__(self):
            return divmod, (1, 0)

    assert type(interface.send_and_receive_dict(call(id, Unreadable()))["error"]) is ZeroDivisionError
    # This one is fine until it arrives here.
    source = "type('Result', (), {'__reduce__': lambda self: (divmod, (1, 0))})()"
    assert type(interface.send_and_receive_dict(call(eval, source))["error"]) is ZeroDivisionError
    assert interface.send_and_receive_dict(call(abs, -1)) == {"result": 1}


def test_sizes_are_logged(caplog):
    caplog.set_level(logging.WARNING, logger="executorlib")
    interface = boot(SubprocessSpawner(), log_obj_size=True)
    assert interface.send_and_receive_dict(call(bytes, 1000)) == {"result": bytes(1000)}
    interface.shutdown()
    sizes = [int(line.rpartition(" ")[2]) for line in caplog.messages]
    assert [line.split(" dictionary of size: ")[0] for line in caplog.messages] == ["Send", "Received"] * 2
    assert sizes[1] > 1000 > sizes[0] > 10


def test_interface_bootup_tells_the_worker_its_number():
    command = [sys.executable, SERIAL]
    interface = interface_bootup(command, SubprocessSpawner(), worker_id=7, hostname_localhost=True)
    assert command == [sys.executable, SERIAL]
    numbered = eval("lambda executorlib_worker_id: executorlib_worker_id")
    assert interface.send_and_receive_dict(call(numbered)) == {"result": 7}
    assert interface.shutdown(wait=False) is True


def test_secret_is_nowhere_but_in_its_file(tmp_path):
    """Not in the command line, the environment or the output of the worker; and nothing is left when it is in."""
    interface = SocketInterface(spawner=SubprocessSpawner())
    number = str(interface.bind_to_random_port())
    from executorlib.backend import rendezvous

    _, secret = rendezvous.find(number)
    interface.bootup([sys.executable, SERIAL, "--zmqport", number])
    pid = interface._spawner._process.pid
    assert interface.send_and_receive_dict(call(os.getpid)) == {"result": pid}
    for file in ("cmdline", "environ"):
        with open(f"/proc/{pid}/{file}", "rb") as opened:
            text = opened.read()
        assert secret not in text
        assert secret.hex().encode() not in text
    with pytest.raises(FileNotFoundError):
        rendezvous.find(number)
    interface.shutdown()


def test_pickle_of_a_stranger_is_never_read(tmp_path):
    """Who cannot greet, or greets wrongly, is gone before anything that it says is unpickled."""
    from executorlib.backend import link, rendezvous

    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "attacked"),)

    interface = SocketInterface(spawner=SubprocessSpawner())
    number = str(interface.bind_to_random_port())
    address, _ = rendezvous.find(number)
    strangers = []
    for greeting in (b"", link._MAGIC + bytes(32), link._MAGIC + bytes(64)):
        strangers.append(socket.socket(socket.AF_UNIX))
        strangers[-1].connect(address.partition(":")[2])
        strangers[-1].sendall(greeting + pickle.dumps(Attack()) * 10)
    interface.bootup([sys.executable, SERIAL, "--zmqport", number])
    assert interface.send_and_receive_dict(call(divmod, 7, 2)) == {"result": (3, 1)}
    interface.shutdown()
    for stranger in strangers:
        stranger.close()
    assert not (tmp_path / "attacked").exists()
    pickle.loads(pickle.dumps(Attack()))
    assert (tmp_path / "attacked").exists()  # it would have


def test_no_network_socket_listens():
    interface = SocketInterface()
    interface.bind_to_random_port()
    listening = set()
    for table in ("tcp", "tcp6"):
        with open(f"/proc/self/net/{table}") as opened:
            listening |= {f"socket:[{line.split()[9]}]" for line in opened if line.split()[3] == "0A"}
    held = set(open_descriptors().values())
    assert any(target.startswith("socket:") for target in held)
    assert not listening & held
    interface.shutdown()


def test_workers_on_other_hosts(tmp_path, monkeypatch):
    """The spawner says so: then the interface listens on the network, and the secret is in the home directory."""
    monkeypatch.setenv("HOME", str(tmp_path))

    class Elsewhere(SubprocessSpawner):
        remote = True

    interface = boot(Elsewhere())
    assert interface.send_and_receive_dict(call(divmod, 7, 2)) == {"result": (3, 1)}
    interface.shutdown()
    assert list((tmp_path / ".cache" / "executorlib").iterdir()) == []


# ---- workers of other kinds ----


class OwnSpawner(SubprocessSpawner):
    """Starts the process in its own way, through a shell, as those do that enter another environment."""

    def __init__(self, prefix, **arguments):
        super().__init__(**arguments)
        self._prefix = prefix

    def bootup(self, command_lst, stop_function=None):
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", 'export ENTERED=yes; "$@"', "sh", *self.generate_command(command_lst=command_lst)],
            cwd=self._cwd,
            stdin=subprocess.DEVNULL,
            env={"PATH": f"{self._prefix}/bin"},
        )
        return self.poll()


def test_python_of_another_environment(tmp_path):
    """It has cloudpickle and nothing of this package."""
    import cloudpickle

    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True, timeout=200)
    (library,) = (environment / "lib").glob("python*")
    (library / "site-packages" / "cloudpickle").symlink_to(os.path.dirname(cloudpickle.__file__))
    interface = boot(OwnSpawner(environment), python="python")
    prefix = eval("lambda: (__import__('sys').prefix, __import__('os').environ['ENTERED'])")
    assert interface.send_and_receive_dict(call(prefix)) == {"result": (str(environment), "yes")}
    assert type(interface.send_and_receive_dict(call(__import__, "executorlib"))["error"]) is ModuleNotFoundError
    modules = eval("lambda: sorted(__import__('sys').modules)")
    assert not {"link", "calls", "driver", "numpy"}.intersection(
        interface.send_and_receive_dict(call(modules))["result"]
    )
    error = interface.send_and_receive_dict(call(divmod, 1, 0))["error"]
    assert "ZeroDivisionError" in str(error.__cause__)
    assert interface.shutdown() is True


OWN_WORKER = """
import sys
from executorlib.api import interface_connect, interface_receive, interface_send, interface_shutdown

context, socket = interface_connect(host="localhost", port=sys.argv[1])
while "stop" not in (message := interface_receive(socket)):
    interface_send(socket, {"result": message["x"] * 2})
interface_send(socket, {"result": "bye"})
interface_shutdown(socket, context)
"""


def test_worker_program_of_one_s_own(tmp_path):
    program = tmp_path / "worker.py"
    program.write_text(OWN_WORKER)
    interface = SocketInterface(spawner=SubprocessSpawner())
    interface.bootup([sys.executable, str(program), str(interface.bind_to_random_port())])
    assert interface.send_and_receive_dict({"x": 21}) == {"result": 42}
    assert interface.send_and_receive_dict({"stop": True}) == {"result": "bye"}
    interface._spawner._process.wait(SOON)
    assert interface.shutdown() is None


def test_without_a_connection():
    assert interface_receive(socket=None) == {}
    interface_send(socket=None, result_dict={})
    interface_shutdown(socket=None, context=None)


def test_worker_in_a_thread():
    """`evaluate_cmd` serves a driver of the same process too."""
    import threading

    from executorlib.backend.interactive_serial import evaluate_cmd

    interface = SocketInterface()
    number = interface.bind_to_random_port()
    thread = threading.Thread(target=evaluate_cmd, args=(["--zmqport", str(number)],), daemon=True)
    thread.start()
    assert interface.send_and_receive_dict(call(os.getpid)) == {"result": os.getpid()}
    assert interface.send_and_receive_dict({"shutdown": True}) == {"result": True}
    thread.join(SOON)
    assert not thread.is_alive()
    interface.shutdown()


@pytest.fixture
def mpi(monkeypatch):
    mpis.MPICH.use(monkeypatch)
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(mpi_functions.__file__))
    with mpis.no_files_left():
        yield


def test_ranks(mpi):
    interface = boot(MpiExecSpawner(cores=2, openmpi_oversubscribe=True), PARALLEL)
    assert interface.send_and_receive_dict({"init": True, **call(dict, y=1)}) == {"result": True}
    assert interface.send_and_receive_dict(call(mpi_functions.whoami)) == {"result": [(0, 2), (1, 2)]}
    assert interface.send_and_receive_dict(call(eval("lambda x, y: x + y"), 1)) == {"result": [2, 2]}
    assert type(interface.send_and_receive_dict(call(divmod, 1, 0))["error"]) is ZeroDivisionError
    assert interface.send_and_receive_dict(call(mpi_functions.whoami)) == {"result": [(0, 2), (1, 2)]}
    assert interface.shutdown() is True


def test_one_rank_is_no_list(mpi):
    interface = boot(MpiExecSpawner(cores=1), PARALLEL)
    assert interface.send_and_receive_dict(call(mpi_functions.whoami)) == {"result": (0, 1)}
    assert interface.shutdown() is True


# ---- how it is set up ----


def test_bootup_without_a_command():
    with pytest.raises(ValueError, match="command"):
        SocketInterface(spawner=SubprocessSpawner()).bootup()
    with pytest.raises(ValueError, match="spawner"):
        SocketInterface().bootup(["true"])


def test_spawner_that_fails():
    class Broken(SubprocessSpawner):
        def bootup(self, command_lst, stop_function=None):
            return False

    interface = boot(Broken())
    assert interface.status is False
    assert isinstance(interface.send_and_receive_dict(call(abs, 1))["error"], ExecutorlibSocketError)
    assert interface.shutdown() is None


def test_missing_program():
    with pytest.raises(FileNotFoundError, match="no-such-python"):
        boot(SubprocessSpawner(), python="no-such-python")


def test_script_that_does_not_shut_down(tmp_path):
    """The interface goes with the interpreter, and its worker with it."""
    source = textwrap.dedent("""
        import os, sys
        from executorlib.api import *
        interface = interface_bootup([sys.executable, get_command_path("interactive_serial.py")], SubprocessSpawner())
        print(interface.send_and_receive_dict({"fn": os.getpid, "args": (), "kwargs": {}})["result"])
    """)
    done = run_script(tmp_path, source)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert not os.path.exists(f"/proc/{int(done.stdout)}")
