"""Log lines about sizes, and the error log file."""

import logging
import re

import functions
import pytest
from support import SOON


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
