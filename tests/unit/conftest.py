"""A stand-in for the extension: its pools record what they are asked, and run nothing."""

import concurrent.futures

import pytest


class FakeFuture(concurrent.futures.Future):
    _nbytes_sent = 120
    _nbytes_received = 35


class FakePool:
    """Keeps every submission as `(fn, args, kwargs, needs, setup, options)` with its future."""

    def __init__(self, **settings):
        self.settings = settings
        self.calls = []
        self.mapped = []
        self.futures = []
        self.sizes = []
        self.closed = False

    def submit(self, *call):
        if self.closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        self.calls.append(call)
        return self._future()

    def map(self, fn, iterables, *rest):
        calls = list(zip(*iterables, strict=False))
        self.mapped.append((fn, iterables, calls, *rest))
        return [self._future() for _ in calls]

    def _future(self):
        self.futures.append(FakeFuture())
        return self.futures[-1]

    def shutdown(self, wait=True, cancel_futures=False):
        self.closed = True
        if cancel_futures:
            for future in self.futures:
                future.cancel()

    def set_gpus(self, variable, names):
        self.gpus = variable, names

    def resize(self, max_workers):
        self.sizes.append(max_workers)

    def __len__(self):
        return sum(not future.done() for future in self.futures)


@pytest.fixture
def pools(monkeypatch):
    """The pools made during a test, none of which starts a process."""
    from executorlib import _core

    made = []

    def make(**settings):
        made.append(FakePool(**settings))
        return made[-1]

    monkeypatch.setattr(_core, "Pool", make)
    monkeypatch.setattr(_core, "cpu_count", lambda: 4)
    return made
