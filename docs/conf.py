"""How Sphinx builds the site: `make docs` writes it to build/docs, from these pages, the docstrings and the tutorials.

Tutorials are executed while the site is built. Nothing is loaded from a network, neither then nor by a reader.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]
# So that a tutorial's shell commands, and its Python, are those that build the site.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])

import emeraldcut  # noqa: E402  from the sources beside this file

project = "emeraldcut"
author = "the emeraldcut developers"
project_copyright = f"2026, {author}, BSD-3-Clause"
version = release = emeraldcut.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinx_additions",
]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb"}  # the first is that of generated pages
exclude_patterns = ["_static", "**/jupyter_execute"]
default_role = "literal"
highlight_language = "sh"  # of blocks that do not name theirs
nitpicky = False

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # CHANGELOG has headings by kind, whatever the page above them

nb_execution_mode = "force"
nb_execution_timeout = 1200  # of one cell, in seconds; on a machine with other work
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_merge_streams = True

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
numpydoc_validation_checks = set()

templates_path = ["_templates"]
html_theme = "pydata_sphinx_theme"
html_title = "emeraldcut"
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"
html_theme_options = {
    "logo": {"text": "emeraldcut"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_prev_next": True,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_context = {"default_mode": "auto"}  # light or dark as the reader's system is
html_sidebars = {"index": [], "start": [], "results": []}  # which have no pages below them
copybutton_exclude = ".linenos, .gp"
