"""The published recipes, by name: data that :func:`make` turns into estimators.

Each preset says where it comes from, where it departs from the publication, and which parameters it sets; all
others keep plmlearn's defaults. ``PRESETS`` is the table.

Examples
--------
>>> from plmlearn import presets
>>> clf = presets.make("sledzieski2024_ppi_lora", backbone="esm2-8m", epochs=2)
>>> clf.adapter.rank, clf.epoch_size, clf.epochs
(8, 16384, 2)
>>> presets.make("schmirler2024_full", task="gb1").epochs
20
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

from sklearn.base import BaseEstimator

from .adapters import Adapter, Bottleneck, Frozen, FullFineTuning, LoRA, PromptTuning
from .estimators.frozen import PLMFrozenMLP
from .estimators.pair import PLMPairClassifier
from .estimators.protein import PLMClassifier, PLMRegressor
from .estimators.residue import PLMResidueClassifier, PLMResidueRegressor
from .estimators.signal_peptides import PLMSignalPeptideClassifier

__all__ = ["PRESETS", "Preset", "make"]

_SLEDZIESKI = "Sledzieski et al., PNAS 2024, doi:10.1073/pnas.2405840121"
_SCHMIRLER = "Schmirler, Heinzinger, Rost, Nature Communications 2024, doi:10.1038/s41467-024-51844-2"
_ZENG = "Zeng, Wang, Xu, PEFT-SP, Genome Research 2024, doi:10.1101/gr.279132.124"


Task = tuple[type[BaseEstimator], Mapping[str, Any]]


@dataclass(frozen=True)
class Preset:
    """A published recipe.

    Parameters
    ----------
    source : str
        The paper.
    departures : tuple of str
        What is different from the paper or its code, and why.
    estimator : type, optional
        Class of the estimator; None if the task decides.
    parameters : mapping, optional
        What the recipe sets.
    tasks : mapping of str to (type, mapping), optional
        For recipes with several tasks: the class, and what the task sets in addition to ``parameters``.

    See Also
    --------
    make : Make an estimator with a recipe's settings.

    Examples
    --------
    >>> from plmlearn.presets import PRESETS
    >>> PRESETS["sledzieski2024_ppi_lora"].source
    'Sledzieski et al., PNAS 2024, doi:10.1073/pnas.2405840121'
    """

    source: str
    departures: tuple[str, ...]
    estimator: type[BaseEstimator] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, Task] = field(default_factory=dict)


def make(name: str, *, task: str | None = None, **changes: Any) -> BaseEstimator:
    """Make an estimator with a recipe's settings.

    Parameters
    ----------
    name : str
        One of :data:`PRESETS`.
    task : str, optional
        For recipes with several tasks, one of ``PRESETS[name].tasks``.
    **changes
        Other values for parameters of the estimator, such as ``backbone="esm2-8m"``.

    Returns
    -------
    estimator
        Not fitted.

    Raises
    ------
    ValueError
        An unknown name or task.

    See Also
    --------
    PRESETS : The recipes by name.

    Examples
    --------
    >>> from plmlearn import presets
    >>> presets.make("peft_sp_lora", backbone="mini").optimizer
    'adamax'
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise ValueError(f"name={name!r} is no preset; expected one of {', '.join(PRESETS)}.")
    preset = PRESETS[name]
    if preset.estimator is None:
        if not isinstance(task, str) or task not in preset.tasks:
            raise ValueError(f"{name} has task={task!r}; expected one of {', '.join(preset.tasks)}.")
        kind, of_task = preset.tasks[task]
    elif task is not None:
        raise ValueError(f"{name} is for one task; leave task={task!r} out.")
    else:
        kind, of_task = preset.estimator, {}
    return kind(**deepcopy({**preset.parameters, **of_task}) | changes)


# -- Sledzieski et al.: interactions of proteins, symmetry of homo-oligomers --------------------

_ADAM_OF_SLEDZIESKI = {
    "backbone": "esm2-650m",
    "head": "esm",
    "head_hidden": 128,
    "head_dropout": 0.0,
    "standardize": False,
    "lr": 1e-3,
    "head_lr": 1e-3,
    "weight_decay": 0.01,
    "schedule": "cosine",
    "warmup": 0.0,
    "batch_size": 64,
    "gradient_clip": 0.2,
    "epochs": 40,
    "max_length": 1022,
}
_OF_PAIRS = {"combine": "mean", "epoch_size": 16384, "scoring": "average_precision"}
_FROM_THE_SCRIPT = (
    "AdamW, as in the released script; the paper says Adam.",
    "One cosine decay to zero. The released script restarts its rate every 10 optimiser steps, where epochs "
    "were meant, and stops it at 4e-6.",
    "40 epochs, as in the paper; the released script for pairs runs 50.",
)
_FULL_RATE = "The rate of full fine-tuning is not in the paper; LoRA's is taken."
_CROSS_ENTROPY = (
    "With one class per protein the loss is cross-entropy. The released script takes binary cross-entropy "
    "over the classes: for that, pass an indicator of shape (n, 18)."
)


def _sledzieski(adapter: Adapter, *departures: str, pairs: bool) -> Preset:
    if pairs:
        kind, own = PLMPairClassifier, _OF_PAIRS
    else:
        kind, own, departures = PLMClassifier, {"scoring": "macro_aupr"}, (_CROSS_ENTROPY, *departures)
    parameters = {**_ADAM_OF_SLEDZIESKI, **own, "adapter": adapter}
    return Preset(_SLEDZIESKI, (*_FROM_THE_SCRIPT, *departures), kind, parameters)


def _lora_of_sledzieski(last_n_layers: int) -> Adapter:
    return LoRA(rank=8, alpha=32, dropout=0.1, target_modules=("key", "value"), last_n_layers=last_n_layers)


_SLEDZIESKI_PRESETS = {
    "sledzieski2024_ppi_lora": _sledzieski(_lora_of_sledzieski(5), pairs=True),
    "sledzieski2024_ppi_full": _sledzieski(FullFineTuning(last_n_layers=4), _FULL_RATE, pairs=True),
    "sledzieski2024_symmetry_lora": _sledzieski(_lora_of_sledzieski(12), pairs=False),
    "sledzieski2024_symmetry_full": _sledzieski(FullFineTuning(last_n_layers=8), _FULL_RATE, pairs=False),
    "sledzieski2024_symmetry_frozen_mlp": Preset(
        _SLEDZIESKI,
        (
            "The released grid search is left to GridSearchCV; these are the settings that it found.",
            "early_stopping stays False; the released script stops by its validation set.",
        ),
        PLMFrozenMLP,
        {
            "backbone": "esm2-650m",
            "hidden_layer_sizes": (64, 64),
            "activation": "relu",
            "solver": "adam",
            "learning_rate": "adaptive",
            "learning_rate_init": 0.01,
            "max_iter": 2000,
            "tol": 1e-4,
            "max_length": 1022,
        },
    ),
}

# -- Schmirler et al.: eight tasks, per protein and per residue ---------------------------------

# Class of the estimator, and epochs of full fine-tuning, LoRA and the frozen backbone.
_TASKS: dict[str, tuple[type[BaseEstimator], tuple[int, int, int]]] = {
    "stability": (PLMRegressor, (10, 50, 120)),
    "meltome": (PLMRegressor, (10, 20, 120)),
    "gb1": (PLMRegressor, (20, 50, 240)),
    "aav": (PLMRegressor, (10, 20, 120)),
    "gfp": (PLMRegressor, (20, 50, 240)),
    "location": (PLMClassifier, (10, 5, 120)),
    "disorder": (PLMResidueRegressor, (20, 20, 50)),
    "secondary_structure": (PLMResidueClassifier, (5, 5, 10)),
}
_TRAINING_OF_SCHMIRLER = {
    "standardize": False,
    "weight_decay": 0.0,
    "schedule": "linear",
    "warmup": 0.0,
    "gradient_clip": 1.0,
    "max_length": 1022,
}
_OF_ALL_TASKS = (
    "Pass X_val and y_val: the epoch that is best on them is kept, as in the paper.",
    "Regressors standardise their targets during training; the paper fits them as measured.",
    "Each backbone reads B, O, U and Z by its own rule; the paper reads them and J as X. Pass "
    "invalid='replace' for J.",
)
_PRECISION = (
    "precision='auto' takes bfloat16 where the machine is fast in it, not float16, which may overflow."
)


def _schmirler(
    recipe: Literal["full", "lora", "frozen"],
    per_protein: Mapping[str, Any],
    per_residue: Mapping[str, Any],
    *departures: str,
    **parameters: Any,
) -> Preset:
    tasks: dict[str, Task] = {}
    for task, (kind, epochs) in _TASKS.items():
        own = per_residue if kind in (PLMResidueClassifier, PLMResidueRegressor) else per_protein
        tasks[task] = (kind, {**own, "epochs": epochs[("full", "lora", "frozen").index(recipe)]})
    parameters = {**_TRAINING_OF_SCHMIRLER, **parameters}
    return Preset(_SCHMIRLER, (*_OF_ALL_TASKS, *departures), parameters=parameters, tasks=tasks)


def _lora_of_schmirler(target_modules: Any) -> dict[str, Any]:
    adapter = LoRA(rank=4, alpha=1, bias="all", target_modules=target_modules)
    return {"adapter": adapter, "lr": 3e-4, "head_lr": 3e-4}


_ESM_HEADS = (
    {"pooling": "cls", "head": "esm", "head_dropout": 0.0, "batch_size": 8},
    {"head": "linear", "head_dropout": 0.0, "batch_size": 1},
)
_T5_HEADS = (
    {"pooling": "mean", "head": "esm", "head_dropout": 0.2, "batch_size": 8},
    {"head": "linear", "head_dropout": 0.2, "batch_size": 1},
)
_SCHMIRLER_PRESETS = {
    "schmirler2024_lora": _schmirler(
        "lora", *_T5_HEADS, _PRECISION, backbone="prott5", **_lora_of_schmirler("attention")
    ),
    "schmirler2024_lora_esm": _schmirler(
        "lora",
        *_ESM_HEADS,
        _PRECISION,
        "The notebook's 'dense' matches three matrices of a layer of ESM-2; so it does here.",
        backbone="esm2-3b",
        **_lora_of_schmirler("all"),
    ),
    "schmirler2024_full": _schmirler(
        "full", *_ESM_HEADS, _PRECISION, backbone="esm2-8m", adapter=FullFineTuning(), lr=2e-5, head_lr=2e-5
    ),
    "schmirler2024_frozen": _schmirler(
        "frozen",
        {"pooling": "mean", "head": "relu"},
        {"head": "mlp"},
        "Adam's epsilon is 1e-8, not Keras' 1e-7.",
        "Per residue a batch is 8 proteins, not 8 residues, and the head begins with a layer norm.",
        backbone="prott5",
        adapter=Frozen(),
        standardize=True,
        head_hidden=32,
        head_dropout=0.2,
        head_lr=1e-4,
        batch_size=8,
        schedule="constant",
        gradient_clip=None,
    ),
}

# -- Zeng et al.: signal peptides ---------------------------------------------------------------

_TRAINING_OF_ZENG = {
    "backbone": "esm2-650m",
    "standardize": False,
    "head_dropout": 0.1,
    "optimizer": "adamax",
    "lr": 7.5e-3,
    "head_lr": 7.5e-3,
    "weight_decay": 1.2e-6,
    "gradient_clip": 0.25,
    "schedule": "constant",
    "warmup": 0.0,
    "batch_size": 20,
    "epochs": 3,
    "composition_weight": 0.5,
    "max_length": 70,
}
_OF_ALL_ADAPTERS = (
    "Head and random field are trained; in the released code neither reaches the optimiser.",
    "With X_val and y_val the epoch with the lowest loss is kept; the paper chooses by the MCC of detection "
    "plus that of cleavage sites.",
)


def _zeng(adapter: Adapter, *departures: str) -> Preset:
    parameters = {**_TRAINING_OF_ZENG, "adapter": adapter}
    return Preset(_ZENG, (*_OF_ALL_ADAPTERS, *departures), PLMSignalPeptideClassifier, parameters)


_ZENG_PRESETS = {
    "peft_sp_lora": _zeng(
        LoRA(rank=8, alpha=8, dropout=0.1, target_modules="attention"),
        "Of the 3B backbone the paper adapts the last 35 layers of 36, at lr=6.7e-3.",
    ),
    "peft_sp_adapter": _zeng(Bottleneck(reduction=2, activation="relu", layer_norm=True)),
    "peft_sp_prompt": _zeng(
        PromptTuning(), "The paper tries several numbers of tokens and layers; plmlearn's defaults are taken."
    ),
}

PRESETS: Mapping[str, Preset] = {**_SLEDZIESKI_PRESETS, **_SCHMIRLER_PRESETS, **_ZENG_PRESETS}
"""All recipes by name."""
