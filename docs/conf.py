"""Sphinx: the site from the guide (Markdown), the docstrings (numpydoc) and ``examples/`` (executed).

``make docs`` builds it into ``docs/_build/html`` without network.
"""

import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
# The gallery: one thread, generated data, an empty cache and no network, so that every build shows the same.
_EMPTY = tempfile.TemporaryDirectory()
os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg"}
os.environ |= {name: f"{_EMPTY.name}/{name}" for name in ("PLMLEARN_DATA", "PLMLEARN_CACHE")}

from api_pages import write_api_pages  # noqa: E402
from links import turn_links  # noqa: E402
from outside import resolve_outside  # noqa: E402

import plmlearn  # noqa: E402

project, author, copyright = "plmlearn", "the plmlearn developers", "the plmlearn developers"
version = release = plmlearn.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "gallery/*.ipynb", "gallery/*.py"]
default_role = "py:obj"
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
templates_path = ["_templates"]

# -- reference --------------------------------------------------------------------------------------

autosummary_generate = True
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # numpydoc's sections tell the types
autodoc_default_options = {"members": True, "inherited-members": False}
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

# -- gallery ----------------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": str(ROOT / "examples"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"/(?!demo\.)\w+\.py$",  # demo.py takes minutes; its page shows stored output
    "reference_url": {"plmlearn": None},
    "doc_module": ("plmlearn",),
    "backreferences_dir": "gallery/backreferences",
    "inspect_global_variables": False,
    "thumbnail_size": (800, 560),
    "default_thumb_file": str(ROOT / "docs" / "_static" / "no-picture.png"),
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,
    "abort_on_example_error": True,
}

# -- look -------------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "plmlearn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/logo.svg"
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "plmlearn", "image_light": "_static/logo.svg", "image_dark": "_static/logo.svg"},
    "navbar_align": "left",
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "header_links_before_dropdown": 6,
}
html_sidebars = {name: [] for name in ("index", "changes", "how-do-i", "gallery/index")}


def setup(app) -> None:
    write_api_pages(Path(app.srcdir) / "api")
    app.connect("missing-reference", resolve_outside)
    app.connect("source-read", turn_links)
