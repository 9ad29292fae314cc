"""The file that export_workflow_filename writes: nodes, edges and their order; plot mode of executors."""

import json
import os

from executorlib import (
    SingleNodeExecutor,
    SlurmClusterExecutor,
    SlurmJobExecutor,
    get_item_from_future,
    split_future,
)


def divide(a, b):
    return {"quotient": a // b, "remainder": a % b}


def pair(a):
    return a, a + 1


def add(a, b=0):
    return a + b


def total(values):
    return sum(values)


def arithmetic(exe):
    division = exe.submit(divide, 7, b=2)
    quotient = get_item_from_future(division, "quotient")
    exe.submit(add, quotient, b=get_item_from_future(division, "remainder"))
    exe.submit(add, a=division)


def parts(exe):
    first, second = split_future(exe.submit(pair, 3), 2)
    exe.submit(add, first, second)


def containers(exe):
    one, two = exe.submit(add, 1), exe.submit(add, 2, 3)
    listed = exe.submit(total, [one, two, one])
    keyed = exe.submit(total, {"x": one, "y": "text", "z": two})
    exe.submit(add, [1.5, None, True, "text", {"k": []}], [1.5, None, True, "text", {"k": []}])
    exe.submit(add, listed, keyed)


def mapped(exe):
    print(list(exe.map(add, [1, 2, 3], [4, 5, 6])), list(exe.map(pair, [7, 8], chunksize=2)))


def chain(exe):
    future = exe.submit(add, 0)
    for step in range(1, 5):
        future = exe.submit(add, future, b=step % 2 + 2)
    print(future.done(), future.result(), future.running(), future.cancelled(), len(exe))


def show(program, executor_class, **arguments):
    with executor_class(export_workflow_filename="workflow.json", **arguments) as exe:
        program(exe)
    with open("workflow.json") as file:
        workflow = json.load(file)
    os.remove("workflow.json")
    print(program.__name__, sorted(workflow), workflow["version"])
    for node in workflow["nodes"]:
        print("  node", node)
    for edge in workflow["edges"]:
        # The reference takes the result from the node with the highest number that has arguments, which is a list
        # rather than the last call where a call has one.
        if edge["targetPort"] is not None:
            print("  edge", edge)


if __name__ == "__main__":
    for program in (arithmetic, parts, containers, mapped, chain):
        show(program, SingleNodeExecutor)
    show(arithmetic, SingleNodeExecutor, plot_dependency_graph_filename="graph.svg")
    show(arithmetic, SingleNodeExecutor, block_allocation=True, max_workers=2, plot_dependency_graph=True)
    print(os.path.exists("graph.svg"))
    show(arithmetic, SlurmJobExecutor, plot_dependency_graph=True)
    show(arithmetic, SlurmClusterExecutor, plot_dependency_graph=True, resource_dict={"partition": "debug"})
