"""What newcomers read: links resolve, every block of Python runs, generated pages are current."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

import plmlearn

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGES.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "plmlearn" / "assets" / "mini" / "README.md",
]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def load_script(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors_of(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) for heading in headings}


def scripts_of(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)


SCRIPTED = [page for page in PAGES if scripts_of(page)]


def broken_links(page: Path) -> list[str]:
    """Links to files or headings that do not exist; addresses on the web are not followed."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    return broken


def test_links_resolve():
    found = {name_of(page): broken_links(page) for page in PAGES}
    assert {name: links for name, links in found.items() if links} == {}


def test_backbones_page_is_current():
    script = load_script("build_backbones")
    assert script.PAGE.read_text() == script.render(), "run `make docs`"


PUBLISHED = {"esm2-650m": 651e6, "esmc-300m": 333e6, "esmc-600m": 575e6, "prott5": 1.21e9, "ankh-base": 453e6}


@pytest.mark.parametrize("name", PUBLISHED)
def test_shapes_of_the_table_have_the_published_sizes(name):
    """Of weights as published: file sizes of ProtT5 (2.42 GB in half precision) and Ankh (1.81 GB)."""
    script = load_script("build_backbones")
    assert script.n_parameters(*script.SHAPES[name]) == pytest.approx(PUBLISHED[name], rel=0.005)


def test_the_readme_and_the_guides_have_scripts():
    assert {"README.md", "getting-started.md", "data.md", "residues.md", "pairs.md"} <= {
        p.name for p in SCRIPTED
    }


@pytest.mark.parametrize("page", SCRIPTED, ids=name_of)
def test_scripts_of_a_page_run_one_after_the_other(page, tmp_path, monkeypatch, empty_cache, capsys):
    """In an empty folder: what a script needs, it or a script above it makes."""
    monkeypatch.chdir(tmp_path)
    limits = empty_cache.info()
    names: dict = {}
    try:
        for number, script in enumerate(scripts_of(page), start=1):
            exec(compile(script, f"{name_of(page)}, script {number}", "exec"), names)
    finally:
        gib = 2**30
        empty_cache.limit(memory=limits["memory_limit"] / gib, disk=limits["disk_limit"] / gib)
    if page.name == "README.md":
        *predictions, score = capsys.readouterr().out.strip().splitlines()
        assert set(" ".join(predictions)) <= set("[ 01]")
        assert 0 <= float(score) <= 1


def test_citation_file_names_the_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == plmlearn.__version__
    readme = (ROOT / "README.md").read_text()
    assert all(work["doi"] in readme for work in citation["references"])


def test_decisions_are_all_listed():
    records = {path.name for path in (ROOT / "docs" / "decisions").glob("*.md")}
    listed = re.findall(r"\]\(decisions/([^)]+)\)", (ROOT / "docs" / "development.md").read_text())
    assert set(listed) == records


def test_files_that_pages_name_exist():
    """Between backticks, from the top of the project or of the package."""
    named = {
        (name_of(page), path)
        for page in PAGES
        for path in re.findall(r"`((?:[\w-]+/)+[\w-]+\.(?:py|md))`", page.read_text())
    }
    homes = (ROOT, ROOT / "plmlearn")
    assert len(named) > 20
    assert {
        (page, path) for page, path in named if not any((home / path).exists() for home in homes)
    } == set()


def test_examples_of_the_guide_exist():
    mentioned = {name for page in PAGES for name in re.findall(r"examples/(\w+\.py)", page.read_text())}
    assert mentioned
    assert all((ROOT / "examples" / name).exists() for name in mentioned)
