"""The types of errors: of functions, of arguments, of resource requests."""

import os
import tempfile

from executorlib import SingleNodeExecutor


class Custom(Exception):
    pass


def fail(kind):
    raise {"value": ValueError("v"), "key": KeyError("k"), "custom": Custom("c", 1), "os": OSError(2, "gone")}[kind]


def with_resources(resource_dict):
    return resource_dict


if __name__ == "__main__":
    with SingleNodeExecutor(block_allocation=True, max_workers=1) as exe:
        for kind in ("value", "key", "custom", "os"):
            error = exe.submit(fail, kind).exception()
            print(type(error).__name__, error.args)
        try:
            exe.submit(with_resources, 1)
        except ValueError as error:
            print(type(error).__name__)
        print(exe.submit(abs, -1).result())

    refused = [
        {"resource_dict": {"no_such_key": 1}},
        {"wait": False},
        {"disable_dependencies": True, "refresh_rate": 1.0},
        {"disable_dependencies": True, "plot_dependency_graph": True},
        {"resource_dict": {"slurm_cmd_args": ["--account=x"]}},
    ]
    for arguments in refused:
        try:
            SingleNodeExecutor(**arguments)
        except (ValueError, TypeError):  # an unknown key: without pydantic the original raises a TypeError
            print("refused", list(arguments))

    with SingleNodeExecutor(max_cores=2) as exe:
        for resources in ({"cores": 3}, {"no_such_key": 1}):
            try:
                exe.submit(abs, -1, resource_dict=resources)
            except (ValueError, TypeError):
                print("refused", resources)
        try:
            exe.max_workers = 3
        except NotImplementedError as error:
            print(type(error).__name__)

    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, "error.log")
        with SingleNodeExecutor(block_allocation=True, max_workers=1, resource_dict={"error_log_file": log}) as exe:
            print(type(exe.submit(fail, "value").exception()).__name__)
        lines = open(log).read().splitlines()
        print([line.split(":")[0] for line in lines[:3]], lines[1:4], lines[-1])
