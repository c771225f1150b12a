"""The site, if ``make docs`` has built it: no broken links, every public name, and a look in a browser."""

import functools
import http.server
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from public_names import PUBLIC

SITE = Path(__file__).parent.parent / "docs" / "_build" / "html"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not (SITE / "index.html").exists(), reason="`make docs` has built no site")
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


# What the theme itself reports: no choice of colours yet, and what it does with the search field.
NOTES = r"Got invalid theme mode|\[PST\]"


class Page(HTMLParser):
    """Addresses that a page leads to or shows, and anchors that it has."""

    def __init__(self, file: Path):
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


@pytest.fixture(scope="module")
def pages() -> dict[Path, Page]:
    files = (file for file in SITE.rglob("*.html") if "_static" not in file.parts)  # those are templates
    return {file.resolve(): Page(file) for file in files}


def test_no_link_is_broken(pages):
    """To pages, anchors, pictures, scripts and downloads of the site."""
    broken = set()
    for file, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:|//", link):
                continue
            path, _, anchor = unquote(link).partition("#")
            target = (file.parent / path.partition("?")[0]).resolve() if path else file
            there = target in pages and (not anchor or anchor in pages[target].anchors)
            if not (there or (target not in pages and target.is_file())):
                broken.add(f"{file.relative_to(SITE.resolve())}: {link}")
    assert len(pages) > 150
    assert broken == set()


def test_every_public_name_has_its_place(pages):
    """What two packages list stands in one of them."""
    anchors = set().union(*(page.anchors for page in pages.values()))
    placed = [PUBLIC[name] for name in PUBLIC if name in anchors]
    assert [name for name, thing in PUBLIC.items() if not any(thing is other for other in placed)] == []


def test_the_gallery_was_executed():
    """All but demo.py, which has stored output."""
    scripts = {script.stem for script in (SITE / "gallery").glob("*.html")} - {"index"}
    silent = {
        name for name in scripts if "sphx-glr-script-out" not in (SITE / f"gallery/{name}.html").read_text()
    }
    assert len(scripts) > 10
    assert silent == {"demo"}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a server of the site on this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def opened(url: str, tmp_path: Path, width: int = 1200) -> tuple[str, list[str]]:
    """The page as the browser has built it, and what its console says."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    options += [f"--user-data-dir={tmp_path}", f"--window-size={width},900", "--virtual-time-budget=8000"]
    command = [str(CHROMIUM), *options, "--dump-dom", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    said = re.findall(r"CONSOLE.*", done.stderr)
    return done.stdout, [line for line in said if not re.search(NOTES, line)]


@in_a_browser
@pytest.mark.parametrize(
    "path, expected",
    [
        ("index.html", "PLMLoRAClassifier"),
        ("search.html?q=LoRA", 'href="api/generated/plmlearn.adapters.LoRA.html'),
        ("gallery/quickstart.html", "test MCC"),
        ("how-do-i.html", "fine-tune a protein language model with LoRA"),
    ],
)
def test_pages_open_in_a_browser(address, tmp_path, path, expected):
    page, console = opened(f"{address}/{path}", tmp_path)
    assert expected in page
    assert console == []


# Texts that reach over the right edge of a narrow frame; tables and code scroll by themselves.
NARROW = """<iframe src="/{path}" width="390" height="800" onload="
  const article = this.contentDocument.querySelector('article');
  const texts = [...article.querySelectorAll('p, h1, dt, li')].filter(text => !text.closest('table, pre'));
  const wide = texts.filter(text => text.getBoundingClientRect().right > 390);
  document.title = 'texts ' + texts.length + ', too wide: ' + wide.map(text => text.textContent)"></iframe>"""


@in_a_browser
@pytest.mark.parametrize(
    "path", ["index", "choosing-a-method", "gallery/quickstart", "api/generated/plmlearn.PLMClassifier"]
)
def test_pages_fit_a_narrow_screen(address, tmp_path, path):
    """Of 390 px, as phones have."""
    frame = SITE / "_static" / f"{tmp_path.name}.html"
    frame.write_text(NARROW.format(path=f"{path}.html"))
    try:
        page, console = opened(f"{address}/_static/{frame.name}", tmp_path)
    finally:
        frame.unlink()
    n_texts, wide = re.search(r"<title>texts (\d+), too wide: (.*?)</title>", page, flags=re.DOTALL).groups()
    assert int(n_texts) > 3
    assert wide == ""
    assert console == []
