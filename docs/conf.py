"""Sphinx: the site from the guide (Markdown), the docstrings (numpydoc) and ``examples/`` (executed).

``make docs`` builds it into ``docs/_build/html`` without network.
"""

import os
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the same figures on every machine

import plmlearn  # noqa: E402
from api_pages import package_names, write_api_pages  # noqa: E402
from links import turn_links  # noqa: E402
from outside import resolve_outside  # noqa: E402

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
exclude_patterns = ["_build", "benchmarks-preface.md", "examples/*.ipynb", "examples/*.py"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
templates_path = ["_templates"]

# -- reference --------------------------------------------------------------------------------------

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections tell the types
autodoc_default_options = {"members": True, "inherited-members": False}
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

# -- gallery ----------------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": str(ROOT / "examples"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"__init__\.py",
    "within_subsection_order": "FileNameSortKey",
    "reference_url": {"plmlearn": None},
    "doc_module": ("plmlearn",),
    "backreferences_dir": "gallery/backreferences",
    "inspect_global_variables": False,
    "remove_config_comments": True,
    "show_memory": False,
    "abort_on_example_error": True,
}
warnings.filterwarnings("ignore", category=UserWarning, module="sphinx_gallery")

# -- look -------------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "plmlearn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "plmlearn"},
    "navbar_align": "left",
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "header_links_before_dropdown": 6,
}
html_sidebars = {"index": [], "changes": []}


def setup(app) -> None:
    write_api_pages(Path(app.srcdir) / "api", package_names())
    app.connect("missing-reference", resolve_outside)
    app.connect("source-read", turn_links)
