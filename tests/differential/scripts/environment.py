"""What a call of its own process sees: folder, environment, exit handlers, standard input."""

import os
import sys
from pathlib import Path

from executorlib import SingleNodeExecutor


def folder():
    return os.getcwd()


def variable():
    return os.environ.get("PROBE")


def set_then_import():
    os.environ["OMP_NUM_THREADS"] = "1"
    import numpy

    return int(numpy.arange(3).sum())


def at_exit(path):
    import atexit

    atexit.register(Path(path).write_text, "ran")


def leave_open(path):
    global file
    file = open(path, "w")
    file.write("flushed")


def read_input():
    return sys.stdin.read()


def draw():
    import random

    return random.random()


if __name__ == "__main__":
    os.environ["PROBE"] = "value"
    with SingleNodeExecutor(resource_dict={"cwd": "made/for/this"}) as exe:
        print(exe.submit(folder).result(), os.path.isdir("made/for/this"))
    with SingleNodeExecutor() as exe:
        print(exe.submit(folder).result() == os.getcwd(), exe.submit(variable).result())
        print(exe.submit(set_then_import).result(), repr(exe.submit(read_input).result()))
        print(len({exe.submit(draw).result() for _ in range(3)}))
        exe.submit(at_exit, os.path.abspath("handler")).result()
        exe.submit(leave_open, os.path.abspath("left_open")).result()
    print(Path("handler").read_text(), Path("left_open").read_text())
