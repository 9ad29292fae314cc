"""A plugin of pytest that repeats, as the last thing it prints, which tests failed and why.

Whoever sees only the end of a log needs no more. EXECUTORLIB_TEST_LAST_WORDS names a file to write it to instead.
"""

import contextlib
import os
import sys

#: Lines to spend on all reasons together, and on one at most.
LINES, LINES_EACH = 14, 6


class LastWords:
    def __init__(self, path):
        self._path = path
        self._failed = []
        self._running = {}

    def pytest_runtest_logstart(self, nodeid, location):
        self._running[nodeid] = True
        if self._path:
            self.write()  # for the case that this is where the interpreter crashes

    def pytest_runtest_logfinish(self, nodeid, location):
        self._running.pop(nodeid, None)

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self._failed.append((f"{report.nodeid} ({report.when})", report))

    def pytest_collectreport(self, report):
        if report.failed:
            self._failed.append((f"{report.nodeid} (collection)", report))

    def lines(self):
        each = min(LINES_EACH, max(1, LINES // len(self._failed))) if self._failed else 0
        for name, report in self._failed:
            yield f"FAILED {name}"
            yield from (f"    {line[:200]}" for line in reason(report, each))
        for nodeid in self._running:
            yield f"UNFINISHED {nodeid}"

    def write(self):
        with open(self._path, "w") if self._path else contextlib.nullcontext(sys.stdout) as file:
            file.writelines(f"{line}\n" for line in self.lines())

    def pytest_unconfigure(self):
        self.write()


def reason(report, count):
    """Up to *count* lines: where it failed, and how the message begins."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return str(report.longrepr).splitlines()[-count:]
    first, *more = [line for line in crash.message.splitlines() if line.strip()] or [""]
    return [f"{way(report.longrepr)}: {first}", *more][:count]


def way(longrepr):
    """The calls that led to the failure, as far as their places are known."""
    places = [entry.reprfileloc for entry in longrepr.reprtraceback.reprentries if getattr(entry, "reprfileloc", None)]
    return " > ".join(f"{os.path.basename(place.path)}:{place.lineno}" for place in places[-4:])


def pytest_configure(config):
    if not hasattr(config, "workerinput"):  # a worker of pytest-xdist reports to its controller
        path = os.environ.get("EXECUTORLIB_TEST_LAST_WORDS")
        config.pluginmanager.register(LastWords(path), "last words")
