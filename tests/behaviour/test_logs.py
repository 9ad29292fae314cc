"""Log lines about sizes, and the error log file."""

import logging
import re

import functions
import pytest
from support import SOON, TIME_FACTOR

from executorlib import SingleNodeExecutor


def logged_sizes(caplog, word):
    pattern = re.compile(rf"{word} dictionary of size: (\d+)$")
    return [
        int(match.group(1))
        for record in caplog.records
        if record.name == "executorlib" and record.levelno == logging.WARNING
        for match in [pattern.match(record.getMessage())]
        if match
    ]


def test_sizes_are_logged_on_request(make, caplog):
    with caplog.at_level(logging.WARNING, logger="executorlib"), make(log_obj_size=True) as exe:
        exe.submit(functions.identity, b"x" * 100_000).result(timeout=SOON)
        exe.submit(len, b"x").result(timeout=SOON)
    sent, received = logged_sizes(caplog, "Send"), logged_sizes(caplog, "Received")
    assert max(sent) > 100_000 and max(received) > 100_000
    assert min(sent) < 10_000 and min(received) < 10_000


def test_sizes_are_not_logged_by_default(exe, caplog):
    with caplog.at_level(logging.WARNING, logger="executorlib"):
        exe.submit(functions.identity, 1).result(timeout=SOON)
        exe.shutdown()
    assert not logged_sizes(caplog, "Send") and not logged_sizes(caplog, "Received")


def check_error_log(text):
    lines = text.splitlines()
    assert lines[0].startswith("function: ") and "divide" in lines[0]
    assert lines[1].startswith("args: ") and "1, 0" in lines[1]
    assert lines[2].startswith("kwargs: ") and "{}" in lines[2]
    assert lines[3].startswith("Traceback") and "return a / b" in text
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_error_log_file_of_the_executor(make, tmp_path):
    log = tmp_path / "error.log"
    exe = make(resource_dict={"error_log_file": str(log)})
    assert exe.submit(functions.identity, 1).result(timeout=SOON) == 1
    assert not log.exists()
    assert isinstance(exe.submit(functions.divide, 1, 0).exception(timeout=SOON), ZeroDivisionError)
    check_error_log(log.read_text())


def test_error_log_file_of_a_call(exe, tmp_path):
    log = tmp_path / "error.log"
    future = exe.submit(functions.divide, 1, 0, resource_dict={"error_log_file": str(log)})
    assert isinstance(future.exception(timeout=SOON), ZeroDivisionError)
    check_error_log(log.read_text())
    assert isinstance(exe.submit(functions.divide, 2, 0).exception(timeout=SOON), ZeroDivisionError)
    check_error_log(log.read_text())


def test_error_log_file_is_appended_to(make, tmp_path):
    log = tmp_path / "error.log"
    exe = make(resource_dict={"error_log_file": str(log)})
    for future in [exe.submit(functions.divide, 1, 0) for _ in range(10)]:
        future.exception(timeout=SOON)
    entries = log.read_text().split("function: ")[1:]
    assert len(entries) == 10
    for entry in entries:
        check_error_log(f"function: {entry}")


def test_relative_error_log_file_is_relative_to_the_calls_folder(make, tmp_path):
    folder = tmp_path / "work"
    exe = make(resource_dict={"cwd": str(folder), "error_log_file": "error.log"})
    assert isinstance(exe.submit(functions.divide, 1, 0).exception(timeout=SOON), ZeroDivisionError)
    check_error_log((folder / "error.log").read_text())


def test_an_error_log_file_that_cannot_be_written_does_not_hide_the_error(make, tmp_path):
    exe = make(resource_dict={"error_log_file": str(tmp_path / "missing" / "error.log")})
    error = exe.submit(functions.divide, 1, 0).exception(timeout=SOON)
    assert isinstance(error, (ZeroDivisionError, OSError))
    if isinstance(error, OSError):
        pytest.fail(f"the error of the function is lost: {error}")
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


# ---- output of a call, in files ----

OUT = ["print {0}", "puts {0}", "write {0}", "child {0}", "last {0}"]
ERR = ["error {0}", "grandchild {0}"]


def filled(lines, text):
    return [line.format(text) for line in lines]


def test_output_of_a_call_goes_to_its_files(exe, tmp_path):
    out, err = tmp_path / "out", tmp_path / "err"
    for text in ("one", "two"):
        exe.submit(
            functions.write_everywhere, text, resource_dict={"stdout_file": out, "stderr_file": str(err)}
        ).result(timeout=SOON)
    assert exe.submit(functions.write_everywhere, "elsewhere").result(timeout=SOON) is None
    assert out.read_text().splitlines() == filled(OUT, "one") + filled(OUT, "two")
    assert err.read_text().splitlines() == filled(ERR, "one") + filled(ERR, "two")


def test_both_outputs_in_one_file(exe, tmp_path):
    log = tmp_path / "log"
    exe.submit(functions.write_everywhere, "x", resource_dict={"stdout_file": log, "stderr_file": log}).result(SOON)
    assert sorted(log.read_text().splitlines()) == sorted(filled(OUT + ERR, "x"))


def test_the_answer_of_a_process_that_has_ended_counts(make, tmp_path):
    """It comes behind the descriptor of the log, at which a read of the socket ends."""
    exe = make(resource_dict={"stderr_file": str(tmp_path / "err")})
    futures = [exe.submit(functions.identity, number) for number in range(100)]
    assert [future.result(timeout=SOON) for future in futures] == list(range(100))


def test_output_files_of_the_executor(make, tmp_path):
    exe = make(resource_dict={"stderr_file": str(tmp_path / "err")})
    assert exe.submit(functions.speak, "words").result(timeout=SOON) == "words"
    assert isinstance(exe.submit(functions.divide, 1, 0).exception(timeout=SOON), ZeroDivisionError)
    assert list(exe.map(functions.speak, ["a"] * 20)) == ["a"] * 20
    assert (tmp_path / "err").read_text().splitlines() == ["words"] + ["a"] * 20


def test_output_files_are_relative_to_the_calls_folder(make, tmp_path):
    folder = tmp_path / "work"
    exe = make(resource_dict={"cwd": str(folder), "stdout_file": "logs/out", "stderr_file": "logs/err"})

    def wander(text):
        import os

        functions.write_everywhere(text)
        os.chdir("/")

    for text in ("one", "two"):
        exe.submit(wander, text).result(timeout=SOON)
    assert (folder / "logs" / "out").read_text().splitlines() == filled(OUT, "one") + filled(OUT, "two")
    assert (folder / "logs" / "err").read_text().splitlines() == filled(ERR, "one") + filled(ERR, "two")


def outputs():
    import os

    return [os.readlink(f"/proc/self/fd/{descriptor}") for descriptor in (1, 2)], sorted(os.listdir("/proc/self/fd"))


def test_a_persistent_worker_gets_its_output_back(tmp_path):
    files = {"stdout_file": str(tmp_path / "out"), "stderr_file": str(tmp_path / "err")}
    with SingleNodeExecutor(max_workers=1, block_allocation=True) as exe:
        before = exe.submit(outputs).result(timeout=SOON)
        during = exe.submit(outputs, resource_dict=files).result(timeout=SOON)
        assert isinstance(exe.submit(functions.divide, 1, 0, resource_dict=files).exception(SOON), ZeroDivisionError)
        assert exe.submit(outputs).result(timeout=SOON) == before
    assert during[0] == list(files.values())


@pytest.mark.parametrize("key", ["stdout_file", "stderr_file"])
def test_an_output_file_that_cannot_be_opened_fails_the_call(exe, tmp_path, key):
    error = exe.submit(functions.add, 1, 2, resource_dict={key: str(tmp_path)}).exception(timeout=SOON)
    assert isinstance(error, IsADirectoryError) and str(tmp_path) in str(error)
    assert exe.submit(functions.add, 1, 2).result(timeout=SOON) == 3


def test_what_a_process_of_its_own_says_at_its_end(tmp_path):
    def call():
        import atexit

        atexit.register(print, "at the end")

    out = tmp_path / "out"
    with SingleNodeExecutor() as exe:
        exe.submit(call, resource_dict={"stdout_file": out}).result(timeout=SOON)
    assert out.read_text() == "at the end\n"


ENDS = {"SIGKILL": {}, "os._exit": {}, "limit": {"run_time_max": 2.0 * TIME_FACTOR}, "terminate": {}}


@pytest.mark.parametrize("into_file", [False, True], ids=["pipe", "file"])
@pytest.mark.parametrize("end", ENDS)
def test_the_tail_is_in_every_error(exe, gate, tmp_path, end, into_file):
    limits = dict(ENDS[end])
    if into_file:
        limits["stderr_file"] = str(tmp_path / "err")
        (tmp_path / "err").write_text("written by others\n")
    exe.submit(functions.speak, "before", resource_dict=limits).result(timeout=SOON)
    if end in ("limit", "terminate"):
        future = exe.submit(functions.say_and_pause, gate.folder, "last words", resource_dict=limits)
        gate.arrival()
        assert end == "limit" or future.terminate()
    else:
        future = exe.submit(functions.crash_with_text, end, "last words", resource_dict=limits)
    error = future.exception(timeout=SOON)
    assert error.stderr == "last words\n" and "last words" in str(error)


def test_the_tail_of_a_file_is_bounded(exe, tmp_path):
    def shout():
        import os

        for number in range(20_000):
            os.write(2, b"line %d\n" % number)
        os._exit(1)

    error = exe.submit(shout, resource_dict={"stderr_file": str(tmp_path / "err")}).exception(timeout=SOON)
    assert error.stderr.endswith("line 19999\n") and len(error.stderr) == 4096
    assert (tmp_path / "err").read_text().startswith("line 0\n")


def test_the_tail_when_workers_cannot_start():
    def init():
        functions.crash_with_text("os._exit", "no licence")

    with SingleNodeExecutor(max_workers=1, block_allocation=True, init_function=init) as exe:
        error = exe.submit(functions.add, 1, 2).exception(timeout=SOON)
    assert "no licence" in error.stderr and "no licence" in str(error)
