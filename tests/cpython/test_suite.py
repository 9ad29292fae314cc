"""CPython's test suite for concurrent.futures, run against our executor in both modes.

The suite's generic cases are inherited, none is copied. Cases that cannot apply to us are named below with the
reason; everything else must pass.
"""

import atexit
import multiprocessing
import shutil
import tempfile
import unittest

import pytest

from cpython import suite

reason = suite.missing()
if reason:
    pytest.skip(reason, allow_module_level=True)

from executorlib import SingleNodeExecutor  # noqa: E402
from executorlib.api import ExecutorlibSocketError  # noqa: E402

folder = tempfile.mkdtemp(prefix="executorlib-cpython-suite-")
atexit.register(shutil.rmtree, folder, ignore_errors=True)
modules = suite.load(folder)


class PerCall(SingleNodeExecutor):
    """What the suite constructs: it passes a multiprocessing context, which has no meaning for us."""

    def __init__(self, max_workers=None, mp_context=None, **kwargs):
        super().__init__(max_workers=max_workers, **kwargs)


class Block(SingleNodeExecutor):
    def __init__(self, max_workers=None, mp_context=None, **kwargs):
        super().__init__(max_workers=max_workers, block_allocation=True, **kwargs)


#: How the suite's scripts, which run in a process of their own, make our executor instead of the standard one.
SCRIPT_IMPORT = """import sys; sys.path.insert(0, {folder!r})
            import executorlib
            def {name}(max_workers=None): return executorlib.SingleNodeExecutor(max_workers, block_allocation={block})
"""


def run_scripts_with_ours(run, block, name):
    """Wrap the suite's assert_python_ok: its scripts then use our executor, and the suite as it is imported here."""
    ours = SCRIPT_IMPORT.format(folder=folder, name=name, block=block).rstrip()

    def assert_python_ok(option, source, **variables):
        source = source.replace(f"from concurrent.futures import {name}", ours)
        return run(option, source.replace(f"from test.{suite.NAME}", f"from {suite.ALIAS}"), **variables)

    return assert_python_ok


class Ours:
    """Sets up each case with our executor; mixed in before the suite's own set-up."""

    def setUp(self):
        self.patched = []
        for module in modules:
            # A lost worker fails its own call with this error and breaks nothing else.
            self.replace(module, "BrokenProcessPool", ExecutorlibSocketError)
            if hasattr(module, "assert_python_ok"):
                block = self.executor_type is Block
                ours = run_scripts_with_ours(module.assert_python_ok, block, self.executor_type.__name__)
                self.replace(module, "assert_python_ok", ours)
        super().setUp()

    def replace(self, module, name, value):
        if hasattr(module, name):
            self.patched.append((module, name, getattr(module, name)))
            setattr(module, name, value)

    def tearDown(self):
        try:
            super().tearDown()
        finally:
            for module, name, value in reversed(self.patched):
                setattr(module, name, value)

    def get_context(self):
        return multiprocessing.get_context("fork")

    def create_event(self):
        """From Python 3.13 on the suite's cases wait for one that processes share."""
        self.manager = self.manager or self.get_context().Manager()  # the suite's tearDown() ends it
        return self.manager.Event()


STANDARD_INTERNALS = "looks at private attributes of ProcessPoolExecutor (_processes, _executor_manager_thread)"
NO_INITIALIZER = "initializer and max_tasks_per_child are parameters of the standard pools; ours has init_function"

#: Cases that cannot apply, by name.
NOT_APPLICABLE = {
    "test_processes_terminate": STANDARD_INTERNALS,
    "test_context_manager_shutdown": STANDARD_INTERNALS,
    "test_del_shutdown": STANDARD_INTERNALS,
    "test_shutdown_no_wait": STANDARD_INTERNALS,
    "test_saturation": STANDARD_INTERNALS,
    "test_idle_process_reuse_one": STANDARD_INTERNALS,
    "test_idle_process_reuse_multiple": STANDARD_INTERNALS,
    "test_killed_child": "a lost worker fails its own call only; ours does not become a broken pool",
    "test_max_workers_too_large": "a limit of Windows",
    "test_max_tasks_per_child": NO_INITIALIZER,
    "test_max_tasks_per_child_defaults_to_spawn_context": NO_INITIALIZER,
    "test_max_tasks_early_shutdown": NO_INITIALIZER,
    "test_python_finalization_error": "replaces private functions of the standard pool",
    "test_processes_terminate_workers": STANDARD_INTERNALS,
    "test_terminate_workers": STANDARD_INTERNALS,
    "test_kill_workers": STANDARD_INTERNALS,
    "test_force_shutdown_workers": STANDARD_INTERNALS,
    "test_force_shutdown_workers_invalid_op": STANDARD_INTERNALS,
    "test_force_shutdown_workers_stops_pool": STANDARD_INTERNALS,
    "test_force_shutdown_workers_dead_workers": STANDARD_INTERNALS,
    "test_force_shutdown_workers_not_started_yet": STANDARD_INTERNALS,
    "test_shutdown_deadlock_pickle": STANDARD_INTERNALS + "; and ours refuses at submit what cannot be pickled",
    "test_gh105829_should_not_deadlock_if_wakeup_pipe_full": STANDARD_INTERNALS,
    "test_traceback": "wants the private class _RemoteTraceback; ours has one of its own, tested in behaviour",
    "test_traceback_when_child_process_terminates_abruptly": STANDARD_INTERNALS,
    "test_error_at_task_pickle": "ours raises at submit what cannot be pickled; tested in behaviour",
    "test_exit_at_task_unpickle": "ours reports the SystemExit itself; tested in the crash matrix",
    "test_error_at_task_unpickle": "ours reports the error itself; tested in the crash matrix",
    "test_error_during_result_unpickle_in_result_handler": "ours reports the error itself; tested in behaviour",
    "test_exit_during_result_unpickle_in_result_handler": "ours reports the SystemExit itself",
}

#: Cases that cannot apply to persistent workers.
NOT_APPLICABLE_TO_BLOCK = {
    "test_cancel_futures": "wants one of the calls to have begun; ours cancels all when no worker has started yet "
    "(tested in behaviour)",
}

GENERIC_CASES = (
    "ExecutorTest",
    "WaitTests",
    "AsCompletedTests",
    "ExecutorShutdownTest",
    "ProcessPoolExecutorTest",
    "ProcessPoolShutdownTest",
    "ExecutorDeadlockTest",
)


def inherited_cases(mixin):
    return [name for name in dir(mixin) if name.startswith("test")]


def make_case_class(name, executor_class, seen):
    """One TestCase of the suite's *name* for one of our modes; cases in *seen* ran under another name already."""
    mixin = suite.lookup(modules, name)
    reasons = {**NOT_APPLICABLE, **(NOT_APPLICABLE_TO_BLOCK if executor_class is Block else {})}
    cases = {
        case: unittest.skip(reasons[case])(lambda self: None) for case in inherited_cases(mixin) if case in reasons
    }
    cases.update({case: None for case in inherited_cases(mixin) if case in seen})
    seen.update(inherited_cases(mixin))
    bases = (Ours, mixin, suite.lookup(modules, "ExecutorMixin"), suite.lookup(modules, "BaseTestCase"))
    return type(f"{executor_class.__name__}{name}", bases, {**cases, "executor_type": executor_class})


for executor_class in (PerCall, Block):
    seen = set()
    for name in GENERIC_CASES:
        if suite.lookup(modules, name) is not None:
            made = make_case_class(name, executor_class, seen)
            globals()[made.__name__] = made
del made


def test_the_list_of_exceptions_names_real_cases():
    """A renamed case must not hide behind an old name: all names of this version's generic cases are known."""
    if not suite.find().is_dir():
        known = {case for name in GENERIC_CASES for case in inherited_cases(suite.lookup(modules, name))}
        newer = {case for case in NOT_APPLICABLE if "buffersize" in case or "force_shutdown" in case}
        newer |= {"test_terminate_workers", "test_kill_workers", "test_processes_terminate_workers"}
        newer |= {"test_python_finalization_error", "test_gh105829_should_not_deadlock_if_wakeup_pipe_full"}
        newer |= {"test_traceback_when_child_process_terminates_abruptly"}
        assert set(NOT_APPLICABLE) - newer <= known
