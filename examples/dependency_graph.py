"""Show how the calls of a program depend on each other, without running them.

The program is the same; one parameter of the executor decides whether it runs, is drawn, or is exported as a workflow
that workflow managers read (the Python Workflow Definition).
"""

import json
import sys

from executorlib import SingleNodeExecutor, get_item_from_future


def relax(lattice):
    """Stands for a calculation that finds a structure's energy."""
    return {"lattice": lattice, "energy": (lattice - 4.05) ** 2 - 3.4}


def lowest(energies):
    return min(energies)


def program(exe):
    structures = [exe.submit(relax, lattice) for lattice in (3.9, 4.0, 4.1)]
    return exe.submit(lowest, [get_item_from_future(structure, "energy") for structure in structures])


def main():
    with SingleNodeExecutor(max_cores=2) as exe:
        energy = program(exe).result()
    with SingleNodeExecutor(plot_dependency_graph_filename="dependency_graph.svg") as exe:
        nothing = program(exe).result()
    with SingleNodeExecutor(export_workflow_filename="dependency_graph.json") as exe:
        program(exe)

    with open("dependency_graph.svg") as file:
        drawn = file.read().count(">relax</text>")
    with open("dependency_graph.json") as file:
        exported = sum(node.get("value") == "__main__.relax" for node in json.load(file)["nodes"])
    if nothing is not None or (drawn, exported) != (3, 3) or abs(energy + 3.3975) > 1e-9:
        print(f"FAILED: {nothing}, {drawn}, {exported}, {energy}", file=sys.stderr)
        return 1
    print(f"dependency graph: energy {energy:.4f}; drawn as dependency_graph.svg, exported as dependency_graph.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
