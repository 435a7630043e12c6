"""Sphinx's settings: ``sphinx-build -W -b html docs OUT`` builds the site, as .ci/run does."""

import sys
from pathlib import Path

from rgcn_jax import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "rgcn_jax"
author = "The rgcn_jax authors"
copyright = f"{author}. Apache-2.0"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated_pages"]
exclude_patterns = ["_ext", "_static"]
html_theme = "furo"
html_title = f"rgcn_jax {__version__}"
html_static_path = ["_static"]
html_css_files = ["commands.css"]
html_show_sourcelink = False
html_copy_source = False

nb_execution_mode = "off"  # tests execute the notebooks; the site shows them as they are stored
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4  # links to headings, as GitHub makes them

add_module_names = False
autodoc_default_options = {"members": True, "special-members": "__call__", "member-order": "bysource"}
autodoc_inherit_docstrings = False  # flax.linen.Module's would stand below every model
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Fields", "params_style")]
default_role = "code"


def keep_colons(app, what, name, obj, options, lines) -> None:
    """Prevent napoleon from reading a constant's docstring "Aspect ratio: height over width" as its type and text."""
    if what in ("data", "attribute"):
        lines[:0] = ["..", ""]  # an empty comment, and a first line without a colon


def setup(app) -> None:
    """Register the hook before napoleon's (priority 500)."""
    app.connect("autodoc-process-docstring", keep_colons, priority=100)
