"""The reference: a page for each public package, with one page for each of its classes and functions."""

import importlib
import inspect
from pathlib import Path
from types import ModuleType

import plmlearn

# What has no docstring.
CONSTANTS = {
    "TargetModule": "Names of the matrices that an adapter can change, in every family of backbones.",
    "ARCHITECTURES": "The architectures that plmlearn runs, by the ``model_type`` of a configuration.",
    "CHECKPOINTS": "Where the weights behind each short name lie, and their licence.",
    "SYMMETRY_CLASSES": "Names of the classes of symmetry.",
    "SCORERS": "Scorers by name, for every ``scoring=`` and for :func:`plmlearn.metrics.get_scorer`.",
    "PRESETS": "Published recipes by name, for :func:`plmlearn.presets.make`.",
    "ALPHABET": "The twenty amino acids.",
    "AMBIGUOUS": "The letter of an unknown residue.",
    "RARE": "Letters that some backbones know and others read as X.",
}


def package_names() -> list[str]:
    """``plmlearn`` and every package that it lists."""
    return [
        "plmlearn",
        *(f"plmlearn.{n}" for n in plmlearn.__all__ if inspect.ismodule(getattr(plmlearn, n))),
    ]


def write_api_pages(folder: Path) -> None:
    """Write ``index.rst`` and a page for each package; sphinx.ext.autosummary makes the rest."""
    folder.mkdir(exist_ok=True)
    packages = package_names()
    toctree = "\n".join(f"   {name}" for name in packages)
    rows = "\n".join(f"   * - :doc:`{name}`\n     - {_first_line(name)}" for name in packages)
    table = f".. list-table::\n   :widths: 30 70\n\n{rows}\n"
    pages = {name: _page(name) for name in packages}
    pages["index"] = f"API reference\n=============\n\n{table}\n.. toctree::\n   :hidden:\n\n{toctree}\n"
    for name, text in pages.items():
        file = folder / f"{name}.rst"
        if not file.exists() or file.read_text() != text:  # what did not change is not read again
            file.write_text(text)


def _first_line(package: str) -> str:
    doc = inspect.getdoc(importlib.import_module(package)) or ""
    return doc.partition("\n\n")[0].replace("\n", " ")


def _page(package: str) -> str:
    module = importlib.import_module(package)
    public = {name: getattr(module, name) for name in module.__all__}
    classes = {name: thing for name, thing in public.items() if inspect.isclass(thing)}
    errors = [name for name, thing in classes.items() if issubclass(thing, Exception)]
    tables = {
        "Classes": [name for name in classes if name not in errors],
        "Functions": [name for name, thing in public.items() if inspect.isroutine(thing)],
        "Errors and warnings": errors,
    }
    title = f"{package}\n{'=' * len(package)}\n\n.. currentmodule:: {package}\n\n{_first_line(package)}\n"
    sections = [_section(kind, _table(package, names)) for kind, names in tables.items() if names]
    constants = [name for name in public if name in CONSTANTS]
    data = "\n".join(f".. py:data:: {name}\n\n   {CONSTANTS[name]}\n" for name in constants)
    return title + "".join(sections) + (_section("Constants", data) if constants else "")


def _section(kind: str, body: str) -> str:
    return f"\n{kind}\n{'-' * len(kind)}\n\n{body}"


def _table(package: str, names: list[str]) -> str:
    """A name that ``plmlearn`` has too leads to its page there."""
    module = importlib.import_module(package)
    lent = [n for n in sorted(names) if module is not plmlearn and _thing(plmlearn, n) is _thing(module, n)]
    listed = "\n".join(f"   {name}" for name in sorted(set(names) - set(lent)))
    table = f".. autosummary::\n   :toctree: generated\n   :nosignatures:\n\n{listed}\n" if listed else ""
    return table + "".join(f"\n:obj:`plmlearn.{name}`\n" for name in lent)


def _thing(module: ModuleType, name: str) -> object:
    return getattr(module, name) if name in module.__all__ else None
