"""The same, as a library that is known to open its sessions by start() and to close them by stop()."""

import os

from session_library import init_function  # noqa: F401


def start(state, name):
    state["name"] = name
    return os.getpid()


def name(state):
    return state["name"]


def die(state):
    os._exit(7)


def stop(state):
    return state.pop("name")


class Client:
    def __init__(self, executor, name):
        self.executor = executor
        self.pid = executor.submit(start, name=name).result(timeout=20)

    def name(self):
        return self.executor.submit(name)

    def die(self):
        return self.executor.submit(die)

    def close(self):
        return self.executor.submit(stop)
