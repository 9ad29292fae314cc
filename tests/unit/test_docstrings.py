"""Public docstrings: they name every parameter, and their examples run."""

import doctest
import importlib.util
import inspect

import pytest

import executorlib
import executorlib.api

NAMES = {name: getattr(module, name) for module in (executorlib, executorlib.api) for name in module.__all__}
METHODS = {
    f"{cls.__name__}.{name}": method
    for cls in (executorlib.BaseExecutor, executorlib.api.SocketInterface)
    for name, method in vars(cls).items()
    if inspect.isfunction(method) and not name.startswith("_")
}
ERRORS = {name for name, thing in NAMES.items() if inspect.isclass(thing) and issubclass(thing, BaseException)}
#: Their examples show what needs a scheduler, or what another example has left behind.
NOT_RUN = {
    "SlurmJobExecutor", "SlurmClusterExecutor", "FluxJobExecutor", "FluxClusterExecutor", "get_cache_data_queue",
    "terminate_task_in_cache", "terminate_tasks_in_cache",
}  # fmt: skip


def parameters(thing):
    try:
        found = inspect.signature(thing).parameters
    except ValueError:
        return []
    return [name for name in found if name not in ("self", "args", "kwargs")]


def section(docstring, title):
    _, _, rest = docstring.partition(f"{title}:\n")
    lines = rest.splitlines()
    end = next((i for i, line in enumerate(lines) if line and not line.startswith(" ")), len(lines))
    return "\n".join(lines[:end])


@pytest.mark.parametrize("name", sorted({*NAMES, *METHODS} - ERRORS))
def test_every_parameter_is_documented(name):
    thing = {**NAMES, **METHODS}[name]
    documented = section(inspect.getdoc(thing), "Parameters")
    if not documented and len(inspect.getdoc(thing).splitlines()) == 1:
        return  # says of what other function it is the short form
    assert [parameter for parameter in parameters(thing) if parameter not in documented] == []


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_every_error_says_when_it_is_raised(name):
    assert inspect.getdoc(NAMES[name]) not in (None, inspect.getdoc(Exception))


EXAMPLES = {**NAMES, **METHODS}


@pytest.mark.parametrize("name", sorted(name for name in EXAMPLES if ">>>" in (EXAMPLES[name].__doc__ or "")))
def test_examples_run(name, tmp_path, monkeypatch):
    if name in NOT_RUN:
        pytest.skip("needs a scheduler, or what another example has left behind")
    if name == "MpiExecSpawner" and not importlib.util.find_spec("mpi4py"):
        pytest.skip("needs mpi4py")
    monkeypatch.chdir(tmp_path)
    example = doctest.DocTestParser().get_doctest(
        EXAMPLES[name].__doc__, {**NAMES, "__name__": "__main__"}, name, None, 0
    )
    said = []
    failures = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    assert not failures.failed, "".join(said)


def test_the_examples_are_found():
    assert {"SingleNodeExecutor", "split_future", "BaseExecutor.submit"} <= {
        name for name in EXAMPLES if ">>>" in EXAMPLES[name].__doc__
    }
