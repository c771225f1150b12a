"""Write api.md from the docstrings of every public name: plain Markdown, the same on every machine.

    python docs/build_api.py

``public_modules`` says what is public, ``render`` makes the page, ``markdown_of`` turns one numpydoc
docstring into Markdown.
"""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import plmlearn

PAGE = Path(__file__).parent / "api.md"

# Read by users, but too seldom to be named on the package itself.
_FURTHER_MODULES = ("sequence_files", "similarity")
_LISTS = {"Parameters", "Attributes", "Returns", "Yields", "Raises", "Warns", "Other Parameters", "See Also"}


def public_modules() -> dict[str, ModuleType]:
    """The package itself, then its public modules by name."""
    named = [name for name in plmlearn.__all__ if inspect.ismodule(getattr(plmlearn, name))]
    modules = sorted({*named, *_FURTHER_MODULES})
    return {"plmlearn": plmlearn} | {f"plmlearn.{n}": import_module(f"plmlearn.{n}") for n in modules}


def public_names(module: ModuleType) -> list[str]:
    """Names that a module offers, modules among them left out."""
    names = getattr(module, "__all__", None) or [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__
    ]
    return sorted(name for name in names if not inspect.ismodule(getattr(module, name)))


def render() -> str:
    """The whole page."""
    modules = public_modules()
    lines = ["# API", "", "Written by `make docs` from the docstrings; `help()` shows the same.", ""]
    lines += [f"- [{name}](#{_anchor(name)})" for name in modules]
    for name, module in modules.items():
        lines += ["", f"## {name}", "", *markdown_of(module.__doc__ or "")]
        for entry in public_names(module):
            lines += ["", *_entry(entry, getattr(module, entry))]
    page = "\n".join(line.rstrip() for line in lines)
    return re.sub(r"\n{3,}", "\n\n", page).strip() + "\n"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-"))


def _entry(name: str, thing: Any) -> Iterator[str]:
    yield f"### {name}"
    yield ""
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        yield f"A {type(thing).__name__}" + (
            f" of: {', '.join(thing)}." if isinstance(thing, dict | tuple) else "."
        )
        return
    yield from ["```python", f"{name}{_signature(thing)}", "```", ""]
    yield from markdown_of(inspect.getdoc(thing) or "")
    methods = list(_methods(thing)) if inspect.isclass(thing) else []
    if methods:
        yield from ["", "**Methods**", "", *methods]


def _signature(thing: Any) -> str:
    """Parameters and defaults; types stand in the docstring."""
    if inspect.isclass(thing) and issubclass(thing, BaseException):
        return ""
    try:
        signature = inspect.signature(thing)
    except ValueError:
        return "(...)"
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values() if p.name != "self"]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))


def _methods(cls: type) -> Iterator[str]:
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        if not name.startswith("_") and method.__module__.startswith("plmlearn"):
            summary = " ".join((inspect.getdoc(method) or "").split("\n\n")[0].split())
            yield f"- `{name}{_signature(method)}`: {_inline(summary)}"


def markdown_of(docstring: str) -> Iterator[str]:
    """A numpydoc docstring as lines of Markdown."""
    for title, body in _sections(docstring):
        if title:
            yield from ["", f"**{title}**", ""]
        if title in _LISTS:
            yield from _as_list(body)
        else:
            yield from _as_text(body)


def _sections(docstring: str) -> Iterator[tuple[str, list[str]]]:
    """(title, lines) of each section; the first has no title."""
    lines = inspect.cleandoc(docstring).splitlines()
    heads = [i for i, line in enumerate(lines) if i and re.fullmatch(r"-{3,}", line)]
    starts = [0, *(i + 1 for i in heads)]
    ends = [*(i - 1 for i in heads), len(lines)]
    titles = ["", *(lines[i - 1] for i in heads)]
    for title, start, end in zip(titles, starts, ends):
        yield title, "\n".join(lines[start:end]).strip("\n").splitlines()


def _as_list(lines: list[str]) -> Iterator[str]:
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line and not line.startswith(" "):
            name, colon, kind = line.partition(" : ")
            yield f"- `{name}`" + (f" : {_inline(kind)}" if colon else "")
        else:
            yield f"  {_inline(line.strip())}"


def _as_text(lines: list[str]) -> Iterator[str]:
    """Paragraphs; examples and tables, which are told by their first line, become blocks."""
    for paragraph in re.split(r"\n{2,}", "\n".join(lines)):
        if paragraph.startswith(">>> "):
            yield from ["```pycon", *paragraph.splitlines(), "```", ""]
        elif paragraph.lstrip().startswith(("===", "``", ">>>")):
            yield from ["```text", *inspect.cleandoc(paragraph).replace("``", "").splitlines(), "```", ""]
        elif paragraph:
            yield from [_inline(line) for line in paragraph.splitlines()]
            yield ""


def _inline(text: str) -> str:
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    text = re.sub(r"\.\. (\[\d+\])", r"\1", text)
    return text.replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(f"wrote {PAGE}")
