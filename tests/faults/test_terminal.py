"""Ctrl-C on a terminal."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest
from support import AT_ONCE, SOON, alive_after, descendants, script_environment, wait_asleep, write_script

HEAD = """
import sys
from executorlib import SingleNodeExecutor
import functions
gate, workers, block = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True"
exe = SingleNodeExecutor(max_workers=workers, block_allocation=block)
"""


class Terminal:
    """A script whose controlling terminal is ours to type on."""

    def __init__(self, folder, source, *arguments):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, str(write_script(folder, source)), *map(str, arguments)],
            stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=script_environment(),
            start_new_session=True, preexec_fn=self._take_terminal,
        )  # fmt: skip
        os.close(slave)
        self.text = ""

    @staticmethod
    def _take_terminal():
        import fcntl
        import termios

        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def read_until(self, text, timeout=SOON):
        """Wait until *text* has appeared since the last call."""
        deadline = time.monotonic() + timeout
        while text not in self.text:
            ready, _, _ = select.select([self.master], [], [], max(0, deadline - time.monotonic()))
            chunk = b""
            if ready:
                # EIO: the last process that had the terminal open has ended.
                with contextlib.suppress(OSError):
                    chunk = os.read(self.master, 4096)
            if not chunk:
                raise TimeoutError(f"{text!r} never appeared; the terminal shows {self.text!r}")
            self.text += chunk.decode(errors="replace")
        before, _, self.text = self.text.partition(text)
        return before

    def press_control_c(self):
        os.write(self.master, b"\x03")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminal(tmp_path, make_gate, mode):
    gate = make_gate()
    opened = []

    def open_terminal(source):
        opened.append(Terminal(tmp_path, HEAD + source, gate.folder, mode.workers, mode.block))
        return opened[0], gate

    yield open_terminal
    for one in opened:
        one.__exit__()


def test_during_result(terminal):
    screen, gate = terminal("""
future = exe.submit(functions.pass_gate, gate, "value")
try:
    print("waiting")
    future.result()
except KeyboardInterrupt:
    print("interrupted")
print("got", future.result(), exe.submit(functions.add, 1, 2).result())
exe.shutdown()
""")
    gate.arrival()
    screen.read_until("waiting")
    wait_asleep(screen.process.pid)
    screen.press_control_c()
    screen.read_until("interrupted", AT_ONCE)
    wait_asleep(screen.process.pid)
    gate.open()
    screen.read_until("got value 3")
    assert screen.process.wait(SOON) == 0


@pytest.mark.parametrize("wait", ["concurrent.futures.wait([future])", "list(exe.map(abs, [future]))[0]"])
def test_during_other_waits(terminal, wait):
    screen, gate = terminal(f"""
import concurrent.futures
future = exe.submit(functions.pass_gate, gate, 5)
try:
    print("waiting")
    {wait}
except KeyboardInterrupt:
    print("interrupted")
print("got", future.result())
exe.shutdown()
""")
    gate.arrival()
    screen.read_until("waiting")
    wait_asleep(screen.process.pid)
    screen.press_control_c()
    screen.read_until("interrupted", AT_ONCE)
    gate.open()
    screen.read_until("got 5")
    assert screen.process.wait(SOON) == 0


def test_during_submit(terminal):
    screen, gate = terminal("""
import signal
class SlowToPickle:
    def __reduce__(self):
        print("pickling")
        functions.pass_gate(gate)
        return int, ()
try:
    exe.submit(functions.identity, SlowToPickle())
except KeyboardInterrupt:
    print("interrupted")
print("got", exe.submit(functions.add, 1, 2).result(), len(exe))
exe.shutdown()
""")
    screen.read_until("pickling")
    gate.arrival()
    wait_asleep(screen.process.pid)
    screen.press_control_c()
    screen.read_until("interrupted", AT_ONCE)
    screen.read_until("got 3 0")
    assert screen.process.wait(SOON) == 0


def test_during_shutdown(terminal):
    screen, gate = terminal("""
future = exe.submit(functions.pass_gate, gate, "value")
pending = exe.submit(functions.identity, "pending")
try:
    print("waiting")
    exe.shutdown()
except KeyboardInterrupt:
    print("interrupted")
print("got", future.result(), pending.result())
exe.shutdown()
""")
    gate.arrival()
    screen.read_until("waiting")
    wait_asleep(screen.process.pid)
    screen.press_control_c()
    screen.read_until("interrupted", AT_ONCE)
    wait_asleep(screen.process.pid)
    gate.open()
    screen.read_until("got value pending")
    assert screen.process.wait(SOON) == 0


def test_inside_a_with_block(terminal, tmp_path):
    """The exception leaves the block, which waits for the calls as shutdown does."""
    screen, gate = terminal(f"""
log = {str(tmp_path / "log")!r}
with exe:
    future = exe.submit(functions.pass_gate, gate, "value")
    last = exe.submit(functions.append_line, log, future)
    print("waiting")
    future.result()
""")
    gate.arrival()
    screen.read_until("waiting")
    wait_asleep(screen.process.pid)
    screen.press_control_c()
    gate.open()
    screen.read_until("KeyboardInterrupt")
    assert screen.process.wait(SOON) == -signal.SIGINT
    assert (tmp_path / "log").read_text() == "value\n"


@pytest.mark.orphans
def test_twice_ends_a_with_block(terminal):
    """Whoever insists gets out, and takes the workers with him."""
    screen, gate = terminal("""
with exe:
    future = exe.submit(functions.pass_gate, gate, "value")
    try:
        print("waiting")
        future.result()
    finally:
        print("leaving")
""")
    pids = gate.arrival()
    screen.read_until("waiting")
    everything = {*pids, *descendants(screen.process.pid)}
    wait_asleep(screen.process.pid)
    screen.press_control_c()
    screen.read_until("leaving")
    for _ in range(3):
        # One more may be needed at the interpreter's end, which waits for pending work as well.
        wait_asleep(screen.process.pid)
        screen.press_control_c()
        if not alive_after([screen.process.pid], AT_ONCE):
            break
    assert screen.process.wait(SOON) != 0
    assert not alive_after(everything, AT_ONCE)


def test_at_an_idle_prompt(terminal):
    """Typed while nothing waits: the workers never hear of it."""
    screen, _ = terminal("""
import signal
exe.submit(functions.add, 1, 2).result()
def handler(*_):
    print("handled")
signal.signal(signal.SIGINT, handler)
print("ready")
while True:
    signal.pause()
    print("got", exe.submit(functions.add, 1, 2).result())
    break
exe.shutdown()
""")
    screen.read_until("ready")
    wait_asleep(screen.process.pid)
    screen.press_control_c()
    screen.read_until("handled", AT_ONCE)
    screen.read_until("got 3")
    assert screen.process.wait(SOON) == 0


@pytest.mark.orphans
def test_hangup(terminal):
    """The terminal is closed: the driver ends, and everything with it."""
    screen, gate = terminal("exe.submit(functions.start_family, gate).result()")
    family = gate.arrival()
    everything = {*family, *descendants(screen.process.pid), screen.process.pid}
    os.kill(screen.process.pid, signal.SIGHUP)
    assert not alive_after(everything, AT_ONCE)
