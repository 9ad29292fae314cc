"""A plugin of pytest that repeats, as the last thing it prints, which tests failed and why.

Whoever sees only the end of a log needs no more.
"""

import os

#: Lines to spend on all reasons together, and on one at most.
LINES, LINES_EACH = 14, 6


class LastWords:
    def __init__(self, config):
        self._config = config
        self._failed = []
        self._running = {}

    def pytest_runtest_logstart(self, nodeid, location):
        self._running[nodeid] = True

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

    def pytest_unconfigure(self):
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        lines = list(self.lines())
        if reporter and lines:
            reporter.write_sep("=", "last words")
            for line in lines:
                reporter.write_line(line)


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
        config.pluginmanager.register(LastWords(config), "last words")
