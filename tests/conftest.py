"""Fixtures that run one behaviour in every mode of the executor, and the check that nothing is left behind."""

import contextlib
import ctypes
import dataclasses
import gc
import os
import select
import time

import pytest
import support

pytest_plugins = ["last_words"]
pytest.register_assert_rewrite("pilot_suite", "queue_suite")

#: Folders whose tests run executors, and so must leave nothing behind.
LEAK_CHECKED = {"behaviour", "faults", "cpython", "integration"}
PR_SET_CHILD_SUBREAPER = 36

passed = pytest.StashKey[bool]()


def pytest_configure(config):
    config.addinivalue_line("markers", "orphans: the test kills a process whose children then end on their own")
    # Orphans of everything that the tests start become children of this process, where the leak check finds them.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def is_tried_with_another_mpi(item):
    """Starting ranks takes long, and most of it does not depend on the kind of MPI."""
    return item.get_closest_marker("second_mpi") and not item.get_closest_marker("both_mpis")


def is_tried_with_another_limit(item):
    """What a process of its own does for a call hardly depends on how many run at once; failures do both."""
    mode = item.callspec.params.get("mode") if hasattr(item, "callspec") else None
    return item.path.parent.name == "behaviour" and mode == support.Mode(False, 1)


def stretch(item):
    """Its own time limit, as those are that a test sets within."""
    marker = item.get_closest_marker("timeout")
    if marker and support.TIME_FACTOR > 1:
        item.add_marker(pytest.mark.timeout(marker.args[0] * support.TIME_FACTOR), append=False)


def pytest_collection_modifyitems(config, items):
    for item in items:
        stretch(item)
    left_out = set()
    if not os.environ.get("EXECUTORLIB_TEST_ALL_MPI"):
        left_out.update(item for item in items if is_tried_with_another_mpi(item))
    if not os.environ.get("EXECUTORLIB_TEST_ALL_MODES"):
        left_out.update(item for item in items if is_tried_with_another_limit(item))
    if left_out:
        config.hook.pytest_deselected(items=[item for item in items if item in left_out])
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        item.stash[passed] = outcome.get_result().passed


PER_CALL = [support.Mode(False, 1), support.Mode(False, 2)]
BLOCK = [support.Mode(True, 1), support.Mode(True, 2)]


@pytest.fixture(params=PER_CALL + BLOCK, ids=str)
def mode(request):
    return request.param


@pytest.fixture
def make(mode):
    """Make executors in the current mode; what the test does not shut down is shut down after it."""
    from executorlib import SingleNodeExecutor

    with support.ended_executors(SingleNodeExecutor, **mode.arguments()) as make:
        yield make


@pytest.fixture
def exe(make):
    return make()


@pytest.fixture
def make_gate(request, tmp_path):
    """Make gates; all open before the executors shut down, so that a failing test leaves no call waiting."""
    if "make" in request.fixturenames:
        request.getfixturevalue("make")
    gates = []

    def make_one():
        gates.append(support.Gate(tmp_path / f"gate-{len(gates)}"))
        return gates[-1]

    yield make_one
    for gate in gates:
        gate.close()


@pytest.fixture
def gate(make_gate):
    return make_gate()


@pytest.fixture(scope="session")
def engine():
    """Start and stop an executor once, so that what lives as long as the process is not taken for a leak."""
    from executorlib import SingleNodeExecutor

    with SingleNodeExecutor(max_workers=1) as executor:
        assert executor.submit(abs, -1).result(timeout=support.SOON) == 1


@pytest.fixture(autouse=True, scope="module")
def few_objects_to_look_at():
    """What has been imported so far is no garbage: each collection after a test is then quick."""
    gc.collect()
    gc.freeze()


@dataclasses.dataclass
class Holdings:
    """Descriptors, child processes and memory files of this process."""

    descriptors: dict
    processes: set
    memory_files: set

    @classmethod
    def now(cls):
        return cls(
            descriptors=support.open_descriptors(),
            processes=set(support.descendants(os.getpid())),
            memory_files=support.mapped_memory_files(),
        )

    def gained_since(self, before):
        """Readable lines on what is held now and was not held *before*."""
        gained = [
            f"descriptor {number} -> {target}"
            for number, target in self.descriptors.items()
            if before.descriptors.get(number) != target
        ]
        gained += [f"process {support.describe(pid)}" for pid in self.processes - before.processes]
        gained += [f"memory file {' '.join(file)}" for file in self.memory_files - before.memory_files]
        return gained


def reap_orphans():
    for pid in support.children(os.getpid()):
        if support.is_zombie(pid):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


@pytest.fixture(autouse=True)
def no_leaks(request):
    """Fail a passing test that leaves a descriptor, a process or a memory file behind."""
    if not LEAK_CHECKED.intersection(request.node.path.relative_to(support.TESTS).parts):
        yield
        return
    request.getfixturevalue("engine")
    before = Holdings.now()
    yield
    started = set(support.descendants(os.getpid())) - before.processes
    if not request.node.stash.get(passed, False):
        # The traceback of a failed test keeps its futures and executors alive, so only clean up.
        support.kill_quietly(started)
        return
    gc.collect()
    deadline = time.monotonic() + support.AT_ONCE
    left = support.alive_after(started, support.AT_ONCE)
    if request.node.get_closest_marker("orphans"):
        reap_orphans()
    gained = Holdings.now().gained_since(before)
    while gained and time.monotonic() < deadline:
        # No event tells that another thread of this process has closed a descriptor, so look again.
        select.select([], [], [], 0.01)
        gained = Holdings.now().gained_since(before)
    support.kill_quietly(left)
    assert not gained, "left behind:\n" + "\n".join(gained)
