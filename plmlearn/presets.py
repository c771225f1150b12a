"""The published recipes, by name: data that :func:`make` turns into estimators.

Each preset says where it comes from, what of it was left out or corrected, and which parameters it sets;
all others keep plmlearn's defaults. ``PRESETS`` is the table.

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
from typing import Any

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


@dataclass(frozen=True)
class Preset:
    """A published recipe.

    Parameters
    ----------
    source : str
        The paper.
    departures : tuple of str, default=()
        What of the paper or its code is different here, and why.
    estimator : type, optional
        Class of the estimator; None where the task decides.
    parameters : mapping, optional
        What the recipe sets.
    tasks : mapping of str to (type, mapping), optional
        For recipes with several tasks: the class and what the task sets beside ``parameters``.
    """

    source: str
    departures: tuple[str, ...] = ()
    estimator: type[BaseEstimator] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, tuple[type[BaseEstimator], Mapping[str, Any]]] = field(default_factory=dict)


def make(name: str, *, task: str | None = None, **changes: Any) -> BaseEstimator:
    """An estimator with a recipe's settings.

    Parameters
    ----------
    name : str
        One of :data:`PRESETS`.
    task : str, optional
        For recipes with several tasks, one of ``PRESETS[name].tasks``.
    **changes
        Parameters of the estimator that shall differ, such as ``backbone="esm2-8m"``.

    Returns
    -------
    estimator
        Not fitted.

    Raises
    ------
    ValueError
        An unknown name or task.

    Examples
    --------
    >>> from plmlearn import presets
    >>> presets.make("peft_sp_lora", backbone="mini").optimizer
    'adamax'
    """
    if name not in PRESETS:
        raise ValueError(f"There is no preset {name!r}; expected one of {', '.join(PRESETS)}.")
    preset = PRESETS[name]
    if preset.estimator is None:
        if task is None or task not in preset.tasks:
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
_WITHOUT_RESTARTS = (
    "One cosine decay. The released script restarts its rate every 10 optimiser steps, where epochs were "
    "meant.",
)
_OF_PAIRS = {"combine": "mean", "epoch_size": 16384, "scoring": "average_precision"}


def _lora_of_sledzieski(last_n_layers: int) -> Adapter:
    return LoRA(rank=8, alpha=32, dropout=0.1, target_modules=("key", "value"), last_n_layers=last_n_layers)


_SLEDZIESKI_PRESETS = {
    "sledzieski2024_ppi_lora": Preset(
        _SLEDZIESKI,
        _WITHOUT_RESTARTS,
        PLMPairClassifier,
        {**_ADAM_OF_SLEDZIESKI, **_OF_PAIRS, "adapter": _lora_of_sledzieski(5)},
    ),
    "sledzieski2024_ppi_full": Preset(
        _SLEDZIESKI,
        (*_WITHOUT_RESTARTS, "The rate of full fine-tuning is not in the paper; LoRA's is taken."),
        PLMPairClassifier,
        {**_ADAM_OF_SLEDZIESKI, **_OF_PAIRS, "adapter": FullFineTuning(last_n_layers=4)},
    ),
    "sledzieski2024_symmetry_lora": Preset(
        _SLEDZIESKI,
        _WITHOUT_RESTARTS,
        PLMClassifier,
        {**_ADAM_OF_SLEDZIESKI, "adapter": _lora_of_sledzieski(12)},
    ),
    "sledzieski2024_symmetry_full": Preset(
        _SLEDZIESKI,
        (*_WITHOUT_RESTARTS, "The rate of full fine-tuning is not in the paper; LoRA's is taken."),
        PLMClassifier,
        {**_ADAM_OF_SLEDZIESKI, "adapter": FullFineTuning(last_n_layers=8)},
    ),
    "sledzieski2024_symmetry_frozen_mlp": Preset(
        _SLEDZIESKI,
        ("The released grid search is left to GridSearchCV; these are the settings that it found.",),
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

_KINDS = {
    "stability": PLMRegressor,
    "meltome": PLMRegressor,
    "gb1": PLMRegressor,
    "aav": PLMRegressor,
    "gfp": PLMRegressor,
    "location": PLMClassifier,
    "disorder": PLMResidueRegressor,
    "secondary_structure": PLMResidueClassifier,
}
_EPOCHS = {
    "full": (10, 10, 20, 10, 20, 10, 20, 5),
    "lora": (50, 20, 50, 20, 50, 5, 20, 5),
    "frozen": (120, 120, 240, 120, 240, 120, 50, 10),
}
_TRAINING_OF_SCHMIRLER = {
    "standardize": False,
    "weight_decay": 0.0,
    "schedule": "linear",
    "warmup": 0.0,
    "gradient_clip": 1.0,
    "max_length": 1022,
}
_PRECISION = (
    "precision='auto' takes bfloat16 where the machine is fast in it, not float16, which may overflow."
)
_BEST = "Pass X_val and y_val: the epoch that is best on them is kept, as in the paper."


def _tasks_of_schmirler(recipe: str, per_protein: Mapping[str, Any], per_residue: Mapping[str, Any]):
    tasks = {}
    for (task, kind), epochs in zip(_KINDS.items(), _EPOCHS[recipe], strict=True):
        own = per_residue if kind in (PLMResidueClassifier, PLMResidueRegressor) else per_protein
        tasks[task] = (kind, {**own, "epochs": epochs})
    return tasks


_ESM_HEADS = (
    {"pooling": "cls", "head": "esm", "head_dropout": 0.0, "batch_size": 8},
    {"head": "linear", "head_dropout": 0.0, "batch_size": 1},
)
_T5_HEADS = (
    {"pooling": "mean", "head": "esm", "head_dropout": 0.2, "batch_size": 8},
    {"head": "linear", "head_dropout": 0.2, "batch_size": 1},
)
_SCHMIRLER_PRESETS = {
    "schmirler2024_lora": Preset(
        _SCHMIRLER,
        (_PRECISION, _BEST),
        parameters={
            **_TRAINING_OF_SCHMIRLER,
            "backbone": "prott5",
            "adapter": LoRA(rank=4, alpha=1, bias="all", target_modules="attention"),
            "lr": 3e-4,
            "head_lr": 3e-4,
        },
        tasks=_tasks_of_schmirler("lora", *_T5_HEADS),
    ),
    "schmirler2024_lora_esm": Preset(
        _SCHMIRLER,
        (
            _PRECISION,
            _BEST,
            "The notebook's 'dense' matches three matrices of a layer of ESM-2; so it is here.",
        ),
        parameters={
            **_TRAINING_OF_SCHMIRLER,
            "backbone": "esm2-3b",
            "adapter": LoRA(rank=4, alpha=1, bias="all", target_modules="all"),
            "lr": 3e-4,
            "head_lr": 3e-4,
        },
        tasks=_tasks_of_schmirler("lora", *_ESM_HEADS),
    ),
    "schmirler2024_full": Preset(
        _SCHMIRLER,
        (_PRECISION, _BEST),
        parameters={
            **_TRAINING_OF_SCHMIRLER,
            "backbone": "esm2-8m",
            "adapter": FullFineTuning(),
            "lr": 2e-5,
            "head_lr": 2e-5,
        },
        tasks=_tasks_of_schmirler("full", *_ESM_HEADS),
    ),
    "schmirler2024_frozen": Preset(
        _SCHMIRLER,
        (
            _BEST,
            "Adam's epsilon is 1e-8, not Keras' 1e-7.",
            "Per residue the head begins with a layer norm.",
        ),
        parameters={
            **_TRAINING_OF_SCHMIRLER,
            "standardize": True,
            "backbone": "prott5",
            "adapter": Frozen(),
            "head_hidden": 32,
            "head_dropout": 0.2,
            "schedule": "constant",
            "gradient_clip": None,
            "head_lr": 1e-4,
            "batch_size": 8,
        },
        tasks=_tasks_of_schmirler("frozen", {"pooling": "mean", "head": "relu"}, {"head": "mlp"}),
    ),
}

# -- Zeng et al.: signal peptides ---------------------------------------------------------------

_TRAINING_OF_ZENG = {
    "backbone": "esm2-650m",
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
_CRF_TRAINS = "Head and random field are trained; in the released code neither reaches the optimiser."


def _zeng(adapter: Adapter, *departures: str) -> Preset:
    return Preset(
        _ZENG,
        (_CRF_TRAINS, *departures),
        PLMSignalPeptideClassifier,
        {**_TRAINING_OF_ZENG, "adapter": adapter},
    )


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
