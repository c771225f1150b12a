"""Every public name can be imported, is documented and listed, and every example in a docstring runs."""

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
from sklearn.base import BaseEstimator

import plmlearn

ROOT = Path(plmlearn.__file__).parents[1]


PACKAGES = {"plmlearn": plmlearn} | {
    f"plmlearn.{name}": thing
    for name in plmlearn.__all__
    if inspect.ismodule(thing := getattr(plmlearn, name))
}
PUBLIC = [
    (package, name)
    for package, module in PACKAGES.items()
    for name in getattr(module, "__all__", ())
    if not inspect.ismodule(getattr(module, name))
]
CALLABLES = [
    pytest.param(getattr(importlib.import_module(module), name), id=f"{module}.{name}")
    for module, name in PUBLIC
    if callable(getattr(importlib.import_module(module), name))
]
ALL_MODULES = [info.name for info in pkgutil.walk_packages(plmlearn.__path__, "plmlearn.")]


@pytest.mark.parametrize("name", plmlearn.__all__)
def test_names_of_the_package(name):
    """Each loads lazily, is listed by dir(), and comes by ``from plmlearn import *``."""
    assert name in dir(plmlearn)
    thing = getattr(plmlearn, name)
    assert inspect.ismodule(thing) or callable(thing)
    assert thing.__doc__
    scope: dict = {}
    exec("from plmlearn import *", scope)
    assert scope[name] is thing


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="has no attribute 'PLMClasifier'"):
        plmlearn.PLMClasifier  # noqa: B018
    with pytest.raises(ImportError):
        from plmlearn import PLMClasifier  # noqa: F401


def test_version_is_that_of_the_project():
    assert re.search(
        rf'^version = "{re.escape(plmlearn.__version__)}"$', (ROOT / "pyproject.toml").read_text(), re.M
    )


@pytest.mark.parametrize("thing", CALLABLES)
def test_public_things_say_what_they_do(thing):
    text = inspect.getdoc(thing) or ""
    first = text.split("\n\n")[0]
    assert first.rstrip().endswith((".", ":"))


@pytest.mark.parametrize("thing", CALLABLES)
def test_every_parameter_is_documented(thing):
    """In a list of parameters, its own or that of a function it refers to; short texts name them in words."""
    if inspect.isclass(thing) and issubclass(thing, BaseException):
        return
    text = inspect.getdoc(thing) or ""
    given = {name for name in inspect.signature(thing).parameters if name != "self" and name[0] != "_"}
    documented = parameters_of(text)
    for other in re.findall(r"arameters (?:are those of|as in) :func:`(\w+)`", text):
        home = importlib.import_module(thing.__module__.rpartition(".")[0])
        documented |= parameters_of(inspect.getdoc(getattr(home, other)))
    documented = documented or set(re.findall(r"\w+", text))
    assert given <= documented, f"not documented: {sorted(given - documented)}"


def parameters_of(text: str) -> set[str]:
    """Names in numpydoc's lists: ``name : type``, or several before one colon."""
    sections = re.split(r"\n(?=[A-Z][A-Za-z ]+\n-{3,}\n)", text.replace("\\\n", ""))
    listed = [section for section in sections if re.match(r"(Other )?(Parameters|Attributes)\n", section)]
    lines = [line for section in listed for line in section.splitlines()[2:] if re.match(r"[\w*]", line)]
    return {name.strip(" *`") for line in lines for name in line.split(" : ")[0].split(",")}


ESTIMATORS = [
    pytest.param(thing, id=name)
    for name in plmlearn.__all__
    if inspect.isclass(thing := getattr(plmlearn, name)) and issubclass(thing, BaseEstimator)
]


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_estimators_are_documented_in_full(cls):
    """Parameters, what is learned, an example; and every public method."""
    text = inspect.getdoc(cls)
    for section in ("Parameters", "Attributes", "Examples"):
        assert f"\n{section}\n---" in text
    assert ">>> " in text
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.getdoc(method), f"{cls.__name__}.{name} says nothing"


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ["plmlearn", *ALL_MODULES])
def test_examples_run(name):
    """Every example in a docstring gives what it says."""
    module = importlib.import_module(name)
    results = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert results.failed == 0


def test_tests_that_the_readme_names_exist():
    text = (ROOT / "tests" / "README.md").read_text()
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", text)
    assert len(named) > 40
    missing = [
        f"{file}::{test}" for file, test in named if f"def {test}(" not in (ROOT / "tests" / file).read_text()
    ]
    assert not missing


@pytest.mark.parametrize("path", sorted((ROOT / "plmlearn").rglob("*.py")), ids=lambda path: path.stem)
def test_the_project_names_no_machine(path):
    """No private paths and no device chosen for the user."""
    text = path.read_text()
    assert not re.search(r"(?<![\w.])/(home|work|Users|mnt|scratch)/", text)
    assert "CUDA_VISIBLE_DEVICES" not in text
