"""The documentation site builds without a warning, and its Python runs as printed.

The Python blocks of a page are one script. What it prints must be what the comment behind each `print` says. Pages that
need a Slurm, or a Flux, are run by the tests of those.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys

import pytest
import support
from pages import DOCS, run, script_of

import executorlib.api

PAGES = sorted([*DOCS.rglob("*.md"), DOCS.parent / "README.md"])

SCRIPTS = [page for page in PAGES if script_of(page) and not page.name.startswith(("slurm_", "flux_"))]


def test_the_first_example_is_found():
    assert {"README.md", "index.md", "test_cluster.md"} <= {page.name for page in SCRIPTS}
    assert "second.result()" in script_of(DOCS.parent / "README.md")


@pytest.mark.parametrize("page", SCRIPTS, ids=lambda page: page.stem)
def test_the_python_of_a_page(page, tmp_path):
    script = script_of(page)
    if "mpi4py" in script and not importlib.util.find_spec("mpi4py"):
        pytest.skip("needs mpi4py")
    if "plot_dependency_graph_filename=" in script and not shutil.which("dot"):
        pytest.skip("needs Graphviz")
    run(page, tmp_path)


@pytest.mark.timeout(240)
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("furo")
    pytest.importorskip("myst_parser")
    if not shutil.which("dot"):
        pytest.skip("needs Graphviz")
    build = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-b",
        "html",
        str(DOCS),
        str(tmp_path / "html"),
    ]
    done = subprocess.run(build, capture_output=True, text=True, timeout=200 * support.TIME_FACTOR)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    reference = (tmp_path / "html" / "reference.html").read_text()
    assert all(f'id="executorlib.{name}"' in reference for name in executorlib.__all__)
    assert all(f'id="executorlib.api.{name}"' in reference for name in executorlib.api.__all__)


def test_every_error_is_in_the_troubleshooting():
    text = (DOCS / "troubleshooting.md").read_text()
    errors = [
        name
        for name, thing in vars(executorlib.api).items()
        if isinstance(thing, type) and issubclass(thing, BaseException)
    ]
    assert len(errors) >= 12
    assert [name for name in errors if f"`{name}`" not in text.partition("## The classes")[0]] == ["RemoteTraceback"]
    assert all(name in text.partition("## The classes")[2] for name in errors)


def test_every_resource_is_in_its_table():
    from executorlib._resources import _CONVERTERS

    text = (DOCS / "resources.md").read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    assert [key for key in _CONVERTERS if not any(f"`{key}`" in row for row in rows)] == []


def test_every_variable_is_in_its_table():
    text = (DOCS / "resources.md").read_text()
    package = os.path.dirname(executorlib.__file__)
    named = {
        name
        for folder, _, files in os.walk(package)
        for file in files
        if file.endswith(".py")
        for name in re.findall(r"EXECUTORLIB_[A-Z_]+", open(os.path.join(folder, file)).read())
    }
    inner = {
        "EXECUTORLIB_FLUX_NESTING",
        "EXECUTORLIB_RANKS",
        "EXECUTORLIB_ZYGOTE",
    }  # what our own processes tell each other
    assert {name for name in named if f"`{name}`" not in text} <= inner


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md"])
def test_links_between_files_lead_somewhere(name):
    links = re.findall(r"\]\((?!https:)([^)#]+)", (DOCS.parent / name).read_text())
    assert [link for link in links if not (DOCS.parent / link).exists()] == []
