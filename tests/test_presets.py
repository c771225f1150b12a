"""Every value of every recipe, as the papers have it; and that each recipe runs."""

import numpy as np
import pytest
import torch
import transformers

import plmlearn
from plmlearn import presets
from plmlearn.datasets import make_protein_classification, make_protein_pairs
from plmlearn.presets import PRESETS

# Written down from the papers, apart from the table of the package.
SLEDZIESKI = {
    "backbone": "esm2-650m", "lr": 1e-3, "head_lr": 1e-3, "weight_decay": 0.01, "schedule": "cosine",
    "warmup": 0.0, "batch_size": 64, "epochs": 40, "gradient_clip": 0.2, "head": "esm", "head_hidden": 128,
    "head_dropout": 0.0, "standardize": False, "max_length": 1022, "pooling": "mean", "optimizer": "adamw",
}  # fmt: skip
INTERACTION = {"combine": "mean", "epoch_size": 16384, "scoring": "average_precision"}
SYMMETRY = {"scoring": "macro_aupr"}
SLEDZIESKI_LORA = {
    "adapter__rank": 8, "adapter__alpha": 32, "adapter__dropout": 0.1, "adapter__bias": "none",
    "adapter__target_modules": ("key", "value"),
}  # fmt: skip
SCHMIRLER = {
    "weight_decay": 0.0, "schedule": "linear", "warmup": 0.0, "gradient_clip": 1.0, "max_length": 1022,
    "optimizer": "adamw", "standardize": False, "precision": "auto",
}  # fmt: skip
SCHMIRLER_LORA = {
    "adapter__rank": 4, "adapter__alpha": 1, "adapter__dropout": 0.0, "adapter__bias": "all",
    "adapter__last_n_layers": None, "lr": 3e-4, "head_lr": 3e-4,
}  # fmt: skip
SCHMIRLER_FROZEN = {
    "backbone": "prott5", "standardize": True, "head_hidden": 32, "head_dropout": 0.2,
    "head_lr": 1e-4, "batch_size": 8, "schedule": "constant", "gradient_clip": None,
}  # fmt: skip
ESM_PROTEIN = {"pooling": "cls", "head": "esm", "head_dropout": 0.0, "batch_size": 8}
T5_PROTEIN = {"pooling": "mean", "head": "esm", "head_dropout": 0.2, "batch_size": 8}
RESIDUE = {"head": "linear", "batch_size": 1}
EPOCHS = {
    "schmirler2024_full": {"stability": 10, "meltome": 10, "gb1": 20, "aav": 10, "disorder": 20, "gfp": 20,
                           "secondary_structure": 5, "location": 10},
    "schmirler2024_lora": {"stability": 50, "meltome": 20, "gb1": 50, "aav": 20, "disorder": 20, "gfp": 50,
                           "secondary_structure": 5, "location": 5},
    "schmirler2024_frozen": {"stability": 120, "meltome": 120, "gb1": 240, "aav": 120, "disorder": 50,
                             "gfp": 240, "secondary_structure": 10, "location": 120},
}  # fmt: skip
EPOCHS["schmirler2024_lora_esm"] = EPOCHS["schmirler2024_lora"]
ZENG = {
    "backbone": "esm2-650m", "optimizer": "adamax", "lr": 7.5e-3, "head_lr": 7.5e-3, "weight_decay": 1.2e-6,
    "gradient_clip": 0.25, "schedule": "constant", "warmup": 0.0, "batch_size": 20, "epochs": 3,
    "head_dropout": 0.1, "composition_weight": 0.5, "max_length": 70, "standardize": False,
}  # fmt: skip
EXPECTED = {
    "sledzieski2024_ppi_lora": SLEDZIESKI | INTERACTION | SLEDZIESKI_LORA | {"adapter__last_n_layers": 5},
    "sledzieski2024_ppi_full": SLEDZIESKI | INTERACTION | {"adapter__last_n_layers": 4},
    "sledzieski2024_symmetry_lora": SLEDZIESKI | SYMMETRY | SLEDZIESKI_LORA | {"adapter__last_n_layers": 12},
    "sledzieski2024_symmetry_full": SLEDZIESKI | SYMMETRY | {"adapter__last_n_layers": 8},
    "sledzieski2024_symmetry_frozen_mlp": {
        "backbone": "esm2-650m", "hidden_layer_sizes": (64, 64), "activation": "relu", "solver": "adam",
        "learning_rate": "adaptive", "learning_rate_init": 0.01, "max_iter": 2000, "tol": 1e-4,
        "max_length": 1022, "pooling": "mean", "early_stopping": False,
    },
    "peft_sp_lora": ZENG | {"adapter__rank": 8, "adapter__alpha": 8, "adapter__dropout": 0.1,
                            "adapter__target_modules": "attention", "adapter__last_n_layers": None},
    "peft_sp_adapter": ZENG | {"adapter__reduction": 2, "adapter__size": None, "adapter__activation": "relu",
                               "adapter__layer_norm": True, "adapter__after": ("attention", "feed_forward")},
    "peft_sp_prompt": ZENG,
}  # fmt: skip
PER_RESIDUE = ("disorder", "secondary_structure")
KINDS = {
    "location": "PLMClassifier",
    "disorder": "PLMResidueRegressor",
    "secondary_structure": "PLMResidueClassifier",
}


def expected_of_schmirler(name: str, task: str) -> dict:
    residues = task in PER_RESIDUE
    if name == "schmirler2024_frozen":
        return SCHMIRLER | SCHMIRLER_FROZEN | {"head": "mlp" if residues else "relu"}
    if name == "schmirler2024_full":
        own = {"backbone": "esm2-8m", "lr": 2e-5, "head_lr": 2e-5, "adapter__last_n_layers": None}
        return SCHMIRLER | own | (RESIDUE if residues else ESM_PROTEIN)
    if name == "schmirler2024_lora":
        own = {"backbone": "prott5", "adapter__target_modules": "attention"}
        return SCHMIRLER | SCHMIRLER_LORA | own | (RESIDUE if residues else T5_PROTEIN)
    own = {"backbone": "esm2-3b", "adapter__target_modules": "all"}
    return SCHMIRLER | SCHMIRLER_LORA | own | (RESIDUE if residues else ESM_PROTEIN)


def check(estimator, expected: dict) -> None:
    found = estimator.get_params()
    assert {name: found[name] for name in expected} == expected


def test_no_recipe_is_left_out():
    assert set(PRESETS) == set(EXPECTED) | set(EPOCHS)
    assert all("doi:" in preset.source for preset in PRESETS.values())


@pytest.mark.parametrize("name", EXPECTED)
def test_values_are_those_of_the_paper(name):
    check(presets.make(name), EXPECTED[name])


@pytest.mark.parametrize(("name", "task"), [(name, task) for name in EPOCHS for task in EPOCHS[name]])
def test_values_of_each_task_are_those_of_the_paper(name, task):
    estimator = presets.make(name, task=task)
    check(estimator, expected_of_schmirler(name, task) | {"epochs": EPOCHS[name][task]})
    assert type(estimator).__name__ == KINDS.get(task, "PLMRegressor")


# Where a recipe cannot be, or is not, as published, it says so.
DEPARTURES = [
    ("schmirler2024_frozen", "a batch is 8 proteins, not 8 residues"),
    ("schmirler2024_frozen", "epsilon is 1e-8, not Keras' 1e-7"),
    *((name, "Regressors standardise their targets") for name in EPOCHS),
    *((name, "reads B, O, U and Z by its own rule") for name in EPOCHS),
    *((name, "AdamW, as in the released script") for name in EXPECTED if "ppi" in name),
    *(
        (name, "restarts its rate every 10")
        for name in EXPECTED
        if name.endswith(("_lora", "_full")) and "2024" in name
    ),
    ("sledzieski2024_symmetry_lora", "binary cross-entropy"),
    ("sledzieski2024_symmetry_frozen_mlp", "early_stopping stays False"),
    *((name, "the paper chooses by the MCC of detection") for name in EXPECTED if "peft_sp" in name),
]


@pytest.mark.parametrize(("name", "text"), DEPARTURES)
def test_departures_are_told(name, text):
    assert any(text in departure for departure in PRESETS[name].departures)


@pytest.mark.parametrize(
    ("name", "n_outputs", "trained"),
    [
        ("sledzieski2024_ppi_lora", 1, 368_897),
        ("sledzieski2024_symmetry_lora", 18, 657_810),
        ("sledzieski2024_ppi_full", 1, 78_873_857),
        ("sledzieski2024_symmetry_full", 18, 157_585_810),
    ],
)
def test_published_counts_of_trained_parameters(name, n_outputs, trained):
    """On the true shape of ESM2-650M, whose tensors take no memory here."""
    estimator = presets.make(name)
    config = transformers.EsmConfig(
        vocab_size=33, hidden_size=1280, num_hidden_layers=33, num_attention_heads=20, intermediate_size=5120,
        position_embedding_type="rotary", pad_token_id=1, mask_token_id=32,
    )  # fmt: skip
    with torch.device("meta"):
        model = transformers.EsmModel(config, add_pooling_layer=False).requires_grad_(False)
    width, hidden = 1280, estimator.head_hidden
    per_layer = sum(p.numel() for p in model.encoder.layer[0].parameters())
    if "lora" in name:
        of_encoder = estimator.adapter.last_n_layers * 2 * estimator.adapter.rank * 2 * width
    else:
        of_encoder = estimator.adapter.last_n_layers * per_layer
    assert of_encoder + width * hidden + hidden + hidden * n_outputs + n_outputs == trained


@pytest.mark.parametrize("name", ["sledzieski2024_ppi_lora", "sledzieski2024_ppi_full"])
def test_recipes_for_pairs_run(name):
    X, y = make_protein_pairs(24, n_proteins=24, max_length=40, random_state=0)
    small = {"backbone": "mini", "epochs": 1, "epoch_size": 16, "verbose": 0, "random_state": 0}
    estimator = presets.make(name, **small)
    estimator.adapter.set_params(last_n_layers=1)
    assert estimator.fit(X, y, X_val=X, y_val=y).predict(X).shape == (24,)


@pytest.mark.parametrize("name", EPOCHS)
@pytest.mark.parametrize("task", ["location", "secondary_structure"])
def test_recipes_of_schmirler_run(name, task):
    X, y = make_protein_classification(12, median_length=20, max_length=30, random_state=0)
    if task == "secondary_structure":
        y = np.array(["HEC"[i % 3] * len(sequence) for i, sequence in enumerate(X)], dtype=object)
    estimator = presets.make(name, task=task, backbone="mini", epochs=1, verbose=0, random_state=0)
    assert len(estimator.fit(X, y).predict(X)) == 12


@pytest.mark.parametrize("name", ["peft_sp_lora", "peft_sp_adapter", "peft_sp_prompt"])
def test_recipes_for_signal_peptides_run(name):
    X = ["MKRLLVLLALLLVAASAQADDETKPE", "MSTEEQKRNDPEEAGKDDSSQTEPR"] * 4
    regions = ["S" * 18 + "O" * 8, "I" * 25] * 4
    estimator = presets.make(name, backbone="mini", epochs=1, verbose=0, random_state=0)
    assert set(estimator.fit(X, ["SP", "NO_SP"] * 4, regions=regions).predict(X)) <= {"SP", "NO_SP"}


def test_presets_share_nothing():
    first, second = (presets.make("peft_sp_lora") for _ in range(2))
    first.adapter.set_params(rank=2)
    assert second.adapter.rank == 8
    assert presets.make("peft_sp_lora").adapter.rank == 8


def test_unknown_names_and_tasks():
    with pytest.raises(ValueError, match="name='lora' is no preset; expected one of sledzieski2024_ppi_lora"):
        presets.make("lora")
    with pytest.raises(ValueError, match="task=None; expected one of stability"):
        presets.make("schmirler2024_lora")
    with pytest.raises(ValueError, match="for one task"):
        presets.make("peft_sp_lora", task="gb1")


def test_presets_are_public():
    assert plmlearn.presets is presets
