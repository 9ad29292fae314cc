"""What a warm executor does while nothing is asked of it."""

import os
import shutil
import subprocess
import tempfile
import time

from benchmarks import memory, work
from benchmarks.measure import POOLS

TITLE = "Idle"
PEERS = POOLS
METRICS = {
    "wakeups": "system calls returned in the window, strace [count]",
    "switches": "context switches in the window, /proc [count]",
    "cpu_ms": "CPU time in the window [ms]",
    "window_s": "window [s]",
}
ROUNDS = (1, 1)
TIMEOUT_S = 60
ALONE = True
_WINDOW_S = 5.0  # also when quick: the bar is about five seconds
_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


def _activity(pids):
    """(context switches, CPU milliseconds) so far of all threads but the main one of this process."""
    switches = ticks = 0
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            if int(thread) == os.getpid():
                continue
            with open(f"/proc/{pid}/task/{thread}/status") as status:
                switches += sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)
            with open(f"/proc/{pid}/task/{thread}/stat") as stat:
                fields = stat.read().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
    return switches, ticks * _TICK_MS


def _wakeups(pids):
    """System calls that return while strace watches, or None where it cannot.

    Attaching interrupts what sleeps in epoll_wait, so each call carries its time and the first half second does
    not count. The main thread waits for strace meanwhile and does nothing."""
    if not shutil.which("strace"):
        return None
    with tempfile.NamedTemporaryFile("r") as log:
        settle = 0.5
        targets = [option for pid in pids for option in ("-p", str(pid))]
        start = time.time()
        subprocess.run(
            [
                "timeout",
                "-s",
                "INT",
                str(_WINDOW_S + 2 * settle),
                "strace",
                "-f",
                "-qq",
                "-ttt",
                "-o",
                log.name,
                *targets,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if time.time() - start < _WINDOW_S:
            return None  # not allowed to attach
        count = 0
        for line in log:
            fields = line.split(maxsplit=2)
            if len(fields) == 3 and start + settle <= float(fields[1]) < start + settle + _WINDOW_S:
                count += "<unfinished" not in line and not fields[2].startswith(("---", "+++"))
        return count


def measure(peer, quick):
    with peer.persistent() as executor:
        peer.collect([executor.submit(work.noop) for _ in range(50)])
        time.sleep(0.5 if quick else 2.5)  # to settle
        pids = memory.descendants(os.getpid())
        switches, cpu = _activity(pids)
        time.sleep(_WINDOW_S)
        later_switches, later_cpu = _activity(pids)
        sample = {"switches": later_switches - switches, "cpu_ms": later_cpu - cpu, "window_s": _WINDOW_S}
        wakeups = _wakeups(pids)
        if wakeups is not None:
            sample["wakeups"] = wakeups
        yield sample
