"""A campaign of calls on TestClusterExecutor: as a script, the driver that is killed; as a module, who kills it."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import support


def expected(count):
    squares = [i * i for i in range(count)]
    sums = [squares[i] + squares[i + 1] for i in range(0, count - 1, 5)]
    return squares + sums


def drive(folder, count):
    """Submit all calls, as ever; exit with 0 once all results are right."""
    import file_functions

    from executorlib.api import TestClusterExecutor

    with TestClusterExecutor(cache_directory=os.path.join(folder, "cache"), max_cores=4) as exe:
        ledger = os.path.join(folder, "ledger")
        squares = [
            exe.submit(file_functions.note, ledger, i, 0.02, resource_dict={"cache_key": f"note{i}"})
            for i in range(count)
        ]
        sums = [exe.submit(file_functions.add, squares[i], squares[i + 1]) for i in range(0, count - 1, 5)]
        assert [future.result() for future in squares + sums] == expected(count)


class Campaign:
    """Runs the driver again and again, and kills it and its jobs at random.

    What it checks: results are right; no file is torn; a call is computed again only if the process that computed it
    was killed, and never once its output was there.
    """

    def __init__(self, folder, count, seed):
        self.folder = Path(folder)
        self.count = count
        self.random = random.Random(seed)
        self.kills = 0
        self.killed = set()  # pids of jobs
        self.complete = {}  # key -> when its output was seen first

    def run(self, kills, longest):
        """Until all calls are done; up to `kills` times a driver is killed, within `longest` seconds of its start."""
        while True:
            driver = subprocess.Popen(
                [sys.executable, __file__, str(self.folder), str(self.count)],
                env=support.script_environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )  # fmt: skip
            try:
                limit = self.random.uniform(0.05, longest) if self.kills < kills else 120 * support.TIME_FACTOR
                _, text = driver.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                assert self.kills < kills, "the campaign did not end"
                self.kill(driver)
                continue
            if driver.returncode == 0:
                break
            # A job that was killed while this driver waited for it is an error to it, as it should be.
            assert b"WorkerLostError" in text, text.decode()
        self.check()

    def kill(self, driver):
        victims = self.random.choice([[], ["job"], ["driver"], ["driver"], ["driver", "job"], ["job", "driver"]])
        for victim in victims:
            if victim == "driver":
                driver.kill()
            else:
                self.kill_job()
        driver.kill()
        driver.communicate()
        self.kills += 1
        self.note_complete()

    def kill_job(self):
        from executorlib import _core

        running = []
        for path in (self.folder / "cache").glob("note*_i.h5"):
            with contextlib.suppress(OSError):
                claim = _core.read_claim(str(path)[: -len("_i.h5")])
                if claim is not None and claim[3] == "lives":
                    running.append(claim[1])
        if running:
            pid = self.random.choice(running)
            self.killed.add(pid)
            support.kill_quietly([pid], signal.SIGKILL)

    def note_complete(self):
        now = time.clock_gettime(time.CLOCK_MONOTONIC)
        for path in (self.folder / "cache").glob("note*_o.h5"):
            self.complete.setdefault(path.name[len("note") : -len("_o.h5")], now)

    def begun(self):
        """Who computed what and since when, as (value, pid, time)."""
        ledger = self.folder / "ledger"
        lines = ledger.read_text().splitlines() if ledger.exists() else []
        return [(value, int(pid), float(began)) for value, pid, began in map(str.split, lines)]

    def check(self):
        from executorlib import _store

        begun = self.begun()
        for value, _, began in begun:
            assert began <= self.complete.get(value, began), f"{value} was computed again after its output was there"
        for value in {value for value, _, _ in begun}:
            pids = [pid for other, pid, _ in begun if other == value]
            assert set(pids[:-1]) <= self.killed, f"{value} was computed by {pids}, of which {self.killed} were killed"
        assert {int(value) for value, _, _ in begun} == set(range(self.count))
        files = sorted((self.folder / "cache").glob("*.h5"))
        outputs = [path for path in files if path.name.endswith("_o.h5")]
        assert len(outputs) == len(expected(self.count)), files
        for path in files:
            assert "function" in _store.names(str(path)), path


if __name__ == "__main__":
    drive(sys.argv[1], int(sys.argv[2]))
