"""A library whose functions need what `init_function` makes, and an object that calls them."""

import os
import signal

import functions


def init_function():
    return {"state": {"calls": []}}


def remember(state, value):
    state["calls"].append(value)
    return list(state["calls"])


def scaled(value, state):
    return 10 * value, remember(state, value)


def where(state):
    return os.getpid()


def cores(state):
    import executorlib._core

    return executorlib._core.cpu_count()


def gpus(state):
    return os.environ["CUDA_VISIBLE_DEVICES"]


def at_gate(state, folder):
    return functions.pass_gate(folder, None)


def die(state):
    os.kill(os.getpid(), signal.SIGKILL)


def fail(state):
    raise LookupError("as it was asked to")


def complete(a, b=2):
    return a + b


class Client:
    def __init__(self, executor, **request):
        self.executor = executor
        self.request = request

    def call(self, function, *args, **kwargs):
        return self.executor.submit(function, **kwargs, **self.request, **dict(zip(["value"], args)))

    def remember(self, value):
        return self.call(remember, value)

    def where(self):
        return self.call(where)
