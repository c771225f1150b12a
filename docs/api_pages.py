"""The reference: a page for each public package, with one page for each of its classes and functions."""

import importlib
import inspect
from pathlib import Path

import plmlearn


def package_names() -> list[str]:
    """``plmlearn`` and every package that it lists."""
    return ["plmlearn", *(f"plmlearn.{n}" for n in plmlearn.__all__ if inspect.ismodule(getattr(plmlearn, n)))]


def write_api_pages(folder: Path, packages: list[str]) -> None:
    """Write ``index.rst`` and a page for each package; sphinx.ext.autosummary makes the rest."""
    folder.mkdir(exist_ok=True)
    pages = {name: _page(name) for name in packages}
    toctree = "\n".join(f"   {name}" for name in packages)
    summary = "\n".join(f"   * - :doc:`{name}`\n     - {_first_line(name)}" for name in packages)
    table = f".. list-table::\n   :widths: 30 70\n\n{summary}\n"
    pages["index"] = f"API reference\n=============\n\n{table}\n.. toctree::\n   :hidden:\n\n{toctree}\n"
    for name, text in pages.items():
        file = folder / f"{name}.rst"
        if not file.exists() or file.read_text() != text:
            file.write_text(text)


def _first_line(package: str) -> str:
    doc = inspect.getdoc(importlib.import_module(package)) or ""
    return doc.partition("\n\n")[0].replace("\n", " ")


def _page(package: str) -> str:
    module = importlib.import_module(package)
    public = {name: getattr(module, name) for name in module.__all__}
    kinds = {
        "Classes": [n for n, thing in public.items() if inspect.isclass(thing) and not _is_error(thing)],
        "Functions": [n for n, thing in public.items() if inspect.isroutine(thing)],
        "Errors and warnings": [n for n, thing in public.items() if inspect.isclass(thing) and _is_error(thing)],
    }
    title = f"{package}\n{'=' * len(package)}\n\n.. currentmodule:: {package}\n\n{_first_line(package)}\n"
    return title + "".join(_section(kind, names) for kind, names in kinds.items() if names)


def _section(kind: str, names: list[str]) -> str:
    listed = "\n".join(f"   {name}" for name in sorted(names))
    return f"\n{kind}\n{'-' * len(kind)}\n\n.. autosummary::\n   :toctree: generated\n   :nosignatures:\n\n{listed}\n"


def _is_error(thing: type) -> bool:
    return issubclass(thing, Exception)
