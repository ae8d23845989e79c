"""How Sphinx builds the site: ``make docs``.

The source folder is the repository, so that links between README, pages and examples are the same here and on a code
host. Nothing in the built pages comes from elsewhere: MathJax and its fonts lie beside them.
"""

import sys
import tomllib
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import write_reference  # noqa: E402 - it lies beside this file

PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = PROJECT["name"]
author = "The consensus_imitation authors"
copyright = author  # noqa: A001 - Sphinx's name
version = release = PROJECT["version"]
language = "en"

root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/**.md",
    "examples/README.md",
    "benchmarks/README.md",
]
exclude_patterns = [
    ".*",
    "build",
    "demo",
    "dist",
    "out",
    "docs/_build",
    "consensus_imitation",
    "envs",
    "tests",
    "*.egg-info",
]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx-mathjax-offline",
]

# Pages: Markdown as on a code host, with mathematics between dollars and links to headings.
source_suffix = {".md": "myst-nb"}
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # a page may begin below the first level

# Notebooks run whenever the site is built, and a cell that raises stops the build.
nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True

# The reference: docstrings in Google's style, with names between single backticks.
default_role = "code"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
toc_object_entries_show_parents = "hide"
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "sphinx_book_theme"
html_title = "consensus_imitation"
html_static_path = ["_static"]
html_extra_path = ["_root"]  # the address without a page's name leads to docs/index.html
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_theme_options = {
    "home_page_in_toc": True,
    "show_navbar_depth": 1,
    "navbar_persistent": [],  # the search is in the side bar
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
}


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the pages of the reference before they are read."""
    write_reference.write(HERE / "reference")
    del app
    return {"parallel_read_safe": False}
