"""Links that the guide's Markdown has for readers of the repository, turned to pages of the site."""

import re

_TURNS = [
    (r"\]\((?:\.\./)+examples/(\w+)\.py\)", r"](/gallery/\1.rst)"),
    (r"\]\((?:\.\./)+examples/?\)", r"](/gallery/index.rst)"),
    (r"\]\((?:\.\./)+CHANGES\.md\)", r"](/changes.md)"),
    (r"\]\((?:\.\./)+CONTRIBUTING\.md(#[\w-]+)?\)", r"](/contributing.md)"),
    (r"\]\((?:\.\./)+plmlearn/assets/mini/README\.md\)", r"](/mini.md)"),
    (r"\]\(plmlearn/(\w+)/__init__\.py\)", r"](/api/plmlearn.\1.rst)"),
    # Scripts are named: they lie in the repository, which the site does not hold.
    (r"\[([^\]]+)\]\((?:\.\./)+benchmarks/[\w.]+\)", r"\1"),
]


def turn_links(app, docname: str, source: list[str]) -> None:
    """Handler of Sphinx's ``source-read``."""
    for pattern, page in _TURNS:
        source[0] = re.sub(pattern, page, source[0])
