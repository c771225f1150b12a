"""Tuned estimators: what moves, what stays, what is kept, and that predictions belong to their proteins."""

import pickle
import re
import shutil
import warnings

import numpy as np
import pytest
import safetensors.torch
import skorch
import torch
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning
from sklearn.metrics import f1_score, log_loss, mean_squared_error
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.utils.class_weight import compute_sample_weight

import plmlearn.cache
import plmlearn.estimators.tuned
from plmlearn import PLMClassifier, PLMEmbedder, PLMLoRAClassifier, PLMLoRARegressor, PLMRegressor
from plmlearn.adapters import Frozen, FullFineTuning, LoRA
from plmlearn.backbones import load_backbone
from plmlearn.baselines import compare
from plmlearn.estimators.dataset import Dataset
from plmlearn.estimators.parameters import seed_from
from plmlearn.nn.models import learned_tensors
from plmlearn.training.engine import TrainingDivergedError

FAST = {"epochs": 2, "batch_size": 8, "precision": "fp32", "random_state": 0, "verbose": 0}
ADAPTERS = {
    "LoRA": LoRA(rank=2),
    "LoRA of the last layer": LoRA(rank=2, last_n_layers=1),
    "LoRA everywhere": LoRA(rank=2, target_modules="all"),
    "full": FullFineTuning(),
    "full of the last layer": FullFineTuning(last_n_layers=1),
    "frozen": Frozen(),
}
adapters = pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS.keys())


@pytest.fixture(scope="module")
def X(draw_proteins):
    return draw_proteins(24, seed=2)


@pytest.fixture(scope="module")
def y(X):
    return np.arange(len(X)) % 2


@pytest.fixture
def make(esm_folder):
    """A classifier on the small ESM, quick to fit."""

    def make_one(cls=PLMClassifier, **parameters):
        return cls(str(esm_folder), **(FAST | parameters))

    return make_one


@pytest.fixture
def before_training(monkeypatch) -> dict[str, torch.Tensor]:
    """What is to be trained, as it is when training begins."""
    tensors = {}
    train = plmlearn.estimators.tuned.train

    def listen(model, *args, **kwargs):
        tensors.update((name, p.detach().clone()) for name, p in model.named_parameters() if p.requires_grad)
        return train(model, *args, **kwargs)

    monkeypatch.setattr(plmlearn.estimators.tuned, "train", listen)
    return tensors


def trained_tensors(estimator) -> dict[str, torch.Tensor]:
    return safetensors.torch.load(estimator._trained)


class Rows(skorch.callbacks.Callback):
    """Writes down the training rows of every epoch."""

    seen: list = []

    def on_epoch_begin(self, net, **kwargs):
        Rows.seen.append([])

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if training:
            Rows.seen[-1].extend(batch.samples.tolist())


@pytest.fixture
def rows_seen():
    Rows.seen = []
    return Rows.seen


def biased_proteins(n_rows: int, letters: str, seed: int, longest: int = 60) -> tuple[list[str], np.ndarray]:
    """Proteins of very different lengths, rich in their first residue; that residue is the label."""
    rng = np.random.default_rng(seed)
    first = rng.choice(list(letters), n_rows)
    lengths = rng.integers(3, longest, n_rows)
    tails = [
        "".join(rng.choice([letter, *"ACDEFGHIKL"], length, p=[0.5, *[0.05] * 10]))
        for letter, length in zip(first, lengths)
    ]
    return [letter + tail for letter, tail in zip(first, tails)], first


# -- predictions belong to their proteins -------------------------------------------------------


@pytest.mark.parametrize(
    "adapter", [LoRA(rank=2, last_n_layers=1), FullFineTuning(last_n_layers=1), Frozen()], ids=repr
)
def test_labels_stay_with_their_proteins(adapter):
    """Labels do not swap when batches are sorted by length: proteins of 4 to 60 residues, in any order."""
    X, y = biased_proteins(80, "MWQ", seed=0)
    settings = FAST | {"epochs": 8, "lr": 3e-3, "head_lr": 1e-2}
    classifier = PLMClassifier("mini", adapter=adapter, **settings)
    X_test, y_test = biased_proteins(60, "MWQ", seed=1)
    predicted = classifier.fit(X, y).predict(X_test)
    assert np.mean(predicted == y_test) > 0.9
    order = np.random.default_rng(2).permutation(len(X_test))
    np.testing.assert_array_equal(classifier.predict([X_test[i] for i in order]), predicted[order])


@adapters
def test_batches_do_not_change_predictions(adapter, make, X, y):
    """Padding and neighbours do not matter: in any order, one by one, under any token budget."""
    classifier = make(adapter=adapter).fit(X, y)
    expected = classifier.predict_proba(X)
    one_by_one = np.concatenate([classifier.predict_proba([sequence]) for sequence in X])
    np.testing.assert_allclose(one_by_one, expected, atol=1e-5)
    for max_tokens in (1, 70, 100_000):
        copied = pickle.loads(pickle.dumps(classifier)).set_params(max_tokens=max_tokens)
        np.testing.assert_allclose(copied.predict_proba(X), expected, atol=1e-5)
        np.testing.assert_allclose(copied.transform(X), classifier.transform(X), atol=1e-5)


@adapters
def test_token_budget_does_not_change_training(adapter, make, X, y):
    """Gradients are accumulated over a whole step, normalised by all its rows."""
    large = make(adapter=adapter, head_dropout=0.0, max_tokens=100_000).fit(X, y)
    small = make(adapter=adapter, head_dropout=0.0, max_tokens=64).fit(X, y)
    np.testing.assert_allclose(small.predict_proba(X), large.predict_proba(X), atol=1e-4)


def test_duplicates_are_predicted_alike_and_all_count(make, X, y, rows_seen):
    """No row is dropped: every row is trained on once per epoch, duplicates too."""
    classifier = make(callbacks=[Rows()]).fit([*X, *X], [*y, *y])
    assert [sorted(rows) for rows in rows_seen] == [list(range(48))] * 2
    predicted = classifier.predict_proba([X[0], X[1], X[0]])
    np.testing.assert_allclose(predicted[0], predicted[2], atol=1e-6)


def test_predictions_prepare_proteins_as_fit_does(make, X, y):
    """One preparation for training and prediction: lower case, gaps in text and stop codons."""
    classifier = make().fit(X, y)
    messy = [f"{sequence[:3].lower()} {sequence[3:]}*\n" for sequence in X]
    np.testing.assert_array_equal(classifier.predict_proba(messy), classifier.predict_proba(X))


def test_long_proteins_are_cut_with_one_warning_and_counted(make, X, y):
    """Long rows are never dropped silently: they are cut, said once with counts, and predicted."""
    classifier = make(max_length=20)
    n_long = sum(len(sequence) > 20 for sequence in X)
    assert 0 < n_long < len(X)
    with pytest.warns(UserWarning, match=f"{n_long} of 24 sequences .* cut to their first 20") as said:
        classifier.fit(X, y)
    assert len(said) == 1
    assert classifier.n_truncated_ == n_long
    with pytest.warns(UserWarning, match="cut to their first 20") as said:
        predicted = classifier.predict_proba(X)
    assert len(said) == 1
    assert len(predicted) == len(X)
    np.testing.assert_array_equal(classifier.predict_proba([s[:20] for s in X]), predicted)


def test_forty_thousand_residues(make, X, y):
    giant = "MKTAYIAKQR" * 4000
    classifier = make().fit(X, y)
    with pytest.warns(UserWarning, match=r"rows 1 \(40000 residues\).* first 1022 residues"):
        predicted = classifier.predict_proba([X[0], giant, X[1]])
    assert len(predicted) == 3
    with pytest.raises(ValueError, match=r"rows 1 \(40000 residues\).*max_length=1022"):
        classifier.set_params(long_sequences="raise").predict([X[0], giant])


# -- what moves and what stays ------------------------------------------------------------------


@adapters
def test_pretrained_tensors_stay_as_they_are(adapter, make, esm_folder, X, y):
    """Nothing that estimators share is changed by a fit, not even by full fine-tuning."""
    backbone = load_backbone(str(esm_folder))
    before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    make(adapter=adapter).fit(X, y).predict(X)
    assert load_backbone(str(esm_folder)) is backbone
    after = backbone.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert not any(p.requires_grad for p in backbone.model.parameters())


@adapters
@pytest.mark.parametrize("head", ["esm", "mlp", "linear"])
@pytest.mark.parametrize("pooling", ["mean", "max", "cls", "attention"])
def test_everything_new_is_trained(adapter, head, pooling, make, before_training, X, y):
    """Head, pooling and adapter are never frozen by mistake: each of their tensors moves.

    The bias of attention pooling alone need not: adding a constant to all scores changes no weight.
    """
    classifier = make(adapter=adapter, head=head, pooling=pooling).fit(X, y)
    before, after = before_training, trained_tensors(classifier)
    assert any(name.startswith("head.") for name in before)
    assert any(name.startswith("encoder.") for name in before) == (not isinstance(adapter, Frozen))
    assert any(name.startswith("pooling.") for name in before) == (pooling == "attention")
    still = [name for name in before if torch.equal(before[name], after[name])]
    assert set(still) <= {"pooling.score.bias"}
    probabilities = classifier.predict_proba(X)
    assert probabilities.shape == (len(X), 2)
    assert np.isfinite(probabilities).all()


@adapters
def test_only_the_adapter_changes_embeddings(adapter, make, esm_folder, X, y):
    """Some backbone activation moves in every tuned mode, and none in the frozen one."""
    plain = PLMEmbedder(str(esm_folder), precision="fp32").fit_transform(X)
    tuned = make(adapter=adapter).fit(X, y).transform(X)
    assert tuned.shape == plain.shape == (len(X), 32)
    assert tuned.dtype == np.float32
    if isinstance(adapter, Frozen):
        np.testing.assert_allclose(tuned, plain, atol=1e-5)
    else:
        assert np.abs(tuned - plain).max() > 1e-4


def test_counts_of_parameters(make, esm_folder, X, y):
    """LoRA: two matrices per adapted one. No random layer of the checkpoint is in between."""
    head = 32 * 32 + 32 + 32 + 1
    classifier = make(PLMLoRAClassifier, rank=4, target_modules=("query", "value"), last_n_layers=2).fit(X, y)
    lora = 2 * 2 * (4 * 32 + 32 * 4)
    backbone = load_backbone(str(esm_folder)).n_parameters
    assert classifier.n_trainable_parameters_ == lora + head
    assert classifier.n_parameters_ == backbone + lora + head


def test_zero_is_a_value(make, X, y):
    """0 is not taken for "unset"."""
    zeros = {"head_dropout": 0.0, "weight_decay": 0.0, "warmup": 0.0, "alpha": 1, "lora_dropout": 0.0}
    classifier = make(PLMLoRAClassifier, **zeros, rank=1, epochs=1).fit(X, y)
    config = classifier._loaded.config
    assert (config.weight_decay, config.warmup) == (0.0, 0.0)
    assert {m.p for m in classifier._loaded.module.modules() if isinstance(m, torch.nn.Dropout)} == {0.0}


@pytest.mark.parametrize("cls", [PLMLoRAClassifier, PLMLoRARegressor])
def test_flat_lora_is_the_adapter_lora(cls, make, X, y):
    """The flat class and the general one with the same settings are one model."""
    settings = {"rank": 3, "alpha": 5, "target_modules": ("query",), "last_n_layers": 2}
    flat = make(cls, **settings, lora_dropout=0.2).fit(X, y)
    general = {PLMLoRAClassifier: PLMClassifier, PLMLoRARegressor: PLMRegressor}[cls]
    nested = make(general, adapter=LoRA(**settings, dropout=0.2)).fit(X, y)
    assert nested._trained == flat._trained


def test_default_adapter_is_lora(make, X, y):
    assert make().fit(X, y)._trained == make(adapter=LoRA()).fit(X, y)._trained


# -- seeds --------------------------------------------------------------------------------------


@adapters
def test_a_seed_fixes_every_bit(adapter, make, X, y):
    """random_state governs head, adapter, dropout, order and split; nothing comes from the clock."""
    settings = {"adapter": adapter, "head_dropout": 0.3, "early_stopping": True, "validation_fraction": 0.3}
    torch.manual_seed(1)
    one = make(**settings).fit(X, y)
    torch.manual_seed(2)
    np.random.seed(3)  # noqa: NPY002
    two = make(**settings).fit(X, y)
    other = (
        make(
            **settings,
        )
        .set_params(random_state=1)
        .fit(X, y)
    )
    assert two._trained == one._trained
    assert other._trained != one._trained
    np.testing.assert_array_equal(two.predict_proba(X), one.predict_proba(X))


def test_a_fit_leaves_the_global_random_state_alone(make, X, y):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    make().fit(X, y).predict(X)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_random_weights_are_the_control_experiment(make, X, y):
    random = make(backbone_init="random").fit(X, y)
    assert random.backbone_fingerprint_ != make().fit(X, y).backbone_fingerprint_
    again = pickle.loads(pickle.dumps(random))
    np.testing.assert_array_equal(again.predict_proba(X), random.predict_proba(X))


@pytest.mark.parametrize("dropout", ["lora_dropout", "head_dropout"])
def test_dropout_acts_in_training_and_nowhere_else(dropout, make, X, y):
    """LoRA's and the head's dropout change what is learned; predictions are the same every time."""
    plain = make(PLMLoRAClassifier, **{dropout: 0.0}).fit(X, y)
    dropped = make(PLMLoRAClassifier, **{dropout: 0.5}).fit(X, y)
    np.testing.assert_array_equal(dropped.transform(X), dropped.transform(X))
    expected = dropped.predict_proba(X)
    np.testing.assert_array_equal(dropped.predict_proba(X), expected)
    assert np.abs(plain.predict_proba(X) - expected).max() > 1e-4


# -- reuse of frozen computation ----------------------------------------------------------------


@pytest.mark.parametrize(
    "adapter", [LoRA(rank=2, last_n_layers=1), FullFineTuning(last_n_layers=2), Frozen()], ids=repr
)
@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_reuse_changes_nothing(adapter, pooling, make, X, y, empty_cache):
    """Activations from the cache give what computing them anew gives."""
    settings = {"adapter": adapter, "pooling": pooling}
    reused = make(**settings).fit(X, y)
    again = make(**settings).fit(X, y)
    with plmlearn.cache.disabled():
        anew = make(**settings).fit(X, y)
        expected = anew.predict_proba(X)
    assert again._trained == reused._trained
    np.testing.assert_allclose(reused.predict_proba(X), expected, atol=1e-5)
    losses = [[row["train_loss"] for row in e.history_] for e in (reused, anew)]
    np.testing.assert_allclose(*losses, atol=1e-5)


def test_gradient_checkpointing_changes_nothing(make, X, y):
    plain = make().fit(X, y)
    checked = make(gradient_checkpointing=True).fit(X, y)
    np.testing.assert_allclose(checked.predict_proba(X), plain.predict_proba(X), atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute:UserWarning")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile wants a C++ compiler")
def test_compiling_changes_nothing(make, X, y, empty_cache):
    """The real compiler, on layers with and without matrices of LoRA."""
    settings = {"adapter": ADAPTERS["LoRA of the last layer"]}
    plain = make(**settings).fit(X, y)
    compiled = make(compile=True, **settings).fit(X, y)
    assert compiled._trained != plain._trained  # it did run, and rounds otherwise
    np.testing.assert_allclose(compiled.predict_proba(X), plain.predict_proba(X), atol=1e-5)
    again = pickle.loads(pickle.dumps(compiled))
    np.testing.assert_array_equal(again.predict_proba(X), compiled.predict_proba(X))


# -- validation and the best epoch --------------------------------------------------------------


@pytest.mark.parametrize("adapter", [LoRA(rank=2), FullFineTuning(), Frozen()], ids=repr)
def test_the_best_epoch_is_kept_whole(adapter, make, X, y):
    """Not the head alone is restored: predictions of the kept estimator have the logged best loss.

    Validation labels are wrong on purpose, so that validation gets worse with every epoch.
    """
    classifier = make(adapter=adapter, epochs=6, lr=3e-3, head_lr=1e-2)
    classifier.fit(X, y, X_val=X, y_val=1 - y)
    losses = [row["valid_loss"] for row in classifier.history_]
    assert classifier.best_epoch_ == 1 + int(np.argmin(losses)) < 6
    assert classifier.best_score_ == pytest.approx(-min(losses))
    for estimator in (classifier, pickle.loads(pickle.dumps(classifier))):
        assert log_loss(1 - y, estimator.predict_proba(X)) == pytest.approx(min(losses), abs=1e-5)


def test_the_best_loss_of_a_regressor_is_reproduced(make, X):
    rng = np.random.default_rng(0)
    y, y_val = rng.normal(50, 10, len(X)), rng.normal(50, 10, 12)
    regressor = make(PLMLoRARegressor, epochs=5, lr=5e-3).fit(X, y, X_val=X[:12], y_val=y_val)
    best = min(row["valid_loss"] for row in regressor.history_)
    assert mean_squared_error(y_val, regressor.predict(X[:12])) == pytest.approx(best * y.var(), rel=1e-4)


def test_a_fit_to_numbers_that_explains_nothing_says_so_once(make, X):
    y = np.random.default_rng(0).normal(50, 10, len(X))
    settings = {"adapter": LoRA(rank=2), "epochs": 5, "batch_size": 1}
    with pytest.warns(UserWarning, match=r"PLMRegressor learned nothing from y: after .*lr=0\.0002") as told:
        wild = make(PLMRegressor, lr=0.3, **settings).fit(X, y)
    assert len(told) == 1
    assert wild.history_[-1]["train_loss"] >= 1
    assert f"after {5 * len(X)} steps" in str(told[0].message)
    for few in ({"batch_size": len(X)}, {"adapter": Frozen(), "lr": None, "head_lr": 3.0}):  # no warning
        make(PLMRegressor, **settings | {"lr": 0.3} | few).fit(X, y)
    calm = make(PLMRegressor, lr=1e-3, **settings).fit(X, y)  # nor here
    assert calm.history_[-1]["train_loss"] < 1


def test_validation_does_not_change_training(make, X, y):
    """Validation runs in evaluation mode and draws no random numbers."""
    alone = make(head_dropout=0.5).fit(X, y)
    watched = make(head_dropout=0.5).fit(X, y, X_val=X[:5], y_val=y[:5])
    losses = [[row["train_loss"] for row in e.history_] for e in (alone, watched)]
    assert losses[0] == losses[1]


def test_a_validation_set_of_ones_own_leaves_all_rows_to_training(make, X, y, rows_seen, draw_proteins):
    classifier = make(early_stopping=True, validation_fraction=0.5, callbacks=[Rows()])
    classifier.fit(X, y, X_val=draw_proteins(6, seed=8), y_val=[0, 1] * 3)
    assert [sorted(rows) for rows in rows_seen] == [list(range(len(X)))] * 2


def test_early_stopping_sets_rows_aside(make, X, y, rows_seen):
    make(early_stopping=True, validation_fraction=0.25, callbacks=[Rows()]).fit(X, y)
    assert [len(rows) for rows in rows_seen] == [18, 18]


def test_a_fit_that_stops_early_warns_of_near_duplicates_unless_it_knows_groups(make, X, y, recwarn):
    classifier, rows = make(early_stopping=True, validation_fraction=0.5, epochs=1), [*X, *X]
    with pytest.warns(UserWarning, match=r"early_stopping: \d+ of 24 held-out proteins are nearly identical"):
        classifier.fit(rows, [*y, *y])
    recwarn.clear()
    classifier.fit(rows, [*y, *y], groups=[*range(24), *range(24)])
    compare(
        {"model": classifier}, rows, [*y, *y], cv=StratifiedGroupKFold(2), groups=[*range(24), *range(24)]
    )
    make(early_stopping=False, epochs=1).fit(rows, [*y, *y])
    assert not recwarn.list


def test_features_are_scaled_by_training_proteins_alone(make, esm_folder, X, y):
    """Neither the held-out proteins nor a validation set of one's own move mean and deviation."""
    classifier = make(adapter=Frozen(), early_stopping=True, validation_fraction=0.25)
    embedder = PLMEmbedder(str(esm_folder), precision="fp32").fit(X)
    rows = Dataset(np.array(X, dtype=object), y, np.ones(len(X)), None, 0)
    training, held_out = rows.hold_out(0.25, seed_from(classifier.random_state), stratify=True)
    assert (len(training.y), len(held_out.y)) == (18, 6)
    for fitted, seen in (
        (clone(classifier).fit(X, y), training.sequences),
        (classifier.fit(X[:9], y[:9], X_val=X[9:], y_val=y[9:]), X[:9]),
    ):
        tensors, embeddings = trained_tensors(fitted), embedder.transform(seen)
        np.testing.assert_allclose(tensors["scaler.mean"], embeddings.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(tensors["scaler.scale"], embeddings.std(axis=0), atol=1e-5)
        assert np.abs(embeddings.mean(axis=0) - embedder.transform(X).mean(axis=0)).max() > 1e-3


def test_early_stopping_stops(make, X, y):
    classifier = make(early_stopping=True, patience=2, epochs=20, lr=3e-3, head_lr=1e-2)
    classifier.fit(X, y, X_val=X, y_val=1 - y)
    assert len(classifier.history_) == classifier.best_epoch_ + 2 < 20


def test_early_stopping_of_skorch_stops_quietly(make, X, y):
    stop = skorch.callbacks.EarlyStopping(monitor="valid_loss", patience=2, sink=lambda text: None)
    classifier = make(epochs=20, lr=3e-3, head_lr=1e-2, callbacks=[stop]).fit(X, y, X_val=X, y_val=1 - y)
    assert len(classifier.history_) == classifier.best_epoch_ + 2 < 20
    assert classifier.predict(X).shape == y.shape


class Interrupts(skorch.callbacks.Callback):
    """A user presses Ctrl-C in the second optimiser step, when some weights have changed."""

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if training and batch.number == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("adapter", [LoRA(rank=2), FullFineTuning(), Frozen()], ids=repr)
@pytest.mark.parametrize("warm_start", [False, True])
def test_an_interrupted_fit_leaves_the_earlier_one_as_it_was(make, X, y, adapter, warm_start):
    classifier = make(adapter=adapter, warm_start=warm_start).fit(X, y)
    expected, before = classifier.predict_proba(X), dict(vars(classifier))
    parameters = {"callbacks": [Interrupts()], "lr": 0.1, "head_lr": 0.1}
    with pytest.raises(KeyboardInterrupt):
        classifier.set_params(**parameters).fit(X[::-1], 1 - y)
    assert vars(classifier).keys() == before.keys()
    assert all(vars(classifier)[key] is value for key, value in before.items() if key not in parameters)
    for estimator in (classifier, pickle.loads(pickle.dumps(classifier))):
        np.testing.assert_array_equal(estimator.predict_proba(X), expected)


def test_an_interrupted_first_fit_leaves_nothing(make, X, y):
    classifier = make(callbacks=[Interrupts()])
    before = set(vars(classifier))
    with pytest.raises(KeyboardInterrupt):
        classifier.fit(X, y)
    assert set(vars(classifier)) == before


@pytest.mark.parametrize("options", [{}, {"early_stopping": True, "validation_fraction": 0.5}])
def test_rows_of_a_loss_without_a_value_are_those_of_x(make, X, options):
    """Some are left out, and some held out."""
    y = np.array([0.0] * 12 + [1.0] * 12)
    weights = np.where(np.arange(24) % 3, 0.0, 1.0)
    regressor = make(PLMRegressor, batch_size=24, lr=1e30, gradient_clip=None, warmup=0, epochs=3, **options)
    with pytest.raises(TrainingDivergedError) as caught:
        regressor.fit(X, y, sample_weight=weights)
    rows = re.search(r"rows ([\d, ]+)\.", str(caught.value))[1].split(", ")
    assert {int(row) % 3 for row in rows} == {0}
    assert len(rows) == (4 if options else 8)


@pytest.mark.parametrize("scoring", ["neg_log_loss", "f1_macro", "roc_auc", "accuracy", None])
def test_a_scorer_chooses_the_epoch(scoring, make, X, y):
    """Scores below 0 are no problem, and probabilities are seen where a scorer wants them."""
    classifier = make(epochs=5, lr=5e-3, scoring=scoring).fit(X, y, X_val=X[:10], y_val=1 - y[:10])
    scores = [row["valid_score"] for row in classifier.history_]
    assert classifier.best_epoch_ == 1 + int(np.argmax(scores))
    assert classifier.best_score_ == max(scores)
    if scoring in ("neg_log_loss", None):
        np.testing.assert_allclose(scores, [-row["valid_loss"] for row in classifier.history_], atol=1e-5)
    if scoring == "f1_macro":
        assert classifier.best_score_ == f1_score(1 - y[:10], classifier.predict(X[:10]), average="macro")


def test_scorers_of_many_classes_and_of_numbers(make, X):
    """Metrics of two classes are not forced on many."""
    y = np.array(list("abc"))[np.arange(len(X)) % 3]
    make(scoring="roc_auc_ovr", early_stopping=True, validation_fraction=0.3).fit(X, y)
    lengths = np.array([len(sequence) for sequence in X], dtype=float)
    regressor = make(PLMRegressor, scoring="r2").fit(X, lengths, X_val=X, y_val=lengths)
    assert regressor.score(X, lengths) == pytest.approx(regressor.best_score_, abs=1e-5)


@pytest.mark.parametrize("scoring", ["accuracy", "roc_auc", "macro_aupr", "residue_accuracy", "specificity"])
def test_a_scorer_of_another_kind_is_refused_before_training(make, X, scoring):
    y, epochs = np.arange(len(X)) / 7, []
    told = f"(?s)scoring='{scoring}' cannot score the {len(X)} rows to validate on: .* Take a scorer"
    with pytest.raises(ValueError, match=told):
        make(PLMRegressor, scoring=scoring, callbacks=[epochs.append]).fit(X, y, X_val=X, y_val=y)
    callbacks = [epochs.append, skorch.callbacks.EpochScoring(scoring, lower_is_better=False)]
    with pytest.raises(ValueError, match=told):
        make(PLMRegressor, callbacks=callbacks).fit(X, y, X_val=X, y_val=y)
    assert not epochs


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_a_score_without_a_value_at_first(make, X):
    """A label that no validation protein has leaves a mean over labels undefined."""
    y = np.stack([np.arange(len(X)) % n == 0 for n in (2, 3, 4)], axis=1).astype(int)
    held_out = {"X_val": X[:4], "y_val": y[:4] * [1, 1, 0]}
    with pytest.warns(UserWarning, match="score of epoch 1 is nan"):
        classifier = make(scoring="roc_auc").fit(X, y, **held_out)
    assert [np.isnan(row["valid_score"]) for row in classifier.history_] == [True, True]


def test_a_callable_scorer_sees_the_validation_set(make, X, y):
    seen = []

    def scorer(estimator, X, y):
        seen.append((list(X), y.tolist(), estimator.predict(X).shape))
        return 0.0

    make(scoring=scorer).fit(X, y, X_val=X[:5], y_val=y[:5])
    assert seen == [(X[:5], y[:5].tolist(), (5,))] * 2


def test_groups_stay_together_where_rows_of_weight_zero_are_left_out(make, X, y):
    groups = np.repeat(np.arange(6), 4)
    weights = np.where(groups == 5, 0.0, 1.0)
    classifier = make(early_stopping=True, validation_fraction=0.4)
    weighted = clone(classifier).fit(X, y, sample_weight=weights, groups=groups)
    left_out = classifier.fit(X[:20], y[:20], groups=groups[:20])
    assert weighted._trained == left_out._trained


# -- weights ------------------------------------------------------------------------------------


def test_class_weights_are_sample_weights(make, X):
    y = np.array(["rare", *["common"] * 3])[np.arange(len(X)) % 4]
    balanced = make(class_weight="balanced").fit(X, y)
    by_hand = make().fit(X, y, sample_weight=compute_sample_weight("balanced", y))
    named = make(class_weight={"rare": 3.0, "common": 1.0}).fit(X, y)
    for other in (by_hand, named):
        np.testing.assert_allclose(other.predict_proba(X), balanced.predict_proba(X), atol=1e-5)
    assert np.abs(make().fit(X, y).predict_proba(X) - balanced.predict_proba(X)).max() > 1e-3


def test_class_weights_multiply_sample_weights(make, X, y):
    weights = np.random.default_rng(0).uniform(0.5, 2, len(X))
    both = make(class_weight={0: 1.0, 1: 4.0}).fit(X, y, sample_weight=weights)
    product = make().fit(X, y, sample_weight=weights * np.where(y == 1, 4.0, 1.0))
    np.testing.assert_allclose(both.predict_proba(X), product.predict_proba(X), atol=1e-5)


def test_class_weights_with_a_validation_set_that_lacks_a_class(make, X, y):
    for weights in ({0: 1.0, 1: 4.0}, {1: 4.0}, "balanced"):
        classifier = make(class_weight=weights).fit(X, y, X_val=X[:3], y_val=[0, 0, 0])
        assert np.isfinite(classifier.best_score_)


def test_validation_weighs_classes_as_training_does(make, X):
    """The classes' shares in the validation set are its own, the weights are those of training."""
    y = np.where(np.arange(len(X)) < 6, 1, 0)
    of_class = len(X) / (2 * np.bincount(y))
    even = {"X_val": X[4:8], "y_val": y[4:8]}
    balanced = make(class_weight="balanced").fit(X, y, **even)
    by_hand = make().fit(X, y, sample_weight=of_class[y], **even, sample_weight_val=of_class[y[4:8]])
    for found, expected in zip(balanced.history_, by_hand.history_, strict=True):
        assert found["valid_loss"] == pytest.approx(expected["valid_loss"], rel=1e-5)
    several = np.column_stack([y, 1 - y])
    weighted = make(class_weight=[{0: 1, 1: 3}, {1: 5}]).fit(X, several, X_val=X[:3], y_val=several[:3])
    assert np.isfinite(weighted.best_score_)


# -- targets ------------------------------------------------------------------------------------


def test_several_labels_per_protein():
    """Each label is learned by itself, and by all its proteins."""
    X, first = biased_proteins(80, "MWQ", seed=3)
    Y = np.column_stack([first == "M", first != "W"]).astype(int)
    settings = FAST | {"epochs": 15, "head_lr": 1e-2}
    classifier = PLMClassifier("mini", adapter=Frozen(), **settings).fit(X, Y)
    probabilities, predicted = classifier.predict_proba(X), classifier.predict(X)
    assert probabilities.shape == predicted.shape == Y.shape
    np.testing.assert_array_equal(predicted, (probabilities > 0.5).astype(int))
    assert (predicted == Y).mean() > 0.95
    np.testing.assert_array_equal(classifier.classes_, [0, 1])


@pytest.mark.parametrize("n_targets", [0, 1, 3])
def test_shapes_of_regression(n_targets, make, X):
    y = np.random.default_rng(0).normal(size=(len(X), n_targets) if n_targets else len(X))
    regressor = make(PLMLoRARegressor)
    if n_targets == 1:
        with pytest.warns(DataConversionWarning, match="column-vector"):
            regressor.fit(X, y)
    else:
        regressor.fit(X, y)
    predicted = regressor.predict(X)
    assert predicted.shape == ((len(X), 3) if n_targets == 3 else (len(X),))
    assert predicted.dtype == np.float64


@pytest.mark.parametrize("factor", [-3.0, 1e4, 1e-6])
def test_predictions_are_in_the_units_of_y(factor, make, X):
    y = np.random.default_rng(0).normal(size=(len(X), 2))
    plain = make(PLMLoRARegressor).fit(X, y).predict(X)
    moved = make(PLMLoRARegressor).fit(X, factor * y + 7 * factor).predict(X)
    if factor > 0:
        np.testing.assert_allclose(moved / factor - 7, plain, atol=1e-4)
    else:  # another course of training, the same scale
        assert np.abs(moved.mean(axis=0) - 7 * factor).max() < 3 * abs(factor)


def test_regression_learns_numbers_far_from_zero():
    X, first = biased_proteins(80, "MW", seed=4)
    y = np.where(first == "M", 1000.0, 1200.0)
    regressor = PLMRegressor("mini", adapter=Frozen(), **(FAST | {"epochs": 15, "head_lr": 1e-2}))
    assert regressor.fit(X, y).score(X, y) > 0.8


def test_a_constant_target_is_predicted(make, X):
    predicted = make(PLMRegressor, epochs=10, head_lr=1e-2).fit(X, np.full(len(X), 5.0)).predict(X)
    np.testing.assert_allclose(predicted, 5.0, atol=1.0)


# -- going on, and changing one's mind ----------------------------------------------------------


@pytest.mark.parametrize("adapter", [LoRA(rank=2), FullFineTuning(last_n_layers=1)], ids=repr)
def test_warm_start_goes_on(adapter, make, X, y):
    classifier = make(adapter=adapter, warm_start=True, weight_decay=0.0).fit(X, y)
    first = classifier.predict_proba(X)
    classifier.set_params(lr=1e-12, head_lr=1e-12).fit(X, y)
    np.testing.assert_allclose(classifier.predict_proba(X), first, atol=1e-6)
    classifier.set_params(warm_start=False).fit(X, y)
    assert np.abs(classifier.predict_proba(X) - first).max() > 1e-3


def test_setting_parameters_does_not_change_a_fit(make, X, y):
    """What has been learned predicts the same after set_params, in this process and in the next."""
    classifier = make(PLMLoRAClassifier, rank=2).fit(X, y)
    expected = classifier.predict_proba(X)
    classifier.set_params(rank=4, alpha=99, pooling="max", head="mlp", backbone="mini", target_modules="all")
    np.testing.assert_array_equal(classifier.predict_proba(X), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(classifier)).predict_proba(X), expected)
    classifier.set_params(epochs=0, lr=-1.0, scoring="none such")  # of training alone
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(classifier)).predict_proba(X), expected)
    nested = make(adapter=LoRA(rank=2)).fit(X, y)
    expected = nested.predict_proba(X)
    nested.set_params(adapter__alpha=99)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(nested)).predict_proba(X), expected)


def test_a_fitted_estimator_moves_where_it_is_told(make, X, y):
    """Token budget and precision of predictions may be changed after fit."""
    classifier = make().fit(X, y)
    expected = classifier.predict_proba(X)
    classifier.set_params(max_tokens=50)
    np.testing.assert_allclose(classifier.predict_proba(X), expected, atol=1e-5)
    assert classifier._loaded.config.max_tokens == 50
    classifier.set_params(precision="bf16")
    np.testing.assert_allclose(classifier.predict_proba(X), expected, atol=0.1)
    assert classifier._loaded.backbone.precision == "bf16"


@adapters
def test_bfloat16_trains_float32_tensors(adapter, make, X, y):
    """Trained tensors are float32 in every precision."""
    classifier = make(adapter=adapter, precision="bf16").fit(X, y)
    assert {tensor.dtype for tensor in trained_tensors(classifier).values()} == {torch.float32}
    assert np.isfinite(classifier.predict_proba(X)).all()


def test_history_has_plain_rows(make, X, y):
    classifier = make(epochs=3).fit(X, y)
    assert [row["epoch"] for row in classifier.history_] == [1, 2, 3]
    assert all(np.isfinite(row["train_loss"]) and row["lr"] >= 0 for row in classifier.history_)
    assert classifier.best_epoch_ == 3
    assert classifier.best_score_ is None


def test_history_tells_the_rate_of_the_adapter_at_the_last_step(make, X, y):
    rates = {"lr": 1e-4, "head_lr": 5e-3, "warmup": 0.0, "batch_size": 8, "epochs": 2}
    n_steps = -(-len(X) // 8)
    constant = make(schedule="constant", **rates).fit(X, y)
    assert [row["lr"] for row in constant.history_] == [1e-4, 1e-4]
    linear = make(**rates).fit(X, y)
    left = [n_steps + 1, 1]  # steps to go, that of the last one included
    assert [row["lr"] for row in linear.history_] == pytest.approx([1e-4 * n / (2 * n_steps) for n in left])
    head_alone = make(schedule="constant", adapter=Frozen(), **rates)
    assert head_alone.fit(X, y).history_[0]["lr"] == 5e-3


def test_learned_tensors_are_those_of_the_model(make, X, y):
    classifier = make().fit(X, y)
    in_model = learned_tensors(classifier._restored().module)
    assert in_model.keys() == trained_tensors(classifier).keys()


def test_fits_without_warnings(make, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make().fit(X, y).predict(X)
