"""The documentation site. `make docs` builds it, with warnings as errors."""

from importlib import metadata

project = "executorlib"
author = "the executorlib authors"
copyright = "BSD 3-Clause license"
release = metadata.version("executorlib")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.graphviz",
    "sphinx.ext.napoleon",
]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings have them, with units and defaults
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

graphviz_output_format = "svg"

html_theme = "furo"
html_title = f"executorlib {release}"
html_copy_source = False
