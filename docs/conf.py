# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The documentation site: `make docs`, or `python -m sphinx -W docs site`.

Pages are Markdown (MyST) that reads well on its own, too; the API reference comes from docstrings. What is built loads
nothing from other hosts: formulas become MathML, search runs in the browser.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE.parent / "src")]

from wings_hf import __version__  # noqa: E402

project = "wings_hf"
author = "The wings_hf authors"
project_copyright = "2026, The wings_hf authors, Apache-2.0"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "field_help",
    "mathml",
]
exclude_patterns = ["_extensions", "images", "**/.ipynb_checkpoints"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
math_renderer = "mathml"

# Docstrings mark code with single backticks: a link where the name is documented, else just code.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
python_maximum_signature_line_length = 100

html_theme = "furo"
html_title = f"wings_hf {release}"
html_static_path = ["_static"]
html_css_files = ["wings.css"]
html_favicon = "_static/favicon.svg"
html_copy_source = False
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp, .go"
pygments_style = "friendly"
pygments_dark_style = "monokai"
