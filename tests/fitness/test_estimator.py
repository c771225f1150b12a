"""PLMFitnessRegressor: where it starts, what it says, and what it refuses."""

import pickle
import re

import numpy as np
import pytest
import torch
import transformers
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from plmlearn import PLMFitnessRegressor, PLMMaskedLM, load, save
from plmlearn.adapters import Frozen, FullFineTuning, LoRA
from plmlearn.backbones import BackboneWeightsError
from plmlearn.datasets import fetch_gb1
from plmlearn.fitness.model import FitnessModel
from plmlearn.pretraining.language_head import MaskedLanguageModel
from plmlearn.sequences import ALPHABET, SequenceError, name_variants, read_variants

WILD_TYPE = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVG"
QUIET = {"precision": "fp32", "random_state": 0, "verbose": 0}
METHODS = {"wt-marginal": "wild_type", "masked-marginal": "masked"}
STRATEGIES = [*METHODS, "pseudo-perplexity"]


def regressor(**changes) -> PLMFitnessRegressor:
    return PLMFitnessRegressor("mini", **{"wild_type": WILD_TYPE, "epochs": 2, **QUIET, **changes})


@pytest.fixture(scope="module")
def X():
    """Variants with one to three substitutions."""
    rng = np.random.default_rng(0)
    variants = []
    for i in range(36):
        letters = list(WILD_TYPE)
        for site in rng.choice(len(letters), 1 + i % 3, replace=False):
            letters[site] = rng.choice([letter for letter in ALPHABET if letter != letters[site]])
        variants.append("".join(letters))
    return variants


@pytest.fixture(scope="module")
def y(X):
    return np.array(
        [sum(letter in "AVILMF" for letter in variant) - 0.3 * variant.count("P") for variant in X]
    )


@pytest.fixture(scope="module")
def language_model():
    return PLMMaskedLM("mini", adapter=Frozen(), max_steps=0, validation_fraction=None, **QUIET).fit(
        [WILD_TYPE]
    )


@pytest.fixture(scope="module")
def plain(language_model, tmp_path_factory):
    """The same model in plain transformers: log-probabilities of a sequence's residues, some hidden."""
    folder = language_model.save_pretrained(tmp_path_factory.mktemp("plain"))
    model = transformers.EsmForMaskedLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def logs(sequence: str, hidden: list[int]) -> np.ndarray:
        ids = tokenizer(sequence, return_tensors="pt")["input_ids"]
        for site in hidden:
            ids[0, site + 1] = tokenizer.mask_token_id
        with torch.no_grad():
            found = model(ids).logits[0, 1:-1].double().log_softmax(-1).numpy()
        return found[:, tokenizer.convert_tokens_to_ids(list(ALPHABET))]

    return logs


@pytest.fixture(scope="module")
def fitted(X, y):
    return regressor().fit(X, y)


# -- where it starts ------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", METHODS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_without_labels_it_is_zero_shot_to_the_last_bit(strategy, precision, X):
    settings = {**QUIET, "precision": precision}
    lm = PLMMaskedLM("mini", adapter=Frozen(), max_steps=0, validation_fraction=None, **settings)
    expected = lm.fit([WILD_TYPE]).mutation_scores(WILD_TYPE, X, method=METHODS[strategy])
    model = regressor(strategy=strategy, precision=precision).fit(X)
    np.testing.assert_array_equal(model.predict(X), expected)
    np.testing.assert_array_equal(model.mutation_scores(X), expected)
    assert model.history_ == []
    assert model.n_trainable_parameters_ == 0


def test_masked_marginals_by_plain_transformers(plain, X):
    expected = []
    for changes in read_variants(WILD_TYPE, X):
        odds = 0.0
        for site, new in changes:
            logs = plain(WILD_TYPE, [site])[site]
            odds += logs[ALPHABET.index(new)] - logs[ALPHABET.index(WILD_TYPE[site])]
        expected.append(odds)
    found = regressor(strategy="masked-marginal").fit(X).predict(X)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_insertions_and_deletions_by_plain_transformers(plain):
    shorter, longer = WILD_TYPE[:5] + WILD_TYPE[8:], WILD_TYPE[:20] + "GG" + WILD_TYPE[20:]

    def likelihood(sequence: str) -> float:
        sites = enumerate(sequence)
        return sum(plain(sequence, [site])[site][ALPHABET.index(letter)] for site, letter in sites)

    expected = [likelihood(variant) - likelihood(WILD_TYPE) for variant in (shorter, longer)]
    model = regressor(strategy="pseudo-perplexity").fit([shorter])
    np.testing.assert_allclose(model.predict([shorter, longer]), expected, atol=1e-3)
    assert model.predict([WILD_TYPE]) == 0.0


@pytest.mark.parametrize("loss", ["ranking", "listwise", "squared"])
def test_it_moves_continuously_from_there(loss, X, y):
    start = regressor().fit(X).predict(X)
    steps = [
        np.abs(regressor(loss=loss, calibrate=None, lr=lr).fit(X, y).predict(X) - start).max()
        for lr in (1e-7, 1e-5, 1e-3)
    ]
    assert 0 < steps[0] < 1e-4
    assert steps[0] < steps[1] < steps[2]


# -- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("loss", ["ranking", "squared"])
def test_training_ranks_the_training_variants(strategy, loss, X, y):
    if strategy == "pseudo-perplexity":  # a pass per residue of each variant
        X, y = [variant[:12] for variant in X[:8]], y[:8]
    settings = {"strategy": strategy, "wild_type": WILD_TYPE[: len(X[0])]}
    before = spearmanr(regressor(**settings).fit(X).predict(X), y)[0]
    model = regressor(**settings, loss=loss, epochs=6, lr=3e-3).fit(X, y)
    assert spearmanr(model.predict(X), y)[0] > max(before, 0.5)
    assert model.history_[-1]["train_loss"] < model.history_[0]["train_loss"]


@pytest.mark.parametrize("strategy", ["masked-marginal", "pseudo-perplexity"])
def test_a_token_budget_changes_nothing(strategy, X, y):
    X, y = [variant[:14] for variant in X[:6]], y[:6]
    settings = {"strategy": strategy, "wild_type": WILD_TYPE[:14], "batch_size": 6, "kl": 0.1, "epochs": 1}
    whole, parts = (regressor(max_tokens=budget, **settings).fit(X, y) for budget in ("auto", 64))
    assert whole.history_[0]["train_loss"] == pytest.approx(parts.history_[0]["train_loss"], rel=1e-5)
    np.testing.assert_allclose(whole.predict(X), parts.predict(X), atol=1e-4)


def test_the_wild_type_is_encoded_once_per_step(X, y, monkeypatch):
    tokens, embed = [], FitnessModel.embed

    def count(self, views):
        tokens.append(len(views.tokens.ids))
        return embed(self, views)

    monkeypatch.setattr(FitnessModel, "embed", count)
    model = regressor(epochs=3, batch_size=12).fit(X, y)
    assert tokens == [len(WILD_TYPE) + 2] * len(tokens)
    assert len(tokens) <= 1 + 3 * 3 + 1  # the scale before, three steps an epoch, a look at the end
    tokens.clear()
    model.predict(X)
    assert tokens == []  # the look at the end is kept, and the untuned model is not asked


def test_distance_from_the_untuned_model_is_its_weight_s_to_choose(X, y):
    start = regressor().fit(X).predict(X)
    free, held = (
        regressor(kl=kl, lr=1e-3, calibrate=None, epochs=10).fit(X, y).predict(X) - start
        for kl in (0.0, 30.0)
    )
    assert np.abs(held).mean() < 0.8 * np.abs(free).mean()


def test_divergence_by_hand(X, y):
    """After one epoch with kl, the loss of a validation set holds the divergence between both models."""
    model = regressor(kl=2.0, epochs=1, scoring=None).fit(X, y, X_val=X, y_val=y)
    tuned, before = model._restored(), regressor().fit(X)._restored()
    inputs = model._inputs(tuned, np.array(X, dtype=object))
    logs = inputs.sequences.reference(tuned.module, tuned.config).double()
    reference = inputs.sequences.reference(before.module, before.config).double()
    divergence = float((reference.exp() * (reference - logs)).sum(1).mean())
    scores, losses = model.mutation_scores(X), []
    for i in range(len(X)):
        losses += [np.log1p(np.exp(scores[j] - scores[i])) for j in range(len(X)) if y[i] > y[j]]
    assert divergence > 0
    assert model.history_[0]["valid_loss"] == pytest.approx(np.mean(losses) + 2 * divergence, rel=1e-4)


def test_weights_and_ties(X, y):
    """A variant of weight 0 might as well be missing, and one of weight 2 is there twice."""
    weights = np.ones(len(X))
    weights[-4:] = 0
    once = regressor(batch_size=64).fit(X, y, sample_weight=weights)
    without = regressor(batch_size=64).fit(X[:-4], y[:-4])
    np.testing.assert_array_equal(once.predict(X), without.predict(X))
    weights[0] = 2
    doubled = regressor(batch_size=64, epochs=4).fit([X[0], *X[:-4]], [y[0], *y[:-4]])
    weighted = regressor(batch_size=64, epochs=4).fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(weighted.predict(X), doubled.predict(X), atol=1e-3)


def test_early_stopping_by_ranks(X, y):
    model = regressor(early_stopping=True, validation_fraction=0.3, patience=2, epochs=15).fit(X, y)
    scores = [row["valid_score"] for row in model.history_]
    assert model.best_score_ == max(scores)
    assert len(scores) == 15 or len(scores) == model.best_epoch_ + 2
    alone = regressor(epochs=1, calibrate=None).fit(X, y, X_val=X, y_val=y)
    assert alone.history_[0]["valid_score"] == pytest.approx(spearmanr(alone.predict(X), y)[0], abs=1e-3)


@pytest.mark.parametrize("adapter", [FullFineTuning(last_n_layers=1), LoRA(rank=2, last_n_layers=2), "ia3"])
def test_any_adapter(adapter, X, y):
    model = regressor(adapter=adapter, lr=1e-3).fit(X, y)
    assert model.n_trainable_parameters_ > 0
    assert not np.array_equal(model.mutation_scores(X), regressor().fit(X).predict(X))


def test_the_language_head_is_trained_on_request(X, y):
    kept = PLMFitnessRegressor("mini", adapter="frozen", wild_type=WILD_TYPE, **QUIET).fit(X, y)
    np.testing.assert_array_equal(kept.mutation_scores(X), regressor().fit(X).predict(X))
    trained = regressor(adapter="frozen", train_head=True).fit(X, y)
    assert trained.n_trainable_parameters_ == 37473
    assert not np.array_equal(trained.mutation_scores(X), kept.mutation_scores(X))


# -- predictions ----------------------------------------------------------------------------------


def test_calibration_by_scikit_learn(fitted, X, y):
    scores = fitted.mutation_scores(X)
    line = LinearRegression().fit(scores[:, None], y)
    np.testing.assert_allclose(fitted.predict(X), line.predict(scores[:, None]), rtol=1e-9)
    steps = IsotonicRegression(increasing="auto", out_of_bounds="clip").fit(scores, y)
    model = regressor(calibrate="isotonic").fit(X, y)
    np.testing.assert_allclose(model.predict(X), steps.predict(scores), rtol=1e-9)
    assert np.array_equal(regressor(calibrate=None).fit(X, y).predict(X), scores)


def test_a_falling_line_is_told(X, y):
    with pytest.warns(UserWarning, match="scores fall where y rises"):
        regressor(lr=1e-7).fit(X, -regressor().fit(X).predict(X))


def test_both_forms_of_variants_agree(fitted, X, y):
    names = [
        ":".join(f"{WILD_TYPE[site]}{site + 1}{new}" for site, new in changes)
        for changes in read_variants(WILD_TYPE, X)
    ]
    np.testing.assert_array_equal(fitted.predict(names), fitted.predict(X))
    np.testing.assert_array_equal(regressor().fit(names, y).predict(X), fitted.predict(X))
    assert fitted.mutation_scores(["WT", WILD_TYPE]).tolist() == [0.0, 0.0]
    both = [*names[:2], *X[2:4], WILD_TYPE[:-1]]
    shorter = regressor(strategy="pseudo-perplexity").fit(both)
    assert shorter.predict(both).shape == (5,)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_sites_are_counted_from_any_number(strategy, X, y, language_model, tmp_path):
    names = name_variants(WILD_TYPE, X)
    shifted = name_variants(WILD_TYPE, X, first_site=24)
    assert set(names) & set(shifted) == set()
    plain = regressor(strategy=strategy, epochs=1).fit(names[:8], y[:8])
    counted = regressor(strategy=strategy, epochs=1, first_site=24).fit(shifted[:8], y[:8])
    np.testing.assert_array_equal(counted.predict(shifted[:12]), plain.predict(names[:12]))
    np.testing.assert_array_equal(counted.predict(X[:12]), plain.predict(names[:12]))
    saved = load(save(counted, tmp_path / "saved"))
    np.testing.assert_array_equal(saved.predict(shifted[:12]), counted.predict(X[:12]))
    with pytest.raises(
        SequenceError, match="Variant 0 has 'K2R'; sites of the wild type are counted from 24"
    ):
        counted.predict(["K2R"])
    np.testing.assert_array_equal(
        language_model.mutation_scores(WILD_TYPE, shifted[:5], first_site=24),
        language_model.mutation_scores(WILD_TYPE, X[:5]),
    )


def test_the_consensus_is_the_wild_type_unless_it_is_given(X, y):
    with pytest.warns(UserWarning, match=r"commonest residue of each of 41 columns .* at 1 to 3 sites"):
        model = regressor(wild_type=None).fit(X, y)
    assert model.wild_type_ == WILD_TYPE
    np.testing.assert_array_equal(model.predict(X), regressor().fit(X, y).predict(X))


# -- as an estimator ------------------------------------------------------------------------------


@pytest.mark.parametrize("labelled", [True, False])
def test_it_is_saved_and_pickled(labelled, X, y, tmp_path):
    model = regressor(strategy="masked-marginal", calibrate="isotonic").fit(X, y if labelled else None)
    for again in (load(save(model, tmp_path)), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        assert again.wild_type_ == WILD_TYPE


def test_equal_seeds_give_equal_bits(fitted, X, y):
    np.testing.assert_array_equal(clone(fitted).fit(X, y).predict(X), fitted.predict(X))
    assert not np.array_equal(regressor(random_state=1).fit(X, y).predict(X), fitted.predict(X))


def test_a_second_fit_forgets_the_first_and_warm_start_does_not(fitted, X, y):
    model = clone(fitted).fit(X[:10])
    np.testing.assert_array_equal(model.fit(X, y).predict(X), fitted.predict(X))
    first = fitted.mutation_scores(X)
    goes_on = clone(fitted).set_params(warm_start=True).fit(X, y).fit(X, y)
    assert not np.array_equal(goes_on.mutation_scores(X), first)


def test_warm_start_continues_no_untuned_model_and_no_other_protein(fitted, X, y):
    model = clone(fitted).set_params(warm_start=True)
    np.testing.assert_array_equal(model.fit(X).fit(X, y).predict(X), fitted.predict(X))
    model.set_params(wild_type="A" + WILD_TYPE[1:])
    with pytest.raises(ValueError, match="continues a fit on another wild type"):
        model.fit(X, y)
    assert model.wild_type_ == WILD_TYPE
    assert model.set_params(warm_start=False).fit(X, y).wild_type_ == "A" + WILD_TYPE[1:]


@pytest.mark.parametrize("strategy", ["wt-marginal", "masked-marginal"])
def test_a_site_is_looked_at_once(strategy, X, y, monkeypatch):
    model = regressor(strategy=strategy, epochs=1).fit(X[:12], y[:12])
    expected = np.concatenate([pickle.loads(pickle.dumps(model)).predict([variant]) for variant in X])
    tokens, forward = [], MaskedLanguageModel.forward

    def counting(self, packed, positions):
        tokens.extend([1] * len(packed.ids))
        return forward(self, packed, positions)

    monkeypatch.setattr(MaskedLanguageModel, "forward", counting)
    n_sites = len({site for variant in read_variants(WILD_TYPE, X[12:]) for site, _ in variant})
    for _ in range(2):
        found = np.concatenate([model.predict([variant]) for variant in X])
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    new = 0 if strategy == "wt-marginal" else n_sites  # fit has looked at its own
    assert len(tokens) <= new * (len(WILD_TYPE) + 2)
    tokens.clear()
    pickle.loads(pickle.dumps(model)).predict(X)
    assert tokens
    model.set_params(random_state=1).fit(X[12:], y[12:])
    again = clone(model).fit(X[12:], y[12:])
    np.testing.assert_allclose(model.predict(X), again.predict(X), rtol=1e-5, atol=1e-5)


def test_what_a_callback_predicts_is_of_its_epoch(X, y):
    """The model goes on training; what its earlier self said of the sites is forgotten."""
    seen = []
    model = regressor(epochs=3)
    model._each_epoch = lambda fitted: seen.append(fitted.mutation_scores(X)) and None
    model.fit(X, y)
    assert len(seen) == 3
    assert not np.allclose(seen[0], seen[2], rtol=1e-4)


def test_what_fit_settled_stays(fitted, X, y):
    model = clone(fitted).fit(X, y)
    expected = model.predict(X)
    model.set_params(strategy="masked-marginal", loss="squared", adapter=Frozen(), wild_type="M" * 41)
    np.testing.assert_array_equal(model.predict(X), expected)


def test_tools_of_scikit_learn(X, y):
    groups = np.arange(len(X)) % 6
    scores = cross_val_score(
        make_pipeline("passthrough", regressor()), X, y, cv=GroupKFold(3), groups=groups, scoring="r2"
    )
    assert np.isfinite(scores).all()
    search = GridSearchCV(
        regressor(), {"adapter__rank": [2, 4], "kl": [0, 1]}, cv=2, scoring="neg_mean_squared_error"
    )
    assert search.fit(X, y).predict(X).shape == y.shape
    seen = []
    regressor(callbacks=[seen.append]).fit(X, y)
    assert [row["epoch"] for row in seen] == [1, 2]


# -- what is refused ------------------------------------------------------------------------------


def test_variants_that_contradict_the_wild_type_are_named(fitted, X, y):
    bad = ["K2R", "A2K", "K99A", "K2*", WILD_TYPE[:-1], "K2R:K2A"]
    for call in (lambda: regressor().fit(bad, range(6)), lambda: fitted.predict(bad)):
        with pytest.raises(SequenceError) as error:
            call()
        assert error.value.rows == [1, 2, 3, 4, 5]
        for part in (
            "Variant 1 has 'A2K', but the wild type has K at site 2",
            "'K99A'",
            "40 residues",
        ):
            assert part in str(error.value)
        assert "Only strategy='pseudo-perplexity' scores insertions and deletions." in str(error.value)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([1.0] * 36, "All 36 measurements in y (rows 0 to 35) are 1"),
        (np.ones((36, 2)), "expected one measurement per variant"),
        ([1.0], "inconsistent numbers of samples"),
        ([np.nan] * 36, "y is missing"),
    ],
)
def test_targets_that_rank_nothing(X, y, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        regressor().fit(X, y)


def test_one_measurement_is_too_few(X):
    with pytest.raises(ValueError, match=r"1 measurement; ranking needs at least 2. Without any, fit\(X\)"):
        regressor().fit(X[:1], [1.0])


def test_no_consensus_without_columns(X):
    with pytest.raises(SequenceError, match="mutations such as 'K2R', and wild_type is None"):
        regressor(wild_type=None).fit([*X, "K2R"])
    with pytest.raises(SequenceError, match=r"wild_type is None, and 1 of 37 variants \(rows 36\) differ"):
        regressor(wild_type=None).fit([*X, X[0][:-1]])
    with pytest.raises(SequenceError, match="longer than max_length") as error:
        regressor(max_length=10).fit(X)
    assert "long_sequences" not in str(error.value)


def test_what_zero_shot_does_not_use_is_refused(X, y):
    for useless in ({"sample_weight": [1, 2]}, {"X_val": X, "y_val": y}, {"groups": range(36)}):
        with pytest.raises(ValueError, match=f"y is None.*{', '.join(useless)} is passed. Pass y too"):
            regressor().fit(X, **useless)


def test_measurements_to_validate_on_have_an_order(X, y):
    for X_val, y_val in ((X[:1], y[:1]), (X[:3], [1.0, 1.0, 1.0])):
        with pytest.raises(
            ValueError, match=f"'spearman' cannot score the {len(X_val)} rows to validate on: y_"
        ):
            regressor().fit(X, y, X_val=X_val, y_val=y_val)


def test_parameters_without_effect_are_named(X, y):
    with pytest.warns(UserWarning, match=r"head_lr=0.1 is that of the language head.*lr=0.1 is for training"):
        regressor(adapter=Frozen(), head_lr=0.1, lr=0.1).fit(X, y)


def test_a_backbone_needs_a_language_head(language_model, X, y, tmp_path):
    folder = language_model.save_pretrained(tmp_path / "whole")
    model = transformers.EsmModel.from_pretrained(folder, add_pooling_layer=False)
    model.save_pretrained(tmp_path / "encoder")
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "encoder")
    with pytest.raises(BackboneWeightsError, match="holds no language head"):
        PLMFitnessRegressor(tmp_path / "encoder", wild_type=WILD_TYPE, **QUIET).fit(X, y)


@pytest.mark.data
def test_gb1_draws_improve_over_zero_shot(data_home):
    data = fetch_gb1(split="sampled", data_home=data_home)
    X, y = np.array([sequence[:56] for sequence in data.data]), data.target
    order = np.random.default_rng(0).permutation(len(X))
    test, gains = order[:500], []
    wild_type = "MQYKLILNGKTLKGETTTEAVDAATAEKVFKQYANDNGVDGEWTYDDATKTFTVTE"
    for train in np.split(order[500 : 500 + 2 * 96], 2):
        model = PLMFitnessRegressor("mini", wild_type=wild_type, epochs=15, lr=1e-3, kl=0.0, **QUIET)
        before = spearmanr(model.fit(X[train]).predict(X[test]), y[test])[0]
        gains.append(spearmanr(model.fit(X[train], y[train]).predict(X[test]), y[test])[0] - before)
    assert min(gains) > 0.1
