"""Workers that are started through executorlib.api, as packages do that have their own way of starting them."""

import sys
from queue import Queue

from executorlib.api import (
    ExecutorlibSocketError,
    MpiExecSpawner,
    SocketInterface,
    SubprocessSpawner,
    cancel_items_in_queue,
    cloudpickle_register,
    get_command_path,
    interface_bootup,
    interface_receive,
)


def add(i, j=0, executorlib_worker_id=None):
    return i + j, executorlib_worker_id


def presets():
    return {"j": 5}


def fail(text):
    raise ValueError(text)


def leave():
    import os

    os._exit(3)


class Spawner(SubprocessSpawner):
    def generate_command(self, command_lst):
        return ["env", "SPAWNED=yes", *command_lst]


cloudpickle_register(ind=1)
command = [sys.executable, get_command_path(executable="interactive_serial.py")]
for spawner in (SubprocessSpawner(), MpiExecSpawner(cores=1), Spawner()):
    interface = interface_bootup(command_lst=list(command), connections=spawner, hostname_localhost=True, worker_id=3)
    print(type(interface).__name__, interface.status, spawner.poll())
    print(interface.send_and_receive_dict(input_dict={"fn": add, "args": (1,), "kwargs": {}}))
    print(interface.send_and_receive_dict(input_dict={"init": True, "fn": presets, "args": (), "kwargs": {}}))
    print(interface.send_and_receive_dict(input_dict={"fn": add, "args": (), "kwargs": {"i": 1}}))
    interface.send_dict(input_dict={"fn": add, "args": (1,), "kwargs": {"j": 2}, "resource_dict": {"cores": 1}})
    interface.send_dict(input_dict={"fn": fail, "args": ("no",), "kwargs": {}})
    print(interface.receive_dict())
    error = interface.receive_dict()["error"]
    print(type(error).__name__, error)
    print(interface.shutdown(wait=True), spawner.poll(), interface.shutdown(wait=True))

interface = SocketInterface(spawner=SubprocessSpawner(cwd="new/folder"))
try:
    interface.bootup(command_lst=None)
except ValueError as error:
    print("ValueError")
number = interface.bind_to_random_port()
print(type(number).__name__)
interface.bootup(command_lst=[*command, "--zmqport", str(number)])
print(
    isinstance(
        interface.send_and_receive_dict({"fn": leave, "args": (), "kwargs": {}})["error"], ExecutorlibSocketError
    )
)
print(interface.shutdown())

queue = Queue()
cancel_items_in_queue(queue)
print(interface_receive(socket=None))
