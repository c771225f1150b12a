"""Docstrings of public names: complete, true to the signature, equal where parameters are equal."""

import ast
import importlib
import inspect
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from public_names import CALLABLES, ESTIMATORS, PUBLIC

OTHER_PACKAGES = {"numpy", "optuna", "peft", "pandas", "sklearn", "skorch", "torch", "transformers"}

MASKED_LM, EMBEDDER = ("PLMMaskedLM",), ("PLMEmbedder",)
FROZEN = ("PLMFrozenMLP", "PLMFrozenMLPRegressor")
PAIRS = ("PLMPairClassifier", "PLMPairRegressor")
RESIDUES = ("PLMResidueClassifier", "PLMResidueRegressor")
SIGNAL_PEPTIDES = ("PLMSignalPeptideClassifier",)
FITNESS = ("PLMFitnessRegressor",)

# Parameters that mean something else in some estimators. Those of a group have one description, and so have
# all estimators that stand in no group; every other parameter has the same description everywhere.
DIFFERENT: dict[str, list[tuple[str, ...]]] = {
    "adapter": [MASKED_LM],
    "alpha": [("PLMFrozenMLP",), ("PLMFrozenMLPRegressor",)],
    "backbone": [MASKED_LM, FITNESS],
    "batch_size": [PAIRS, MASKED_LM, FROZEN, FITNESS],
    "callbacks": [MASKED_LM],
    "class_weight": [("PLMResidueClassifier",), SIGNAL_PEPTIDES],
    "early_stopping": [PAIRS, FROZEN, FITNESS],
    "epochs": [PAIRS, MASKED_LM, FITNESS],
    "head": [("PLMResidueClassifier",), ("PLMResidueRegressor",), SIGNAL_PEPTIDES],
    "head_hidden": [RESIDUES + SIGNAL_PEPTIDES],
    "head_lr": [RESIDUES + SIGNAL_PEPTIDES, FITNESS],
    "invalid": [MASKED_LM, FITNESS],
    "ignore_label": [("PLMResidueRegressor",), SIGNAL_PEPTIDES],
    "long_sequences": [MASKED_LM, SIGNAL_PEPTIDES, FITNESS],
    "lr": [MASKED_LM, FITNESS],
    "max_length": [MASKED_LM, SIGNAL_PEPTIDES, FITNESS],
    "max_tokens": [EMBEDDER + FROZEN, MASKED_LM, FITNESS],
    "n_layers": [MASKED_LM],
    "optimizer": [MASKED_LM],
    "pooling": [EMBEDDER, FROZEN],
    "precision": [EMBEDDER + FROZEN],
    "quantization": [EMBEDDER + FROZEN],
    "scoring": [RESIDUES],
    "standardize": [RESIDUES + SIGNAL_PEPTIDES],
    "predict_output": [SIGNAL_PEPTIDES],
    "random_state": [MASKED_LM, FROZEN, ("PLMEnsemble",)],
    "validation_fraction": [PAIRS, MASKED_LM],
    "verbose": [FROZEN],
    "warm_start": [FROZEN],
    "weight_decay": [MASKED_LM],
}


class Parameter(NamedTuple):
    """What a docstring says of a parameter."""

    kind: str  # after the colon, without the default
    default: str | None  # after "default="; "optional" is None
    text: str


def sections(text: str) -> dict[str, str]:
    """Bodies of the underlined sections of a numpydoc docstring, by title."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", text.replace("\\\n", ""), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def entries(body: str) -> dict[str, Parameter]:
    """The entries ``name : type`` of a section; several names may stand before one colon."""
    found = {}
    for block in re.split(r"\n(?=\S)", body):
        head, _, text = block.partition("\n")
        if match := re.fullmatch(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: : (.+))?", head):
            kind, _, default = re.sub(r", optional$", ", default=None", match[2] or "").partition("default=")
            names, text = match[1].replace("*", "").split(", "), " ".join(text.split())
            found |= {
                name: Parameter(kind.rstrip(", "), said, text)
                for name, said in zip(names, each_default(default, len(names)))
            }
    return found


def each_default(text: str, n_names: int) -> list[str | None]:
    """Defaults of the names before one colon: one for all of them, or as many as there are names."""
    each = re.split(r", | and ", text)
    return [part or None for part in (each if len(each) == n_names else [text] * n_names)]


def documented(thing, *titles: str) -> dict[str, Parameter]:
    """Entries of all sections of a docstring whose title ends in one of ``titles``."""
    bodies = sections(inspect.getdoc(thing) or "").items()
    return {
        name: entry
        for title, body in bodies
        if title.endswith(titles)
        for name, entry in entries(body).items()
    }


def parameters(thing) -> dict[str, inspect.Parameter]:
    return {name: item for name, item in inspect.signature(thing).parameters.items() if name[0] != "_"}


def assert_none(offences: Iterable[str]) -> None:
    """Fail with a line for every offence."""
    found = list(offences)
    assert not found, "\n" + "\n".join(found)


def test_the_parser_reads_numpydoc():
    def function():
        """Do.

        Parameters
        ----------
        a, b : int, default=3
            Two
            numbers.
        d, e : float, default=1.0 and 2.5
        **Training**

        c : {"x", "y"}, optional
        Other Parameters
        ----------------
        **kwargs
            Rest.

        Returns
        -------
        int
        """

    assert documented(function, "Parameters") == {
        "a": Parameter("int", "3", "Two numbers."),
        "b": Parameter("int", "3", "Two numbers."),
        "d": Parameter("float", "1.0", ""),
        "e": Parameter("float", "2.5", ""),
        "c": Parameter('{"x", "y"}', "None", ""),
        "kwargs": Parameter("", None, "Rest."),
    }


def test_public_things_say_what_they_do():
    def offences():
        for name, thing in CALLABLES.items():
            first = (inspect.getdoc(thing) or "").split("\n\n")[0]
            if not first.rstrip().endswith((".", ":")):
                yield f"{name} does not begin with a sentence: {first!r}"

    assert_none(offences())


def test_every_parameter_is_documented():
    """In a list, its own or that of a function it refers to; short texts name parameters in words."""

    def offences():
        for name, thing in CALLABLES.items():
            if missing := set(parameters(thing)) - names_in(thing):
                yield f"{name} does not document {', '.join(sorted(missing))}"

    assert_none(offences())


def names_in(thing) -> set[str]:
    text = inspect.getdoc(thing) or ""
    listed = set(documented(thing, "Parameters", "Attributes"))
    for other in re.findall(r"arameters (?:are those of|as in) :func:`(\w+)`", text):
        home = importlib.import_module(thing.__module__.rpartition(".")[0])
        listed |= set(documented(getattr(home, other), "Parameters"))
    return listed or set(re.findall(r"\w+", text))


def test_no_parameter_is_documented_that_does_not_exist():
    def offences():
        for name, thing in CALLABLES.items():
            if unknown := set(documented(thing, "Parameters")) - set(parameters(thing)):
                yield f"{name} has no {', '.join(sorted(unknown))}"

    assert_none(offences())


def test_estimators_are_documented_in_full():
    """Every parameter, what is learned, an example; and every public method."""

    def offences():
        for name, cls in ESTIMATORS.items():
            missing = {"Parameters", "Attributes", "Examples"} - set(sections(inspect.getdoc(cls) or ""))
            yield from (f"{name} has no section {section}" for section in sorted(missing))
            if ">>> " not in (inspect.getdoc(cls) or ""):
                yield f"{name} shows no code"
            if missing := set(parameters(cls)) - set(documented(cls, "Parameters")):
                yield f"{name} does not list {', '.join(sorted(missing))}"
            bare = [parameter for parameter, entry in documented(cls, "Parameters").items() if not entry.kind]
            yield from (f"{name} gives {parameter} no type" for parameter in bare)
            for method, function in inspect.getmembers(cls, inspect.isfunction):
                if not method.startswith("_") and not inspect.getdoc(function):
                    yield f"{name}.{method} says nothing"

    assert_none(offences())


def test_everything_public_has_an_example_and_says_what_to_see():
    """Names of this package in "See Also" are public ones, each in full or of the same package."""

    def offences():
        for name, thing in CALLABLES.items():
            text = inspect.getdoc(thing) or ""
            if ">>> " not in text:
                yield f"{name} has no example"
            seen = re.findall(r"^([\w.]+) : ", sections(text).get("See Also", ""), flags=re.MULTILINE)
            if not seen:
                yield f"{name} has no See Also"
            homes = ("", "plmlearn.", f"{name.rpartition('.')[0]}.")
            own = [other for other in seen if other.partition(".")[0] not in OTHER_PACKAGES]
            yield from (
                f"{name}: see {other}?" for other in own if not any(home + other in PUBLIC for home in homes)
            )

    assert_none(offences())


def test_defaults_are_those_of_the_signature():
    """``default=8`` where the signature has 8, ``default=None`` or ``optional`` for None.

    An entry without a type says where its parameter is described.
    """

    def offences():
        for name, thing in CALLABLES.items():
            for parameter, entry in documented(thing, "Parameters").items():
                if parameter in parameters(thing) and entry.kind:
                    actual = parameters(thing)[parameter].default
                    if not says(entry.default, actual):
                        said = f"default={entry.default}" if entry.default else "no default"
                        yield f"{name}: {parameter} is {actual!r} in the signature, {said} in the docstring"

    assert_none(offences())


def says(text: str | None, default: object) -> bool:
    """Whether the text after "default=" is the default of the signature; none stands where there is none."""
    if text is None or default is inspect.Parameter.empty:
        return text is None and default is inspect.Parameter.empty
    try:
        said = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text == repr(default)
    made_anew = repr(default) == "<factory>"  # of a dataclass
    return made_anew or (said == default and isinstance(said, bool) == isinstance(default, bool))


def test_docstrings_of_equal_parameters_are_equal():
    """Type and description, in all estimators; defaults may differ."""
    meanings: dict[str, dict[tuple[str, ...], dict]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for name, cls in ESTIMATORS.items():
        for parameter, entry in documented(cls, "Parameters").items():
            group = next((group for group in DIFFERENT.get(parameter, ()) if name in group), ())
            meanings[parameter][group][entry.kind, entry.text].append(name)

    def offences():
        for parameter, groups in meanings.items():
            for texts in groups.values():
                if len(texts) > 1:
                    yield f"{parameter} has {len(texts)} descriptions where one is expected:"
                    yield from (
                        f"    {', '.join(names)}: {kind}; {text}" for (kind, text), names in texts.items()
                    )
            alike = [text for texts in groups.values() for text in texts]
            if len(alike) > len(set(alike)):
                yield f"{parameter} has one description in several groups of DIFFERENT, which needs fewer"

    assert_none(offences())


def test_differences_are_of_parameters_that_exist():
    known = {name: set(parameters(cls)) for name, cls in ESTIMATORS.items()}
    assert_none(
        f"DIFFERENT names {parameter} of {name}, which has no such parameter"
        for parameter, groups in DIFFERENT.items()
        for name in [name for group in groups for name in group]
        if parameter not in known.get(name, ())
    )
