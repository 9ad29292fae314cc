"""init_function: arguments preset in persistent workers, and executorlib_worker_id."""

import functions
import pytest
from support import SOON

pytestmark = pytest.mark.usefixtures("persistent")


@pytest.fixture
def persistent(mode):
    if not mode.block:
        pytest.skip("presets need persistent workers")


def presets():
    return {"a": 1, "b": 2, "unused": 3}


def test_named_parameters_are_filled(make):
    exe = make(init_function=presets)
    assert exe.submit(functions.add).result(timeout=SOON) == 3
    assert exe.submit(functions.add, 10).result(timeout=SOON) == 12


def test_the_caller_wins(make):
    exe = make(init_function=presets)
    assert exe.submit(functions.add, b=20).result(timeout=SOON) == 21
    assert exe.submit(functions.add, 10, 20).result(timeout=SOON) == 30
    assert exe.submit(functions.add, 10, b=20).result(timeout=SOON) == 30


def test_keyword_only_parameters_are_filled(make):
    exe = make(init_function=presets)
    assert exe.submit(lambda *, b, c=5: (b, c)).result(timeout=SOON) == (2, 5)


def test_defaults_give_way_to_presets(make):
    exe = make(init_function=presets)
    assert exe.submit(lambda a=100: a).result(timeout=SOON) == 1


def test_catch_all_parameters_get_nothing(make):
    exe = make(init_function=presets)
    assert exe.submit(functions.echo, 5).result(timeout=SOON) == ((5,), {})


def test_functions_without_a_signature_get_nothing(make):
    exe = make(init_function=presets)
    assert exe.submit(max, 4, 7).result(timeout=SOON) == 7


def test_map_uses_presets(make):
    exe = make(init_function=presets)
    assert list(exe.map(lambda x, b: x + b, [1, 2], timeout=SOON)) == [3, 4]


def test_init_runs_once_per_worker(make, mode, gate, tmp_path):
    log = str(tmp_path / "log")

    def init():
        functions.append_line(log, functions.worker_pid())
        return {"preset": object()}

    exe = make(init_function=init)
    futures = [gate.submit(exe) for _ in range(mode.workers)]
    pids = gate.arrivals(mode.workers)
    gate.open()
    [future.result(timeout=SOON) for future in futures]
    for _ in range(5):
        exe.submit(lambda preset: None).result(timeout=SOON)
    assert sorted(map(int, open(log).read().split())) == sorted(pids)


def test_objects_that_cannot_be_pickled_live_in_the_worker(make):
    def start_child():
        import subprocess

        return {"child": subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)}

    def talk(text, child):
        child.stdin.write(text + "\n")
        child.stdin.flush()
        return child.pid, child.stdout.readline().strip()

    exe = make(init_function=start_child, max_workers=1)
    first, second = (exe.submit(talk, text).result(timeout=SOON) for text in ("one", "two"))
    assert (first[1], second[1]) == ("one", "two")
    assert first[0] == second[0]


def test_worker_ids_count_from_zero(make, mode, gate):
    def at_gate(folder, executorlib_worker_id):
        return functions.pass_gate(folder, executorlib_worker_id)

    exe = make()
    futures = [exe.submit(at_gate, gate.folder) for _ in range(mode.workers)]
    gate.arrivals(mode.workers)
    gate.open()
    assert sorted(future.result(timeout=SOON) for future in futures) == list(range(mode.workers))


def test_init_may_take_the_worker_id(make, mode, gate):
    def init(executorlib_worker_id):
        return {"value": executorlib_worker_id * 10}

    exe = make(init_function=init)
    futures = [exe.submit(functions.pass_gate, gate.folder) for _ in range(mode.workers)]
    gate.arrivals(mode.workers)
    gate.open()
    assert sorted(future.result(timeout=SOON) for future in futures) == [10 * n for n in range(mode.workers)]


def test_a_restarted_worker_keeps_its_id_and_runs_init_again(make, mode, make_gate):
    import os
    import signal

    import support

    def init(executorlib_worker_id):
        return {"init_id": executorlib_worker_id}

    def at_gate(folder, init_id, executorlib_worker_id):
        assert init_id == executorlib_worker_id
        return functions.pass_gate(folder, executorlib_worker_id)

    def ids_by_pid():
        gate = make_gate()
        futures = [exe.submit(lambda folder, init_id, executorlib_worker_id: (
            os.getpid(), at_gate(folder, init_id, executorlib_worker_id)), gate.folder)
            for _ in range(mode.workers)]  # fmt: skip
        gate.arrivals(mode.workers)
        gate.open()
        return dict(future.result(timeout=SOON) for future in futures)

    exe = make(init_function=init)
    before = ids_by_pid()
    victim = max(before, key=before.get)
    os.kill(victim, signal.SIGKILL)
    assert not support.alive_after([victim], SOON)
    after = ids_by_pid()
    assert sorted(after.values()) == list(range(mode.workers))
    assert victim not in after


def test_error_of_init_fails_every_call(make):
    def init():
        raise LookupError("no licence for this machine")

    exe = make(init_function=init)
    for _ in range(3):
        error = exe.submit(functions.identity, 1).exception(timeout=SOON)
        assert type(error) is LookupError and "no licence" in str(error)


def test_init_that_returns_no_dictionary_fails_every_call(make):
    exe = make(init_function=lambda: 42)
    for _ in range(2):
        assert isinstance(exe.submit(functions.identity, 1).exception(timeout=SOON), (TypeError, ValueError))


def test_a_failing_init_leaves_other_executors_alone(make):
    def init():
        raise LookupError("broken")

    broken, sound = make(init_function=init), make()
    assert isinstance(broken.submit(functions.identity, 1).exception(timeout=SOON), LookupError)
    assert sound.submit(functions.identity, 1).result(timeout=SOON) == 1
