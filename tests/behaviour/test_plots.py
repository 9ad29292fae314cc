"""Programs shown instead of run: plot_dependency_graph and its relatives, on every executor."""

import concurrent.futures
import json
import os
import re
import threading
import time

import functions
import pytest
from support import SOON, TIME_FACTOR, descendants, run_script

from executorlib import (
    BaseExecutor,
    FluxClusterExecutor,
    FluxJobExecutor,
    SingleNodeExecutor,
    SlurmClusterExecutor,
    SlurmJobExecutor,
    get_item_from_future,
    split_future,
)
from executorlib.api import ResourceError, TestClusterExecutor

CLUSTER = [SlurmClusterExecutor, FluxClusterExecutor, TestClusterExecutor]
CLASSES = [SingleNodeExecutor, SlurmJobExecutor, FluxJobExecutor, *CLUSTER]


every_class = pytest.mark.parametrize("executor_class", CLASSES, ids=lambda cls: cls.__name__)


@pytest.fixture(params=[SingleNodeExecutor, SlurmClusterExecutor], ids=lambda cls: cls.__name__)
def executor_class(request):
    """One that runs calls itself, and one that hands them to another."""
    return request.param


@pytest.fixture
def path(tmp_path):
    return tmp_path / "workflow.json"


@pytest.fixture
def exported(path):
    """What was exported: functions in the order of calls, then everything else; and edges by position."""

    def exported():
        workflow = json.loads(path.read_text())
        nodes = [node.get("value", node.get("name")) for node in workflow["nodes"]]
        return nodes, [(edge["source"], edge["targetPort"], edge["target"]) for edge in workflow["edges"]]

    return exported


@every_class
def test_nothing_runs(executor_class, path, tmp_path, exported):
    started = time.monotonic()
    with executor_class(export_workflow_filename=path) as exe:
        first = exe.submit(functions.append_line, str(tmp_path / "lines"), "text")
        assert isinstance(first, concurrent.futures.Future)
        assert first.done() and not first.running() and not first.cancelled() and first.exception() is None
        assert first.result() is None
        assert not first.cancel() and not first.terminate()
        second = exe.submit(functions.identity, first)
        assert concurrent.futures.wait([first, second], timeout=0).done == {first, second}
        assert len(exe) == 0 and bool(exe)
        assert not path.exists()
    assert time.monotonic() - started < SOON
    assert not (tmp_path / "lines").exists()
    nodes, edges = exported()
    assert nodes[:2] == ["functions.append_line", "functions.identity"]
    assert (0, "value", 1) in edges


def test_on_shutdown_and_once(executor_class, path):
    exe = executor_class(export_workflow_filename=str(path))
    exe.submit(functions.identity, 1)
    exe.shutdown(wait=False, cancel_futures=True)
    assert path.exists()
    path.unlink()
    exe.shutdown()
    assert not path.exists()
    assert exe.info is None and exe.max_workers is None and exe.future_queue is None
    with pytest.raises(RuntimeError, match="after shutdown"):
        exe.submit(functions.identity, 1)


def test_settings(executor_class, path):
    with executor_class(max_workers=3, export_workflow_filename=path) as exe:
        assert exe.max_workers == 3
        assert exe.info["max_workers"] == 3 and exe.info["cores"] == 1
        assert exe.future_queue.qsize() == 0
        with pytest.raises(NotImplementedError):
            exe.max_workers = 4
    with executor_class(max_workers=3, block_allocation=True, export_workflow_filename=path) as exe:
        exe.max_workers = 4
        assert exe.max_workers == 4


def test_a_wrong_request_is_refused_when_it_is_made(executor_class, path):
    with pytest.raises(ResourceError):
        executor_class(export_workflow_filename=path, resource_dict={"cores": 0})
    with executor_class(export_workflow_filename=path) as exe:
        with pytest.raises(ResourceError):
            exe.submit(functions.identity, 1, resource_dict={"cores": "two"})
        with pytest.raises(TypeError):
            exe.submit(None)
        with pytest.raises(TypeError, match="JSON"):
            exe.submit(functions.identity, object())
    assert json.loads(path.read_text())["nodes"] == []


def test_resources_that_this_machine_lacks(executor_class, path):
    with executor_class(export_workflow_filename=path) as exe:
        assert exe.submit(functions.identity, 1, resource_dict={"cores": 1000, "gpus_per_core": 4}).done()


@pytest.mark.parametrize("cls", CLUSTER, ids=lambda cls: cls.__name__)
def test_keys_of_templates(cls, path):
    with pytest.warns(UserWarning, match="partition"):
        exe = cls(export_workflow_filename=path, resource_dict={"partition": "debug"})
    with exe, pytest.warns(UserWarning, match="account"):
        exe.submit(functions.identity, 1, resource_dict={"account": "me"})


@pytest.mark.parametrize("cls", [SlurmJobExecutor, FluxJobExecutor], ids=lambda cls: cls.__name__)
def test_keys_that_nobody_knows(cls, path):
    with pytest.raises(ResourceError, match="partition"):
        cls(export_workflow_filename=path, resource_dict={"partition": "debug"})


@every_class
def test_plots_need_dependencies(executor_class):
    for arguments in ({"plot_dependency_graph": True}, {"plot_dependency_graph_filename": "graph.svg"}):
        with pytest.raises(ValueError, match="disable_dependencies"):
            executor_class(disable_dependencies=True, **arguments)


@pytest.mark.parametrize(
    "arguments",
    [{"plot_dependency_graph": True}, {"plot_dependency_graph_filename": "graph.svg"}],
    ids=["notebook", "file"],
)
def test_what_is_missing_is_found_at_construction(executor_class, arguments, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="dot"):
        executor_class(**arguments)
    with pytest.raises(ValueError, match="picture format"):
        monkeypatch.undo()
        executor_class(plot_dependency_graph_filename=tmp_path / "graph.what")


@every_class
def test_a_filename_draws(executor_class, tmp_path):
    path = tmp_path / "graph.svg"
    with executor_class(plot_dependency_graph_filename=path) as exe:
        exe.submit(functions.add, exe.submit(functions.identity, 5), 6)
    texts = re.findall(r">([^<]+)</text>", path.read_text())
    assert {"add", "identity", "5", "6"} <= set(texts)


def test_the_export_wins(path, tmp_path):
    with SingleNodeExecutor(
        plot_dependency_graph=True, plot_dependency_graph_filename=tmp_path / "graph.svg", export_workflow_filename=path
    ) as exe:
        exe.submit(functions.identity, 1)
    assert os.listdir(tmp_path) == ["workflow.json"]


def test_an_error_in_the_program_does_not_hide_the_graph(path):
    with pytest.raises(KeyError), SingleNodeExecutor(export_workflow_filename=path) as exe:
        exe.submit(functions.identity, 1)
        raise KeyError
    assert path.exists()


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    exe = SingleNodeExecutor(export_workflow_filename=tmp_path / "missing" / "workflow.json")
    with pytest.raises(FileNotFoundError, match="missing"):
        exe.shutdown()
    exe.shutdown()


def test_warnings_point_to_the_program(executor_class, path):
    with executor_class(export_workflow_filename=path) as exe:
        with pytest.warns(UserWarning, match="lambda") as caught:
            future = exe.submit(lambda a: a, 1)
        with pytest.warns(UserWarning, match="tuple") as more:
            exe.submit(functions.identity, split_future(future, 1)[0])
    assert [warning.filename for warning in [*caught, *more]] == [__file__, __file__]


def test_map(executor_class, path, exported):
    with executor_class(export_workflow_filename=path) as exe:
        assert list(exe.map(functions.add, [1, 2, 3], [4, 5])) == [None, None]
        assert list(exe.map(functions.identity, [6, 7, 8], chunksize=2)) == [None] * 3
        with pytest.raises(ValueError):
            exe.map(functions.identity, [1], chunksize=0)
    nodes, edges = exported()
    assert nodes[:5] == ["functions.add"] * 2 + ["functions.identity"] * 3
    assert [nodes[source] for source, port, _ in edges if port in ("a", "b", "value")] == [1, 4, 2, 5, 6, 7, 8]


def test_map_over_futures(path):
    with SingleNodeExecutor(export_workflow_filename=path) as exe, pytest.warns(UserWarning, match="tuple"):
        items = exe.submit(functions.identity, [1, 2])
        assert list(exe.map(functions.add, items, [7, 8])) == [None, None]
        assert list(exe.map(functions.identity, items)) == [None]
        done = concurrent.futures.Future()
        done.set_result([9])
        assert list(exe.map(functions.identity, done)) == [None]
    ports = [(edge["source"], edge["sourcePort"]) for edge in json.loads(path.read_text())["edges"]]
    assert [port for port in ports if port[0] == 0] == [(0, "0"), (0, "1"), (0, None)]
    assert [node.get("value") for node in json.loads(path.read_text())["nodes"]].count(9) == 1


def test_batches(executor_class, path, exported):
    with executor_class(export_workflow_filename=path) as exe:
        batches = exe.batched([exe.submit(functions.identity, number) for number in range(3)], n=2)
        assert [batch.result(timeout=0) for batch in batches] == [[None, None], [None]]
        for batch in batches:
            exe.submit(functions.identity, batch)
        with pytest.raises(ValueError):
            exe.batched(batches, n=0)
    nodes, edges = exported()
    lists = [index for index, node in enumerate(nodes) if node == "python_workflow_definition.shared.get_list"]
    assert [edge for edge in edges if edge[2] in lists] == [
        (0, "0", lists[0]),
        (1, "1", lists[0]),
        (2, "0", lists[1]),
    ]


def test_items_of_futures(path):
    with SingleNodeExecutor(plot_dependency_graph_filename=path.with_suffix(".svg")) as exe:
        pair = exe.submit(functions.identity, (1, 2))
        first, second = split_future(pair, 2)
        item = get_item_from_future(pair, "energy")
        assert first.result() is second.result() is item.result() is None
        assert concurrent.futures.wait([first, item], timeout=SOON).not_done == set()
        exe.submit(functions.echo, first, second, x=item)
    assert "[&#39;energy&#39;]" in path.with_suffix(".svg").read_text()


def test_calls_of_several_threads(path, exported):
    def work(number):
        previous = exe.submit(functions.identity, number)
        for _ in range(50):
            previous = exe.submit(functions.add, previous, number)

    with SingleNodeExecutor(export_workflow_filename=path) as exe:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    nodes, edges = exported()
    assert nodes.count("functions.add") == 200
    assert len(edges) == 4 + 400 + 1


def test_a_mixin_sees_the_calls(path, exported):
    class Adding(BaseExecutor):
        def submit(self, fn, /, *args, **kwargs):
            super().submit(functions.identity, "first")
            return super().submit(fn, *args, **kwargs)

    for base in (SingleNodeExecutor, SlurmClusterExecutor):
        with type("Made", (Adding, base), {})(export_workflow_filename=path) as exe:
            list(exe.map(functions.add, [1], [2]))
        assert exported()[0][:2] == ["functions.identity", "functions.add"]


def test_a_session_of_a_module_is_not_opened(path, monkeypatch):
    monkeypatch.setattr(functions, "init_function", lambda: {"b": 1}, raising=False)
    with SingleNodeExecutor(export_workflow_filename=path) as exe:
        exe.submit(functions.add, 1)
    assert json.loads(path.read_text())["nodes"][0]["value"] == "functions.add"


PROGRAM = """
    import sys
    from executorlib import SingleNodeExecutor, get_item_from_future

    def split(number):
        return {"half": number // 2, "rest": number % 2}

    def total(values):
        return sum(values)

    arguments = {"plot_dependency_graph_filename": sys.argv[1]} if len(sys.argv) > 1 else {}
    with SingleNodeExecutor(block_allocation=True, max_workers=2, **arguments) as exe:
        parts = [exe.submit(split, number) for number in range(4)]
        halves = [get_item_from_future(part, "half") for part in parts]
        batches = exe.batched(halves, n=3)
        results = list(exe.map(total, [[1, 2], [3, 4]]))
        print([exe.submit(total, halves).result(), *(exe.submit(len, batch).result() for batch in batches)], results)
"""


def test_the_same_program_with_and_without(tmp_path):
    done = run_script(tmp_path, PROGRAM)
    assert (done.stdout, done.stderr) == ("[2, 3, 1] [3, 7]\n", "")
    done = run_script(tmp_path, PROGRAM, "graph.svg")
    assert (done.stdout, done.stderr) == ("[None, None, None] [None, None]\n", "")
    assert (tmp_path / "graph.svg").read_text().count(">split</text>") == 4


def test_a_program_that_ends_without_shutdown(tmp_path):
    program = """
        from executorlib import SingleNodeExecutor
        exe = SingleNodeExecutor(plot_dependency_graph_filename="graph.svg")
        exe.submit(sum, [1, 2])
    """
    done = run_script(tmp_path, program)
    assert (done.returncode, done.stderr) == (0, "")
    assert ">sum</text>" in (tmp_path / "graph.svg").read_text()


def chain(exe, count):
    future = 0
    for number in range(count):
        future = exe.submit(functions.add, future, number % 7)


def fan(exe, count):
    exe.submit(functions.identity, [exe.submit(functions.identity, number) for number in range(count - 1)])


@pytest.mark.timing
@pytest.mark.parametrize("program", [chain, fan])
def test_ten_thousand_calls_are_exported_quickly(path, program, exported):
    started = time.monotonic()
    with SingleNodeExecutor(export_workflow_filename=path) as exe:
        program(exe, 10_000)
    assert time.monotonic() - started < 20 * TIME_FACTOR
    assert sum(str(node).startswith("functions.") for node in exported()[0]) == 10_000


@pytest.mark.timing
@pytest.mark.timeout(300)
def test_ten_thousand_calls_are_drawn(tmp_path):
    started = time.monotonic()
    with SingleNodeExecutor(plot_dependency_graph_filename=tmp_path / "graph.svg") as exe:
        chain(exe, 5_000)
        fan(exe, 5_000)
    assert time.monotonic() - started < 60 * TIME_FACTOR
    assert (tmp_path / "graph.svg").read_text().count(">identity</text>") == 5_000


def test_nothing_is_started(path):
    before = set(descendants(os.getpid()))
    with SingleNodeExecutor(block_allocation=True, max_workers=2, export_workflow_filename=path) as exe:
        exe.submit(functions.identity, 1)
        assert set(descendants(os.getpid())) <= before
