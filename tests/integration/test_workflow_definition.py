"""Exported workflows, read and run by the package that defines their format."""

import functions
import pytest
from python_workflow_definition import executorlib as backend
from python_workflow_definition import purepython
from python_workflow_definition.models import PythonWorkflowDefinitionWorkflow as Definition
from support import SOON

from executorlib import SingleNodeExecutor, get_item_from_future


def program(exe):
    """Values, items, lists and dictionaries of futures, and both together."""
    division = exe.submit(functions.quotient_and_remainder, 17, b=5)
    quotient, remainder = (get_item_from_future(division, key) for key in ("quotient", "remainder"))
    both = exe.submit(functions.add, quotient, b=remainder)
    squares = [exe.submit(functions.square, number) for number in (1, 2)]
    listed = exe.submit(functions.total, [both, 3, remainder])
    keyed = exe.submit(functions.total_of_items, {"x": listed, "y": 4})
    (batch,) = exe.batched([listed, keyed], n=2)
    return exe.submit(functions.add, exe.submit(functions.total, squares), b=exe.submit(functions.total, batch))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "workflow.json"
    with SingleNodeExecutor(export_workflow_filename=path) as exe:
        assert program(exe).result() is None
    return str(path)


@pytest.fixture(scope="module")
def expected():
    with SingleNodeExecutor(block_allocation=True, max_workers=1) as exe:
        return program(exe).result(timeout=SOON)


def test_read(path):
    workflow = Definition.load_json_file(path)
    kinds = [node["type"] for node in workflow["nodes"]]
    assert (kinds.count("function"), kinds.count("output")) == (9 + 4, 1)


def test_run_without_an_executor(path, expected):
    assert purepython.load_workflow_json(path) == expected


@pytest.mark.parametrize(
    "arguments", [{"max_cores": 2}, {"block_allocation": True, "max_workers": 2}], ids=["per_call", "block"]
)
def test_run_on_an_executor(path, expected, arguments):
    with SingleNodeExecutor(**arguments) as exe:
        assert backend.load_workflow_json(path, exe=exe).result(timeout=SOON) == expected


def test_export_again_what_was_read(path, tmp_path, expected):
    """A workflow that is read into an executor that exports gives a workflow with the same result."""
    again = tmp_path / "again.json"
    with SingleNodeExecutor(export_workflow_filename=again) as exe:
        assert backend.load_workflow_json(path, exe=exe).done()
    assert purepython.load_workflow_json(str(again)) == expected


def test_ten_thousand_calls_are_read(tmp_path):
    path = tmp_path / "workflow.json"
    with SingleNodeExecutor(export_workflow_filename=path) as exe:
        exe.submit(functions.total, [exe.submit(functions.add, float(i), b="text") for i in range(9_999)])
    assert len(Definition.load_json_file(path)["nodes"]) == 10_000 + 1 + 9_999 + 1 + 1


def test_numbers_that_json_does_not_know(tmp_path):
    path = tmp_path / "workflow.json"
    with SingleNodeExecutor(export_workflow_filename=path) as exe:
        exe.submit(functions.add, float("inf"), float("nan"))
    values = [node.get("value") for node in Definition.load_json_file(path)["nodes"]]
    assert values[1] == float("inf") and values[2] != values[2]
