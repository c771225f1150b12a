"""What users can import: it loads lazily, is documented and typed, and every example in a docstring runs."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterable
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from public_names import CALLABLES, PACKAGES, public_methods

import plmlearn

ROOT = Path(plmlearn.__file__).parents[1]
MODULES = [info.name for info in pkgutil.walk_packages(plmlearn.__path__, "plmlearn.")]


def assert_none(offences: Iterable[str]) -> None:
    """Fail with a line for every offence."""
    found = list(offences)
    assert not found, "\n" + "\n".join(found)


def test_names_load_when_they_are_used():
    """By attribute, by ``dir()``, and by ``from plmlearn import *``."""
    scope: dict = {}
    exec("from plmlearn import *", scope)
    assert set(plmlearn.__all__) <= set(dir(plmlearn))
    assert [name for name in plmlearn.__all__ if scope[name] is not getattr(plmlearn, name)] == []
    assert [
        name for name in plmlearn.__all__ if not (inspect.ismodule(scope[name]) or callable(scope[name]))
    ] == []
    assert [name for name in plmlearn.__all__ if not scope[name].__doc__] == []


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="plmlearn attribute PLMClasifier"):
        plmlearn.PLMClasifier  # noqa: B018
    with pytest.raises(ImportError, match="PLMClasifier"):
        from plmlearn import PLMClasifier  # noqa: F401


def test_version_is_that_of_the_project():
    assert re.search(
        rf'^version = "{re.escape(plmlearn.__version__)}"$', (ROOT / "pyproject.toml").read_text(), re.M
    )


def test_lists_of_public_names_are_sorted_and_complete():
    """Constants first, then the rest; a package that only gathers names lists all that it gathers."""

    def offences():
        for package, module in PACKAGES.items():
            if module.__all__ != sorted(module.__all__, key=lambda name: (not name.isupper(), name)):
                yield f"{package}.__all__ is not sorted"
            if missing := gathered(module) - set(module.__all__):
                yield f"{package}.__all__ lacks {', '.join(sorted(missing))}"

    assert_none(offences())


def gathered(module) -> set[str]:
    """What a package without functions and classes of its own imports from its modules."""
    body = ast.parse(Path(module.__file__).read_text()).body
    if any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in body):
        return set()
    imports = [node for node in body if isinstance(node, ast.ImportFrom)]
    own = [node for node in imports if node.level or (node.module or "").startswith("plmlearn")]
    return {alias.name for node in own for alias in node.names}


def test_public_signatures_are_annotated():
    """Every parameter and every result of public functions, classes and methods has a type."""

    def offences():
        for name, thing in CALLABLES.items():
            methods = public_methods(thing) if inspect.isclass(thing) else {}
            for function, where in [(thing, name)] + [(m, f"{name}.{key}") for key, m in methods.items()]:
                if bare := unannotated(function):
                    yield f"{where} ({function.__module__}): {', '.join(bare)}"

    assert_none(offences())


def unannotated(thing) -> list[str]:
    signature = inspect.signature(thing)
    empty = inspect.Parameter.empty
    bare = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.annotation is empty and parameter.name not in ("self", "cls")
    ]
    wants_result = not inspect.isclass(thing) and signature.return_annotation is empty
    return [*bare, "its result"] if wants_result else bare


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ["plmlearn", *MODULES])
def test_examples_run(name):
    """Every example in a docstring gives what it says."""
    module = importlib.import_module(name)
    results = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    plt.close("all")
    assert results.failed == 0


def test_tests_that_the_readme_names_exist():
    text = (ROOT / "tests" / "README.md").read_text()
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", text)
    assert len(named) > 40
    assert_none(
        f"{file} has no {test}"
        for file, test in named
        if not (ROOT / "tests" / file).exists() or f"def {test}(" not in (ROOT / "tests" / file).read_text()
    )


def test_the_project_names_no_machine():
    """No private paths and no device chosen for the user."""
    private = re.compile(r"(?<![\w.])/(home|work|Users|mnt|scratch)/|CUDA_VISIBLE_DEVICES")
    assert_none(
        f"{path.relative_to(ROOT)} says {found[0]!r}"
        for path in sorted((ROOT / "plmlearn").rglob("*.py"))
        if (found := private.search(path.read_text()))
    )
