"""What is called, with arguments that work, and how a right result is known.

``functions``    readers, splitters, metrics, baselines, data sets, and everything else without an estimator
``estimators``   every public estimator: built, fitted, asked, and changed after ``fit``
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hostile
import numpy as np
from hostile import LETTERS
from sklearn.base import BaseEstimator, clone, is_classifier

import plmlearn
from plmlearn import (
    adapters,
    backbones,
    baselines,
    cache,
    datasets,
    design,
    distributed,
    hub,
    metrics,
    model_selection,
    presets,
    report,
    search,
    similarity,
)
from plmlearn import sequences as seq

Arguments = Mapping[str, Any]

N = 10
_RNG = np.random.default_rng(0)
X = ["".join(_RNG.choice(LETTERS, n)) for n in _RNG.integers(10, 18, N)]
VARIANTS = [X[0][:i] + letter + X[0][i + 1 :] for i, letter in enumerate("WYWYWYWYWY")]
PAIRS = [(X[i], X[(i + 1 + i // 5) % N]) for i in range(N)]
CLASSES = [["no", "yes"][i % 2] for i in range(N)]
VALUES = [float(i) for i in range(N)]
STATES = ["".join("HE-"[(i // 3) % 3] for i in range(len(x))) for x in X]
NUMBERS = [np.arange(len(x)) / 7 for x in X]
REGIONS = ["SSSSOOOO" + "I" * (len(x) - 8) if i % 2 else "I" * len(x) for i, x in enumerate(X)]
GROUPS = [i // 2 for i in range(N)]
PROBABILITIES = [[0.3, 0.7] if i % 2 else [0.6, 0.4] for i in range(N)]


@dataclass
class Call:
    """One function, or one way to use an estimator.

    Parameters
    ----------
    name : str
    run : callable
        Called with the arguments.
    good : mapping
        Arguments that work.
    is_right : callable
        Whether a result fits the arguments that it came from.
    kinds : mapping
        How hostile values of some arguments are made; of the others as of parameters.
    fixed : tuple of str
        Arguments that are left as they are.
    """

    name: str
    run: Callable[..., Any]
    good: Arguments
    is_right: Callable[[Any, Arguments], bool]
    kinds: Mapping[str, Callable[[Any, np.random.Generator], Any]] = field(default_factory=dict)
    fixed: tuple[str, ...] = ()


def kind_of(name: str) -> Callable[[Any, np.random.Generator], Any]:
    if name in ("X", "X_val", "X_train", "X_test", "queries", "sequences", "variants", "positive_pairs") or (
        name.startswith("pairs")
    ):
        return hostile.sequences
    if name in ("labels", "y_score", "y_proba", "groups", "sample_weight") or name.startswith(("y", "types")):
        return hostile.targets
    return hostile.path if name == "path" else hostile.parameter


# -- right results --------------------------------------------------------------------------------


def n_rows(rows: Any) -> int:
    return rows.shape[0] if hasattr(rows, "shape") else len(rows)


def is_finite(value: Any) -> bool:
    """Whether there is no nan and no infinity in it."""
    if isinstance(value, str | bytes | type(None)):
        return True
    if isinstance(value, Mapping):
        return all(map(is_finite, value.values()))
    if isinstance(value, list | tuple) or getattr(value, "dtype", None) == np.dtype(object):
        return all(map(is_finite, value))
    return (
        bool(np.isfinite(value.data if hasattr(value, "tocsr") else value).all())
        if _is_number(value)
        else True
    )


def _is_number(value: Any) -> bool:
    return hasattr(value, "tocsr") or np.asarray(value).dtype.kind in "biuf"


def as_many(name: str) -> Callable[[Any, Arguments], bool]:
    """Finite, one entry for each of an argument."""
    return lambda result, given: n_rows(result) == n_rows(given[name]) and is_finite(result)


def score(result: Any, given: Arguments) -> bool:
    return bool(-1 - 1e-9 <= float(result) <= 1 + 1e-9)


def table(result: Any, given: Arguments) -> bool:
    return isinstance(result, dict | list) and bool(result)


def splits(result: Any, given: Arguments) -> bool:
    """Both sides have rows, none has a row of the other."""
    n = n_rows(given["X"]) if hasattr(given["X"], "__len__") else 10**6
    sides = [(np.asarray(train), np.asarray(test)) for train, test in result]
    return all(
        len(train) and len(test) and not set(train) & set(test) and set(train) | set(test) <= set(range(n))
        for train, test in sides
    )


def anything(result: Any, given: Arguments) -> bool:
    return is_finite(result) if _is_number(result) else result is not None


def _generated(result: Any, given: Arguments) -> bool:
    rows, y = result
    return n_rows(rows) == n_rows(y) == int(given["n_samples"]) and is_finite(y)


# -- functions ------------------------------------------------------------------------------------


def functions(home: Path, backbone: Path) -> Iterator[Call]:
    yield from _of_sequences(home)
    yield from _of_splits()
    yield from _of_metrics()
    yield from _of_design()
    yield from _of_the_rest(backbone)
    yield from _of_whole_runs()
    yield from _of_data(home)


def _call(
    function: Callable, is_right: Callable[[Any, Arguments], bool], /, *fixed: str, **good: Any
) -> Call:
    return Call(function.__qualname__, function, good, is_right, fixed=fixed)


def _of_sequences(home: Path) -> Iterator[Call]:
    csv, fasta = home / "table.csv", home / "proteins.fasta"
    lines = [f"{x},{v},{c},train" for x, v, c in zip(X, VALUES, CLASSES)]
    csv.write_text("\n".join(["sequence,fitness,label,split", *lines, ""]))
    fasta.write_text("".join(f">P{i} text\n{x[:9]}\n{x[9:]}\n" for i, x in enumerate(X)))
    yield _call(seq.check_sequences, as_many("X"), X=X, invalid="raise", min_length=1)
    yield _call(seq.check_pairs, as_many("X"), X=PAIRS, invalid="raise")
    residues = {"y": STATES, "sequences": X, "ignore_label": None, "kind": "labels"}
    yield _call(seq.check_residue_targets, lambda r, a: n_rows(r) == n_rows(a["sequences"]), **residues)
    clean = seq.check_sequences(X)
    yield _call(seq.truncate, lambda r, a: len(r[0]) == N, "sequences", sequences=clean, max_length=5,
                long_sequences="truncate")  # fmt: skip
    yield _call(seq.target_kind, anything, X=X, y=CLASSES)
    yield _call(seq.read_variants, as_many("variants"), wild_type=X[0], variants=VARIANTS)
    yield _call(seq.name_variants, as_many("sequences"), wild_type=X[0], sequences=VARIANTS)
    for target in ("fitness", "label", None):
        yield _call(seq.read_csv, _is_table, path=csv, sequence="sequence", target=target)
    yield _call(seq.read_fasta, lambda r, a: len(r.sequences) > 0, path=fasta)


def _is_table(bunch: Any, given: Arguments) -> bool:
    lengths = {len(column) for column in bunch.columns.values()}
    if bunch.target is not None:
        lengths.add(len(bunch.target))
    return lengths == {len(bunch.sequences)} and len(bunch.sequences) > 0


def _of_splits() -> Iterator[Call]:
    selection = model_selection
    similar = {"min_identity": 0.3, "coverage": 0.8, "method": "exact"}
    yield _call(selection.cluster_sequences, as_many("X"), X=X, **similar)
    for cls in (selection.ClusterKFold, selection.ClusterShuffleSplit):
        own = {"n_splits": 2, "random_state": 0, **similar}
        own |= {"test_size": 0.3} if cls is selection.ClusterShuffleSplit else {"shuffle": True}
        yield Call(cls.__name__, _splitter(cls), {"X": X, "y": CLASSES, "groups": GROUPS, **own}, splits)
        yield Call(cls.__name__, _splitter(cls), {"X": X, "y": VALUES, **own}, splits)
    variants = {"X": VARIANTS[:5] + [X[0]] * 5, "wild_type": X[0], "max_train_mutations": 0}
    yield Call("MutationOrderSplit", _splitter(selection.MutationOrderSplit), variants, splits)
    sites = {"n_splits": 2, "scheme": "modulo", "first_site": 1, "random_state": 0}
    positions = {"X": VARIANTS, "wild_type": X[0], **sites}
    yield Call("PositionKFold", _splitter(selection.PositionKFold), positions, splits)
    for level in ("C1", "C2", "C3"):
        edges = [(f"P{i}", f"P{j}") for i in range(8) for j in range(i)]
        own = {"level": level, "n_splits": 2, "clusters": None, "random_state": 0}
        pairs = {"X": edges, "y": [len(edge[0] + edge[1]) % 2 for edge in edges], **own}
        yield Call("PairKFold", _splitter(selection.PairKFold), pairs, splits)
    folds = {"n_splits": 2, "groups": GROUPS, **similar, "random_state": 0}
    yield _call(selection.make_folds, anything, X=X, y=CLASSES, **folds)
    yield _call(
        selection.make_negatives, anything, positive_pairs=PAIRS, n=4, method="random", random_state=0
    )
    yield _call(selection.leakage_report, anything, X_train=X, X_test=VARIANTS, method="exact")
    halves = {
        "pairs_train": PAIRS[:5],
        "pairs_test": PAIRS[5:],
        "y_train": [0, 1, 0, 1, 0],
        "y_test": [0, 1] * 2 + [1],
    }
    yield _call(selection.pair_leakage, anything, **halves, clusters=None)
    limits = {"min_identity": 0.2, "coverage": 0.2, "max_hits": 5, "method": "exact"}
    yield _call(similarity.find_similar, anything, queries=X, targets=X, **limits)
    yield _call(similarity.find_nearest, anything, queries=X, targets=X, method="exact")


def _splitter(cls: type) -> Callable[..., list]:
    def split(X: Any, y: Any = None, groups: Any = None, **parameters: Any) -> list:
        return list(cls(**parameters).split(X, y, groups))

    return split


def _of_metrics() -> Iterator[Call]:
    yield _call(
        metrics.class_table, table, y_true=CLASSES, y_pred=CLASSES[::-1], y_score=PROBABILITIES, labels=None
    )
    both = {"y_true": CLASSES, "y_pred": CLASSES[::-1], "labels": None, "average": "auto"}
    yield _call(metrics.classification_table, table, **both, y_score=PROBABILITIES)
    yield _call(metrics.specificity_score, score, **both)
    yield _call(metrics.macro_average_precision, score, y_true=CLASSES, y_score=PROBABILITIES, labels=None)
    yield _call(
        metrics.expected_calibration_error,
        score,
        y_true=CLASSES,
        y_proba=PROBABILITIES,
        n_bins=5,
        labels=None,
    )
    binary = {"y_true": [0, 1] * 5, "y_score": VALUES, "recall": 0.5}
    yield _call(metrics.precision_at_recall, score, **binary)
    yield _call(metrics.spearman_score, score, y_true=VALUES, y_pred=VALUES[::-1])
    yield _call(metrics.ndcg_score, score, y_true=VALUES, y_pred=VALUES[::-1], k=3)
    for metric in (metrics.top_recall, metrics.top_precision):
        yield _call(metric, score, y_true=VALUES, y_pred=VALUES[::-1], top=0.2, k=3)
    by_order = {"X": VARIANTS, "y_true": VALUES, "y_pred": VALUES}
    yield _call(metrics.spearman_by_mutations, table, wild_type=X[0], first_site=1, **by_order)
    states = {"y_true": STATES, "y_pred": [s[::-1] for s in STATES], "ignore_label": "-"}
    yield _call(metrics.residue_accuracy, score, **states, average="residue")
    yield _call(metrics.residue_mcc, score, **states)
    yield _call(metrics.residue_table, table, **states)
    yield _call(metrics.segment_overlap, score, **states, states="HE", average="protein")
    yield _call(
        metrics.residue_spearman, score, y_true=NUMBERS, y_pred=NUMBERS[:5] + NUMBERS[5:], average="residue"
    )
    sites = {"y_true": REGIONS, "y_pred": REGIONS, "tolerance": 1, "signal": "SLTP"}
    for metric in (metrics.cleavage_mcc, metrics.cleavage_precision, metrics.cleavage_recall):
        yield _call(metric, score, **sites)
    yield _call(metrics.cleavage_site, lambda r, a: len(r) == 2, labels=REGIONS[1], signal="SLTP")
    types = ["SP" if i % 2 else "NO_SP" for i in range(N)]
    table_of = {"types_true": types, "types_pred": types, "labels_true": REGIONS, "labels_pred": REGIONS}
    yield Call("signal_peptide_table", metrics.signal_peptide_table,
               {**table_of, "kingdoms": ["A"] * N, "negative": "NO_SP", "tolerances": (0, 1)},
               lambda r, a: isinstance(r, list),
               {"labels_true": hostile.targets, "labels_pred": hostile.targets, "kingdoms": hostile.targets},
               )  # fmt: skip
    yield _call(metrics.get_scorer, lambda r, a: callable(r), name="spearman")


def _of_design() -> Iterator[Call]:
    sites = {"sites": [1, 2], "first_site": 1}
    library = {"wild_type": X[0], **sites}
    yield _call(design.single_mutants, lambda r, a: len(r) > 0, **library)
    yield _call(design.combine_sites, lambda r, a: len(r) > 0, **library, codon="NDT", max_mutations=2)
    mutations = {"mutations": VARIANTS[:3], "max_mutations": 2, "first_site": 1}
    yield _call(design.combine_mutations, lambda r, a: len(r) > 0, wild_type=X[0], **mutations)
    yield _call(design.codon_residues, anything, codon="NNK")
    model = baselines.gaussian_process(random_state=0).fit(VARIANTS, VALUES)
    candidates = design.single_mutants(X[0])[:40]
    options = {"n": 3, "acquisition": "ucb", "beta": 1.0, "diversity": 1, "best": 2.0, "batch_size": 16}
    proposed = {
        "estimator": model,
        "candidates": candidates,
        "exclude": VARIANTS,
        "random_state": 0,
        **options,
    }
    yield Call(
        "propose", design.propose, proposed, lambda r, a: 0 < len(r) <= int(a["n"]) and is_finite(r.score),
        {"candidates": hostile.sequences, "exclude": hostile.sequences},
    )  # fmt: skip
    campaign = {"rounds": 2, "batch": 3, "acquisition": "greedy", "start": None, "n_campaigns": 1, "top": 0.2}
    strategy = {"estimator": baselines.PositionMeanRegressor(), "random_state": 0}
    replayed = {"X": VARIANTS, "y": VALUES, **campaign, **strategy}
    yield _call(design.simulate_campaign, lambda r, a: len(r.rows) > 0, **replayed, floors=False)


def _of_the_rest(backbone: Path) -> Iterator[Call]:
    yield Call("cache.limit", _limit, {"memory": 1, "disk": 1, "folder": "cache"}, lambda r, a: True)
    load = {"name": "mini", "revision": None, "device": "cpu", "precision": "fp32", "init": "pretrained"}
    yield _call(backbones.load_backbone, anything, **load, quantization=None)
    yield Call("download_backbone", plmlearn.download_backbone, {"name": "mini", "folder": "copy"}, anything)
    yield Call(
        "save", plmlearn.save, {"estimator": plmlearn.PLMEmbedder("mini").fit(X), "folder": "model"}, anything
    )
    yield Call("load", plmlearn.load, {"folder": "nowhere"}, anything)
    embedder = plmlearn.PLMEmbedder("mini").fit(X)
    card = dict.fromkeys(("name", "data", "split", "licence", "usage"))
    yield _call(
        hub.model_card, anything, estimator=embedder, X=X, scores={"r2": 0.5}, library="plmlearn", **card
    )
    exported = {"estimator": embedder, "folder": "exported"}
    yield Call("export_transformers", plmlearn.export_transformers, exported, anything)
    yield Call(
        "presets.make", presets.make, {"name": "schmirler2024_full", "task": "gb1", "epochs": 2}, anything
    )
    mini = backbones.load_backbone("mini")
    pattern = {"backbone": mini, "names": ("key", "value"), "layers": range(2)}
    yield _call(adapters.target_pattern, anything, "backbone", "layers", **pattern)
    yield _call(
        backbones.check_fingerprint, lambda r, a: True, "backbone", backbone=mini, expected=mini.fingerprint
    )
    yield _call(baselines.floors, anything, X=X, y=CLASSES, kind="labels", ignore_label=None)
    sweep = {"cv": 2, "scoring": "accuracy", "groups": GROUPS, "confidence": 0.9, "random_state": 0}
    yield Call(
        "layer_sweep", plmlearn.layer_sweep, {"backbone": backbone, "X": X, "y": CLASSES, **sweep}, anything
    )
    candidates = {
        "a": baselines.HomologyClassifier(method="exact"),
        "b": baselines.HomologyClassifier(method="exact"),
    }
    comparison = {"cv": 2, "scoring": "accuracy", "random_states": (0, 1), "groups": None, "reference": "a",
                  "confidence": 0.9}  # fmt: skip
    yield _call(baselines.compare, anything, estimators=candidates, X=X, y=CLASSES, **comparison)


def _of_whole_runs() -> Iterator[Call]:
    floor = baselines.HomologyClassifier(method="exact")
    run = {
        "folds": 2,
        "groups": GROUPS,
        "min_identity": 0.3,
        "baselines": {},
        "kind": "labels",
        "scoring": None,
    }
    yield _call(report.evaluate, anything, estimator=floor, X=X, y=CLASSES, **run)
    model = baselines.HomologyClassifier(method="exact").fit(X, CLASSES)
    batches = {"sequence": "sequence", "id": None, "partition_size": 4, "on_error": "raise", "client": None}
    yield Call(
        "map_batches", distributed.map_batches,
        {"estimator": model, "inputs": [X[:5], X[5:]], "out": "mapped", "method": "predict", **batches},
        lambda r, a: len(r.parts) > 0, {"inputs": hostile.sequences, "out": hostile.path}, ("client",),
    )  # fmt: skip


def _limit(**limits: Any) -> None:
    with cache.disabled():
        before = cache.info()["folder"]
        cache.limit(**limits)
        cache.limit(folder=before)


def _of_data(home: Path) -> Iterator[Call]:
    lengths = {"median_length": 40, "min_length": 30, "max_length": 60, "random_state": 0}
    yield _call(datasets.make_proteins, lambda r, a: len(r) == int(a["n_samples"]), n_samples=5, **lengths)
    classes = {"class_sep": 0.5, "motif_length": 6}
    yield _call(datasets.make_protein_classification, _generated, n_samples=5, n_classes=2, flip_y=0.1,
                **classes,
                **lengths)  # fmt: skip
    yield _call(datasets.make_protein_regression, _generated, n_samples=5, noise=0.1, **lengths)
    yield _call(
        datasets.make_protein_pairs, _generated, n_samples=6, n_proteins=8, n_families=2, **classes, **lengths
    )
    states = {"labels": "CEH", "mean_segment": 8.0, "class_sep": 1.0, "missing": 0.1}
    yield _call(datasets.make_residue_labels, lambda r, a: len(r[0]) == int(a["n_samples"]), n_samples=5,
    **states,
                **lengths)  # fmt: skip
    landscape = {
        "parent": None,
        "length": 30,
        "max_mutations": 3,
        "epistasis": 0.3,
        "noise": 0.1,
        "random_state": 0,
    }
    yield _call(datasets.make_mutational_landscape, _generated, n_samples=5, **landscape)
    homomers = {
        "n_classes": 3,
        "class_sep": 0.7,
        "share_of_several": 0.1,
        "median_length": 40,
        "max_length": 60,
    }
    yield _call(datasets.make_homo_oligomers, _generated, n_samples=8, **homomers, random_state=0)
    yield _call(datasets.symmetry_class, anything, symmetry="C2")
    symmetry = home / "symmetry.csv"
    symmetry.write_text("sequence,symmetry\n" + "".join(f"{x},C{1 + i % 3}\n" for i, x in enumerate(X)))
    table = {"path": symmetry, "sequence": "sequence", "symmetry": "symmetry", "form": "multiclass"}
    yield _call(datasets.load_symmetry, anything, **table, return_X_y=False)
    for fetch in (datasets.fetch_gb1, datasets.fetch_stability, datasets.fetch_ppi, datasets.fetch_disorder):
        yield _call(
            fetch, anything, "download_if_missing", data_home=home, subset="all", download_if_missing=False
        )


# -- estimators -----------------------------------------------------------------------------------


@dataclass
class Made:
    """An estimator with data that it can be fitted to."""

    estimator: BaseEstimator
    data: Mapping[str, Any]


def made(backbone: Path) -> Iterator[Made]:
    """Every public estimator, several with an adapter each."""
    fast = {"epochs": 1, "batch_size": 8, "precision": "fp32", "random_state": 0, "verbose": 0}
    tuned = {"backbone": str(backbone), **fast}
    perceptron = {"backbone": str(backbone), "hidden_layer_sizes": (3,), "max_iter": 3, "random_state": 0}
    classes, values = {"X": X, "y": CLASSES}, {"X": X, "y": VALUES}
    weighted = {"sample_weight": [1.0] * N, "groups": GROUPS}
    held_out = {"X_val": X[:4], "y_val": CLASSES[:4]}
    for adapter in _adapters():
        steps = {"epochs": 2, "batch_size": 1} if isinstance(adapter, adapters.AdaLoRA) else {}
        yield Made(plmlearn.PLMClassifier(adapter=adapter, **tuned | steps), {**classes, **weighted})
    yield Made(
        plmlearn.PLMRegressor(adapter=adapters.LoRA(rank=2), early_stopping=True, **tuned),
        {**values, **weighted},
    )
    yield Made(plmlearn.PLMLoRAClassifier(rank=2, head="mlp", **tuned), {**classes, **held_out})
    yield Made(plmlearn.PLMLoRARegressor(rank=2, pooling="attention", last_n_layers=1, **tuned), values)
    yield Made(plmlearn.PLMFrozenMLP(**perceptron), classes)
    yield Made(plmlearn.PLMFrozenMLPRegressor(**perceptron), values)
    for combine in ("mean", "symmetric", "concat", "cross_attention"):
        pair = plmlearn.PLMPairClassifier(adapter=adapters.Frozen(), combine=combine, epoch_size=8, **tuned)
        yield Made(pair, {"X": PAIRS, "y": CLASSES, "sample_weight": [1.0] * N})
    yield Made(plmlearn.PLMPairRegressor(adapter=adapters.LoRA(rank=2), **tuned), {"X": PAIRS, "y": VALUES})
    for head in ("crf", "cnn", "linear"):
        residue = plmlearn.PLMResidueClassifier(
            adapter=adapters.Frozen(), head=head, ignore_label="-", **tuned
        )
        yield Made(residue, {"X": X, "y": STATES})
    yield Made(plmlearn.PLMResidueRegressor(adapter=adapters.LoRA(rank=2), **tuned), {"X": X, "y": NUMBERS})
    types = ["SP" if i % 2 else "NO_SP" for i in range(N)]
    signals = plmlearn.PLMSignalPeptideClassifier(adapter=adapters.Frozen(), **tuned)
    yield Made(signals, {"X": X, "y": types})
    for pooling in ("mean", None):
        yield Made(plmlearn.PLMEmbedder(str(backbone), pooling=pooling, precision="fp32"), {"X": X})
    language = {"n_layers": 1, "width": 8, "n_heads": 2, "max_steps": 2, "batch_size": 8, "random_state": 0}
    yield Made(plmlearn.PLMMaskedLM(**language, precision="fp32", verbose=0), {"X": X, "groups": GROUPS})
    for cls in (baselines.HomologyClassifier, baselines.HomologyRegressor):
        yield Made(cls(method="exact"), classes if cls is baselines.HomologyClassifier else values)
    yield Made(baselines.AdditiveMutationRegressor(order=1, alpha=1.0), {"X": VARIANTS, "y": VALUES})
    yield Made(baselines.AugmentedRidge(alpha=1.0), {"X": VARIANTS, "y": VALUES})
    yield Made(baselines.PositionMeanRegressor(wild_type=X[0]), {"X": VARIANTS, "y": VALUES})
    plain = baselines.AdditiveMutationRegressor(order=1)
    ensemble = plmlearn.PLMEnsemble(plain, n_members=2, bootstrap=True, random_state=0)
    yield Made(ensemble, {"X": VARIANTS, "y": VALUES})
    ranked = {"wild_type": X[0], "epochs": 1, "precision": "fp32", "random_state": 0, "verbose": 0}
    yield Made(plmlearn.PLMFitnessRegressor("mini", **ranked), {"X": VARIANTS, "y": VALUES})
    searched = {"sampler": "grid", "cv": 2, "pruner": None, "random_state": 0}
    search_ = search.PLMSearchCV(plain, {"alpha": [0.1, 1.0]}, scoring="spearman", **searched)
    yield Made(search_, {"X": VARIANTS, "y": VALUES})
    yield Made(baselines.CompositionVectorizer(kind="kmer"), {"X": X})
    yield Made(baselines.ResiduePropensityClassifier(ignore_label="-"), {"X": X, "y": STATES})
    yield Made(baselines.ResiduePropensityRegressor(), {"X": X, "y": NUMBERS})
    yield Made(baselines.PairDegreeClassifier(), {"X": PAIRS, "y": CLASSES})
    yield Made(baselines.PairSimilarityClassifier(method="exact"), {"X": PAIRS, "y": CLASSES})


def _adapters() -> list[Any]:
    small = {"rank": 2, "last_n_layers": 1}
    return [
        adapters.LoRA(**small),
        adapters.DoRA(**small),
        adapters.AdaLoRA(rank=2, initial_rank=3),
        adapters.VeRA(**small),
        adapters.IA3(),
        adapters.Bottleneck(size=2),
        adapters.PrefixTuning(n_tokens=2),
        adapters.PromptTuning(n_tokens=2),
        adapters.LayerNormTuning(),
        adapters.FullFineTuning(last_n_layers=1),
        adapters.Frozen(),
    ]


def estimators(backbone: Path) -> Iterator[Call]:
    """Of every estimator: parameters before ``fit``, data of ``fit``, data and parameters afterwards."""
    for case in made(backbone):
        yield from _ways_to_use(case.estimator, case.data)
    yield from _of_pictures(backbone)


def _ways_to_use(estimator: BaseEstimator, data: Mapping[str, Any]) -> Iterator[Call]:
    name = type(estimator).__name__
    fitted = clone(estimator).fit(**data)
    fixed = ("compile", "backbone") if "compile" in estimator.get_params() else ()

    def build(**parameters: Any) -> dict:
        return results(changed(clone(estimator), parameters).fit(**data), data["X"])

    def fit(**given: Any) -> dict:
        return results(clone(estimator).fit(**given), data["X"])

    def ask(X: Any) -> dict:
        return results(copy.deepcopy(fitted), X)

    def change(**parameters: Any) -> dict:
        return results(changed(copy.deepcopy(fitted), parameters), data["X"])

    def changed(estimator: Any, parameters: dict) -> Any:
        new = {key: value for key, value in parameters.items() if value is not good[key]}
        return estimator.set_params(**dict(sorted(new.items())))

    good = estimator.get_params()
    if good:
        yield Call(f"{name}: parameters, fit", build, good, _results_of(fitted, data["X"]), fixed=fixed)
        yield Call(f"{name}: fit, parameters", change, good, _results_of(fitted, data["X"]), fixed=fixed)
    yield Call(f"{name}: fit", fit, data, _results_of(None, data["X"]))
    yield Call(f"{name}: ask", ask, {"X": data["X"]}, _results_of(fitted, None))


def _of_pictures(backbone: Path) -> Iterator[Call]:
    """Numbers from inside a fitted estimator."""
    from plmlearn.plotting import attention_maps, attributions

    fitted = plmlearn.PLMClassifier(backbone, epochs=1, random_state=0, verbose=0).fit(X, CLASSES)
    good = {"X": X[:3], "method": "occlusion", "target": "yes", "residue": None, "n_steps": 4}

    def contributions(**given: Any) -> Any:
        return attributions(fitted, **given)

    def maps(**given: Any) -> Any:
        return attention_maps(fitted, **given)

    def is_finite(rows: Any, given: Arguments) -> bool:
        return len(rows) == n_rows(given["X"]) and all(np.isfinite(row).all() for row in rows)

    yield Call("attributions", contributions, good, is_finite)
    attention = {"sequence": X[0], "pretrained": True, "layers": [1, 2]}
    yield Call("attention_maps", maps, attention, lambda r, a: bool(np.isfinite(r.tuned).all()))


def results(fitted: Any, X: Any) -> dict:
    """What a fitted estimator says of X, by every way to ask."""
    names = [name for name in ("predict", "predict_proba", "transform") if hasattr(fitted, name)]
    return {name: getattr(fitted, name)(X) for name in names} | {"estimator": fitted}


def _results_of(fitted: Any, rows: Any) -> Callable[[dict, Arguments], bool]:
    def is_right(found: dict, given: Arguments) -> bool:
        estimator, n = found["estimator"], n_rows(given["X"] if rows is None else rows)
        found = {name: values for name, values in found.items() if name != "estimator"}
        known = True
        if is_classifier(estimator) and np.ndim(found["predict"]) == 1 and hasattr(estimator, "classes_"):
            known = bool(np.isin(found["predict"], estimator.classes_).all())
        if "transform" in found and found["transform"].dtype == np.dtype(object):
            # Residues behind max_length are not read, and are nan.
            found["transform"] = [rows[~np.isnan(rows).all(axis=1)] for rows in found["transform"]]
            known &= all(map(len, found["transform"]))
        return known and all(n_rows(values) == n and is_finite(values) for values in found.values())

    return is_right
