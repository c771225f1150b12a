"""A folder for plain transformers: one of its classes where it has our head, else encoder and head apart."""

from __future__ import annotations

import copy
import inspect
import json
import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from torch import nn

from ..backbones import Backbone
from ..backbones.checkpoints import write_tokenizer
from ..backbones.folder import quiet_transformers
from ..cards import model_card
from ..sequences.clean import AMBIGUOUS, LETTERS, local_path
from . import head as head_module
from .plain import PlainModel, folded, letters_of


@dataclass(frozen=True)
class ModelClass:
    """A class of transformers with a head that is one of ours.

    Parameters
    ----------
    name : str
    encoder : str
        Attribute that holds the encoder.
    linears : tuple of str
        Paths of the head's linear layers, in their order.
    """

    name: str
    encoder: str
    linears: tuple[str, ...]

    @property
    def steps(self) -> tuple[str, ...]:
        """Steps of a head that it can hold, after the scaling."""
        return ("linear",) if len(self.linears) == 1 else ("linear", "tanh", "linear")


_DENSE = ("classifier.dense", "classifier.out_proj")
_OF_PROTEINS = {
    "esm": ModelClass("EsmForSequenceClassification", "esm", _DENSE),
    "esmc": ModelClass("EsmcForSequenceClassification", "esmc", _DENSE),
    "bert": ModelClass("BertForSequenceClassification", "bert", ("bert.pooler.dense", "classifier")),
}
_OF_RESIDUES = {
    "esm": ModelClass("EsmForTokenClassification", "esm", ("classifier",)),
    "esmc": ModelClass("EsmcForTokenClassification", "esmc", ("score",)),
    "bert": ModelClass("BertForTokenClassification", "bert", ("classifier",)),
    "t5": ModelClass("T5ForTokenClassification", "transformer", ("classifier",)),
}


def export_transformers(estimator: Any, folder: str | PathLike[str]) -> Path:
    """Write a fitted estimator as a folder that plain transformers loads, without plmlearn.

    Adapters are merged into the weights, scalings into linear layers. Where transformers has a class with
    the same head, the folder is one of that class: ``AutoModelForSequenceClassification`` for
    ``pooling="cls", head="esm"`` on ESM, ESM-C and BERT, ``AutoModelForTokenClassification`` for residues
    with ``head="linear"`` on any backbone. Every other head lies beside the encoder, in
    ``head.safetensors``; ``load_head.py`` in the folder reads it with torch alone, and holds only what this
    head needs. The folder's ``README.md`` shows the lines that predict.

    Parameters
    ----------
    estimator : fitted estimator
        Of proteins, pairs, residues or signal peptides, or an embedder.
    folder : str or PathLike
        Made if need be, ``~`` expanded. Files of the same names are replaced.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    NotFittedError
    TypeError
        Not an estimator of plmlearn that is exported. ``PLMMaskedLM`` has ``save_pretrained``.
    ValueError
        What transformers cannot compute: a quantized backbone, ``layer_mixing=True``, ``final_norm=False``,
        or an adapter that adds to the architecture (prompts, prefixes, bottlenecks).

    See Also
    --------
    export_onnx : One file for serving.
    plmlearn.save : The estimator itself, without the backbone.

    Notes
    -----
    ``logits`` of classes go through a softmax (of several labels per protein a sigmoid), two classes have
    one each; numbers are in the units of ``y``. They equal predictions with ``precision="fp32"`` within
    1e-5. Sequences longer than ``max_length`` are the caller's to cut.

    A CRF gives logarithms of the probabilities of labels, and its best path. Those of signal peptides have a
    column per state, such as "SP n": the sum over a type's states at the first residue is the probability of
    the type, of a protein whose kingdom is not known.

    Cost: twice the memory of the encoder in single precision; the folder holds all its weights.

    Examples
    --------
    >>> import tempfile
    >>> from plmlearn import PLMLoRAClassifier, export_transformers
    >>> clf = PLMLoRAClassifier("mini", pooling="cls", epochs=1, verbose=0)
    >>> clf = clf.fit(["MKTAYIAKQR", "GSHMLEDPVD"], ["enzyme", "other"])
    >>> with tempfile.TemporaryDirectory() as home:
    ...     sorted(path.name for path in export_transformers(clf, home).glob("*.json"))
    ['config.json', 'tokenizer_config.json']
    """
    model = PlainModel.of(estimator)
    folder = local_path(folder, "folder")
    folder.mkdir(parents=True, exist_ok=True)
    with quiet_transformers():
        whole = _as_class(model)
        (model.encoder if whole is None else whole).save_pretrained(folder)
        tokenizer = write_tokenizer(model.backbone, folder)
    if whole is None:
        _write_head(model, folder)
    spelled = _spelling(model.backbone, tokenizer)
    usage = _usage(model, None if whole is None else type(whole).__name__, spelled)
    (folder / "README.md").write_text(model_card(estimator, usage=usage, library="transformers"))
    return folder


def _as_class(model: PlainModel) -> Any:
    """The model as a class of transformers; None where there is none with its head."""
    config = copy.deepcopy(model.encoder.config)
    known = (_OF_RESIDUES if model.per_residue else _OF_PROTEINS).get(config.model_type)
    if known is None or not model.labels or (not model.per_residue and model.steps[0] != "first"):
        return None
    linears = folded(model, *known.steps)
    if linears is None or any(len(linear["bias"]) != config.hidden_size for linear in linears[:-1]):
        return None
    config.id2label = dict(enumerate(model.labels))
    config.label2id = {label: i for i, label in enumerate(model.labels)}
    config.problem_type = model.problem_type
    with torch.device("meta"):
        whole = getattr(transformers, known.name)(config)
    whole.get_submodule(known.encoder).load_state_dict(model.encoder.state_dict(), strict=False, assign=True)
    for path, tensors in zip(known.linears, linears, strict=True):
        linear = whole.get_submodule(path)
        for name, tensor in tensors.items():
            setattr(linear, name, nn.Parameter(tensor, requires_grad=False))
    return whole


def _write_head(model: PlainModel, folder: Path) -> None:
    save_file(model.head.state_dict(), folder / "head.safetensors")
    settings = {
        "steps": model.steps,
        "prefix": model.head.prefix,
        "suffix": model.head.suffix,
        "problem_type": model.problem_type,
        "labels": model.labels,
    }
    (folder / "head.json").write_text(json.dumps(settings, indent=1))
    (folder / "load_head.py").write_text(_loader(model.steps))


def _loader(steps: list[str]) -> str:
    """What a head of these steps needs of ``head.py``."""
    needed = {"steps_of", "outputs", "load_head"}
    waiting = [head_module.STEPS[step] for step in dict.fromkeys(steps)]
    while waiting:
        function = waiting.pop()
        needed.add(function.__name__)
        called = (getattr(head_module, name, None) for name in function.__code__.co_names)
        waiting += [other for other in called if inspect.isfunction(other) and other.__name__ not in needed]
    start, *functions = Path(head_module.__file__).read_text().split("\n\n\n")
    kept = [text for text in functions if text.partition("(")[0].removeprefix("def ") in needed]
    table = ", ".join(f'"{step}": {step}' for step in dict.fromkeys(steps))
    *kept, run, load = kept
    return "\n\n\n".join([start, *kept, f"STEPS = {{{table}}}", run, load])


def _spelling(backbone: Backbone, tokenizer: Any) -> str:
    """How the tokenizer wants ``sequence``, in Python: found by trying."""
    token_format, letters = backbone.token_format, letters_of(backbone)
    ids, prefix = backbone.tokenize([LETTERS])[0].tolist(), "".join(token_format.prefix)
    unknown = token_format.substitutes.get(AMBIGUOUS, AMBIGUOUS)
    alike = "".join(x for x in LETTERS if letters[x] == letters[AMBIGUOUS] and x != unknown)
    for read in ("sequence", f're.sub("[{alike}]", "{unknown}", sequence)')[: 1 + bool(alike)]:
        for way in (
            read,
            f'" ".join({read})',
            f'"{prefix} " + " ".join({read})',
            f'"{prefix} " + " ".join({read}.lower())',
            f'"{prefix}" + {read}',
            f'"".join(f"{{letter}}#" for letter in {read})',
        ):
            if tokenizer(eval(way, {"re": re, "sequence": LETTERS}))["input_ids"] == ids:
                return way
    return "spelled_as_the_tokenizer_wants(sequence)"


def _read(model: PlainModel) -> list[str]:
    """The lines that say what is read."""
    given = '["MKTAYIAKQRQISFVKSHFSRQ", "GSHMLEDPVDALK"]'
    if not model.reads_pairs:
        return [f"sequences = {given}  # capital letters"]
    return [
        f"first = {given}  # capital letters",
        'second = ["MKKLLPTAAAGLLLLAAQPAMA", "MSTEEQKRNDPEEAG"]  # the partner of each',
        "sequences = first + second",
    ]


def _usage(model: PlainModel, of_class: str | None, spelled: str) -> str:
    """The lines that predict, as Python."""
    name = of_class or type(model.encoder).__name__
    options = {} if of_class else model.backbone.architecture.load_options
    place = ", ".join(["folder", *(f"{option}={value!r}" for option, value in options.items())])
    lines = [
        *(["import re", ""] if "re.sub" in spelled else []),
        "import torch",
        f"from transformers import AutoTokenizer, {name}",
        *([] if of_class else ["from load_head import load_head  # a file of this folder"]),
        "",
        'folder = "."',
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
        f"model = {name}.from_pretrained({place}).eval()",
        *_read(model),
        f"texts = [{spelled} for sequence in sequences]",
        'batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")',
        "with torch.no_grad():",
        "    "
        + ("logits = model(**batch).logits" if of_class else "hidden = model(**batch).last_hidden_state"),
    ]
    if not of_class:
        lines += ["    head = load_head(folder)", '    logits = head(hidden, batch["attention_mask"])']
    if model.has_paths:
        lines += [
            '    path = head(hidden, batch["attention_mask"], best_path=True).argmax(-1)  # numbers of labels'
        ]
    after = {"single_label_classification": "softmax(-1)", "multi_label_classification": "sigmoid()"}
    if model.problem_type in after:
        labels = "model.config.id2label" if of_class else 'the labels of "head.json"'
        lines += [f"probabilities = logits.{after[model.problem_type]}  # columns: {labels}"]
    return "\n".join(lines)
