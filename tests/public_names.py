"""What is public: every name that the package, or a package that it lists, has in ``__all__``."""

import inspect
from types import ModuleType
from typing import Any

from sklearn.base import BaseEstimator

import plmlearn

PACKAGES: dict[str, ModuleType] = {"plmlearn": plmlearn} | {
    f"plmlearn.{name}": thing
    for name in plmlearn.__all__
    if inspect.ismodule(thing := getattr(plmlearn, name))
}
PUBLIC: dict[str, Any] = {
    f"{package}.{name}": getattr(module, name)
    for package, module in PACKAGES.items()
    for name in module.__all__
    if not inspect.ismodule(getattr(module, name))
}
FUNCTIONS = {name: thing for name, thing in PUBLIC.items() if inspect.isfunction(thing)}
CLASSES = {name: thing for name, thing in PUBLIC.items() if inspect.isclass(thing)}
# Exceptions and warnings take a message, as those of Python do.
CALLABLES = FUNCTIONS | {name: cls for name, cls in CLASSES.items() if not issubclass(cls, Exception)}
ESTIMATORS = {
    name.removeprefix("plmlearn."): cls
    for name, cls in CLASSES.items()
    if name.count(".") == 1 and issubclass(cls, BaseEstimator)
}


def public_methods(cls: type) -> dict[str, Any]:
    """Methods that this package defines on a class, or on what it inherits from, without an underscore."""
    return {
        name: method
        for name, method in inspect.getmembers(cls, inspect.isroutine)
        if not name.startswith("_") and (method.__module__ or "").startswith("plmlearn")
    }
