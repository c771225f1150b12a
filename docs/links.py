"""Links that the guide's Markdown has for readers of the repository, turned to pages of the site."""

import re
from pathlib import Path

_TURNS = [
    (r"\]\((?:\.\./)+examples/(\w+)\.py\)", r"](/gallery/\1.rst)"),
    (r"\]\((?:\.\./)+examples/?\)", r"](/gallery/index.rst)"),
    (r"\]\((?:\.\./)*CHANGES\.md\)", r"](/changes.md)"),
    (r"\]\((?:\.\./)*CONTRIBUTING\.md(#[\w-]+)?\)", r"](/contributing.md)"),
    (r"\]\((?:\.\./)+plmlearn/assets/mini/README\.md\)", r"](/mini.md)"),
    (r"\]\(docs/([\w/-]+)\.md(#[\w-]+)?\)", r"](/\1.md\2)"),
    # Estimators lead to their page.
    (r"(?<![`\w}\[])`(PLM[A-Za-z]+)`(?!`)", r"{py:obj}`~plmlearn.\1`"),
    # Other files are named only: they lie in the repository, which the site does not hold.
    (r"\[([^\]]+)\]\((?:\.\./)+(?:benchmarks/[\w.]+|CITATION\.cff)\)", r"\1"),
]
_ELSEWHERE = re.compile(r"```\{include\} (\S+)\n```\n")


def turn_links(app, docname: str, source: list[str]) -> None:
    """Handler of Sphinx's ``source-read``: links of the text, or of the one file that it includes."""
    if elsewhere := _ELSEWHERE.fullmatch(source[0]):
        source[0] = (Path(app.srcdir) / elsewhere[1]).read_text()
    for pattern, page in _TURNS:
        source[0] = re.sub(pattern, page, source[0])
