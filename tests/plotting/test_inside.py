"""Attention is that of transformers; attributions are those of a direct computation on its models."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import logit

from plmlearn import (
    PLMClassifier,
    PLMEmbedder,
    PLMPairClassifier,
    PLMRegressor,
    PLMResidueClassifier,
    PLMResidueRegressor,
)
from plmlearn.adapters import Frozen, LoRA, PrefixTuning, PromptTuning
from plmlearn.plotting import AttentionDisplay, AttributionDisplay, attention_maps, attributions

SEQUENCE = "MKTAYIAKQRQISFVKSHF"
SETTINGS = {"epochs": 1, "precision": "fp32", "random_state": 0, "verbose": 0}
LORA = LoRA(last_n_layers=2, rank=2)


def proteins(n=8):
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 12 + i)) for i in range(n)]


def tuned(folder, y=("a", "b") * 4, cls=PLMClassifier, adapter=LORA, **settings):
    """Fitted with learning rates that move the attention far."""
    settings = SETTINGS | {"lr": 0.05, "head_lr": 0.05} | settings
    return cls(folder, adapter=adapter, **settings).fit(proteins(len(y)), list(y))


@pytest.fixture(scope="module")
def clf(esm_folder):
    return tuned(esm_folder)


def eager(model):
    """The same tensors in transformers' plain implementation."""
    model = copy.deepcopy(model).eval()
    model.set_attn_implementation("eager")
    return model


def ids_of(estimator, sequence=SEQUENCE):
    ids, _ = estimator._restored().backbone.tokenize([sequence])
    return torch.from_numpy(ids.astype(np.int64))[None]


def attentions(model, ids) -> np.ndarray:
    """Mean over heads by layer, (n_layers, T, T)."""
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=torch.ones_like(ids), output_attentions=True).attentions
    return torch.stack(found)[:, 0].mean(1).numpy()


def encoder_of(estimator):
    return estimator._restored().module.encoder.backbone


@pytest.mark.parametrize("kind", ["esm2", "esm1b", "esmc", "bert", "prott5", "ankh"])
def test_attention_is_that_of_transformers(kind, miniature):
    clf = tuned(miniature(kind))
    maps = attention_maps(clf, SEQUENCE)
    token_format = clf._restored().backbone.token_format
    residues = slice(len(token_format.prefix), len(token_format.prefix) + len(SEQUENCE))
    after, before = (
        attentions(eager(model), ids_of(clf))[1:, residues, residues]
        for model in (encoder_of(clf), clf._restored().backbone.model)
    )
    assert maps.layers == (2, 3)
    assert maps.sequence == SEQUENCE
    np.testing.assert_allclose(maps.tuned, after, atol=1e-5)
    np.testing.assert_allclose(maps.pretrained, before, atol=1e-5)
    assert np.abs(after - before).max() > 0.01


def test_layers_of_choice_and_without_the_pretrained(clf):
    every = attention_maps(clf, SEQUENCE, layers=[1, 2, 3])
    some = attention_maps(clf, SEQUENCE.lower(), layers=[3], pretrained=False)
    assert some.pretrained is None
    np.testing.assert_array_equal(some.tuned[0], every.tuned[2])
    np.testing.assert_array_equal(every.tuned[0], every.pretrained[0])  # not adapted


def test_a_cut_backbone_has_fewer_layers(clf, esm_folder):
    maps = attention_maps(tuned(esm_folder, n_layers=2, final_norm=False), SEQUENCE)
    whole = attention_maps(clf, SEQUENCE, layers=[1, 2])
    assert maps.layers == (1, 2)
    np.testing.assert_allclose(maps.pretrained, whole.pretrained, atol=1e-6)


def test_a_frozen_backbone_shows_all_layers(esm_folder):
    maps = attention_maps(tuned(esm_folder, adapter=Frozen(), lr=None), SEQUENCE)
    assert maps.layers == (1, 2, 3)
    np.testing.assert_array_equal(maps.tuned, maps.pretrained)


@pytest.mark.parametrize("adapter", [PrefixTuning(n_tokens=3), PromptTuning(n_tokens=3)])
def test_what_prefixes_and_prompts_take_is_left_out(adapter, make_esm, tmp_path):
    """With one head, the first layer divides the rest as before."""
    clf = tuned(make_esm(tmp_path, num_attention_heads=1), adapter=adapter)
    maps = attention_maps(clf, SEQUENCE, layers=[1])
    share = maps.tuned.sum(-1, keepdims=True)
    assert share.mean() < maps.pretrained.sum(-1).mean()
    expected = maps.pretrained / maps.pretrained.sum(-1, keepdims=True)
    np.testing.assert_allclose(maps.tuned / share, expected, atol=1e-5)


@pytest.mark.parametrize("settings", [{"precision": "bf16"}, {"quantization": "int8"}])
def test_rounded_matrices_show_about_the_same(settings, clf, esm_folder):
    rounded = copy.deepcopy(clf).set_params(**settings)
    if "quantization" in settings:
        rounded = tuned(esm_folder, lr=1e-9, **settings)
        clf = tuned(esm_folder, lr=1e-9)
    found, expected = attention_maps(rounded, SEQUENCE), attention_maps(clf, SEQUENCE)
    assert found.tuned.dtype == np.float32
    np.testing.assert_allclose(found.tuned, expected.tuned, atol=0.05)
    for method in ("attention_rollout", "integrated_gradients"):
        [rough], [exact] = (attributions(x, [SEQUENCE], method, target="a") for x in (rounded, clf))
        assert np.corrcoef(rough, exact)[0, 1] > 0.98


def test_a_protein_of_a_pair(esm_folder):
    X, y = np.reshape(proteins(16), (8, 2)), ["a", "b"] * 4
    clf = PLMPairClassifier(esm_folder, adapter=LORA, **SETTINGS).fit(X, y)
    expected = attentions(eager(encoder_of(clf)), ids_of(clf))[1:, 1:-1, 1:-1]
    np.testing.assert_allclose(attention_maps(clf, SEQUENCE).tuned, expected, atol=1e-5)


# ---- attributions, the same by hand


def by_hand(estimator, embeddings):
    """Output of an ESM protein model for token embeddings (T, D), by transformers' encoder."""
    module = estimator._restored().module
    mask = torch.ones(1, len(embeddings), dtype=torch.long)
    hidden = eager(encoder_of(estimator))(inputs_embeds=embeddings[None], attention_mask=mask)
    return module.head(module.scaler(hidden.last_hidden_state[0, 1:-1].mean(0)))


def embedded(estimator, sequence):
    ids = ids_of(estimator, sequence)
    with torch.no_grad():
        return encoder_of(estimator).embeddings(input_ids=ids, attention_mask=torch.ones_like(ids))[0]


def integral(estimator, column, n=40) -> np.ndarray:
    """Midpoint rule with many steps, one after the other."""
    start, end = embedded(estimator, "X" * len(SEQUENCE)), embedded(estimator, SEQUENCE)
    total = torch.zeros_like(end)
    for k in range(n):
        point = (start + (k + 0.5) / n * (end - start)).requires_grad_()
        [gradient] = torch.autograd.grad(by_hand(estimator, point)[column], point)
        total += gradient / n
    return (total * (end - start)).sum(1)[1:-1].numpy()


def test_integrated_gradients_by_hand(clf):
    log_odds = logit(clf.predict_proba([SEQUENCE, "X" * len(SEQUENCE)])[:, 1])
    [found] = attributions(clf, [SEQUENCE], target="b", n_steps=64)
    np.testing.assert_allclose(found, integral(clf, 0), atol=0.01 * np.abs(found).max())
    assert found.sum() == pytest.approx(log_odds[0] - log_odds[1], rel=1e-3)
    [other] = attributions(clf, [SEQUENCE], target="a", n_steps=64)
    np.testing.assert_allclose(other, -found, rtol=1e-5)


def test_contributions_of_values_add_up_in_their_unit(esm_folder):
    y = 100 + 50 * np.random.default_rng(0).normal(size=8)
    reg = tuned(esm_folder, y, PLMRegressor, head="linear")
    X = [SEQUENCE, "MKV"]
    for sequence, values in zip(X, attributions(reg, X, n_steps=64)):
        prediction, unknown = reg.predict([sequence, "X" * len(sequence)])
        assert values.shape == (len(sequence),)
        assert values.sum() == pytest.approx(prediction - unknown, rel=1e-3)


def test_steps_in_batches_change_nothing(clf):
    """A batch of one point, or of all."""
    small = copy.deepcopy(clf).set_params(max_tokens=1)
    expected = attributions(clf, [SEQUENCE])[0]
    np.testing.assert_allclose(attributions(small, [SEQUENCE])[0], expected, rtol=1e-4, atol=1e-6)


def test_too_few_steps_are_told(clf):
    with pytest.warns(UserWarning, match=r"of 2 proteins \(rows .*Increase n_steps=1\."):
        attributions(clf, [SEQUENCE, SEQUENCE[::-1]], n_steps=1)


def test_occlusion_by_hand(clf):
    variants = [SEQUENCE[:i] + "X" + SEQUENCE[i + 1 :] for i in range(len(SEQUENCE))]
    log_odds = logit(clf.predict_proba([SEQUENCE, *variants])[:, 0])
    [found] = attributions(clf, [SEQUENCE], "occlusion", target="a")
    np.testing.assert_allclose(found, log_odds[0] - log_odds[1:], atol=1e-4)


def test_rollout_by_hand(clf):
    flow = np.eye(len(SEQUENCE) + 2)
    for attention in attentions(eager(encoder_of(clf)), ids_of(clf)):
        flow = (0.5 * attention + 0.5 * np.eye(len(flow))) @ flow
    [found] = attributions(clf, [SEQUENCE], "attention_rollout")
    np.testing.assert_allclose(found, flow[1:-1].mean(0)[1:-1], atol=1e-5)
    first = tuned(clf.backbone, pooling="cls", lr=1e-9)
    assert attributions(first, [SEQUENCE], "attention_rollout")[0].sum() < 1


def test_the_predicted_class_is_explained(esm_folder):
    clf = tuned(esm_folder, ("a", "b", "c", "a", "b", "c"))
    occlusion = partial(attributions, clf, [SEQUENCE], "occlusion")
    [predicted] = clf.predict([SEQUENCE])
    np.testing.assert_array_equal(occlusion()[0], occlusion(target=predicted)[0])
    other = next(label for label in "abc" if label != predicted)
    assert np.abs(occlusion()[0] - occlusion(target=other)[0]).max() > 1e-3
    scores = [clf._outputs([s])[0, list("abc").index(other)] for s in (SEQUENCE, "X" + SEQUENCE[1:])]
    assert occlusion(target=other)[0][0] == pytest.approx(scores[0] - scores[1], abs=1e-4)


def test_one_residue_is_explained(esm_folder):
    X = proteins()
    clf = PLMResidueClassifier(esm_folder, adapter=LORA, **SETTINGS)
    clf.fit(X, ["".join("HE"[r in "AILMFVWY"] for r in s) for s in X])
    [values] = attributions(clf, [SEQUENCE], "occlusion", target="H", residue=4)
    score = [clf._residue_outputs([s]).rows[0][3, 1] for s in (SEQUENCE, SEQUENCE[:6] + "X" + SEQUENCE[7:])]
    assert values[6] == pytest.approx(float(score[0] - score[1]), abs=1e-4)
    reg = PLMResidueRegressor(esm_folder, adapter=LORA, **SETTINGS)
    reg.fit(X, [np.arange(len(s), dtype=float) for s in X])
    [values] = attributions(reg, [SEQUENCE], residue=4, n_steps=64)
    known, unknown = (reg.predict([s])[0][3] for s in (SEQUENCE, "X" * len(SEQUENCE)))
    assert values.sum() == pytest.approx(known - unknown, rel=1e-3, abs=1e-3)


def test_bad_input(clf, esm_folder):
    with pytest.raises(ValueError, match="Got PLMEmbedder; expected a fitted estimator that tunes"):
        attention_maps(PLMEmbedder(esm_folder).fit([SEQUENCE]), SEQUENCE)
    with pytest.raises(ValueError, match="sequence is a list; expected one protein"):
        attention_maps(clf, [SEQUENCE])
    with pytest.raises(ValueError, match=r"layers=\[0, 4\].*layers 1 to 3"):
        attention_maps(clf, SEQUENCE, layers=[0, 4])
    with pytest.raises(ValueError, match="Got PLMEmbedder; expected a tuned estimator"):
        attributions(PLMEmbedder(esm_folder), [SEQUENCE])
    with pytest.raises(ValueError, match=r"target='c' is not among what was fitted: 'a', 'b'"):
        attributions(clf, [SEQUENCE], target="c")
    with pytest.raises(ValueError, match="residue=3; expected a number for estimators of residues"):
        attributions(clf, [SEQUENCE], residue=3)
    with pytest.raises(ValueError, match="method"):
        attributions(clf, [SEQUENCE], "gradients")
    windows = copy.deepcopy(clf).set_params(long_sequences="window", max_length=10)
    with pytest.raises(ValueError, match="has 19 residues and is read in windows of 10"):
        attention_maps(windows, SEQUENCE)
    with pytest.raises(ValueError, match="read in windows"):
        attributions(windows, [SEQUENCE])
    assert attributions(windows, [SEQUENCE], "occlusion")[0].shape == (19,)


# ---- their pictures


def test_maps_are_drawn_in_the_place_of_the_callers_axes(clf):
    plt = pytest.importorskip("matplotlib.pyplot")
    figure, (left, right) = plt.subplots(1, 2)
    display = AttentionDisplay.from_estimator(clf, SEQUENCE, ax=right)
    assert display.axes_.shape == (3, 2)
    assert display.figure_ is figure
    before, change = display.images_[0].get_array(), display.images_[4].get_array()
    np.testing.assert_array_equal(before, display.maps.pretrained[0])
    np.testing.assert_allclose(change, display.maps.tuned[0] - display.maps.pretrained[0])
    assert display.axes_[0, 0].get_position().x0 > left.get_position().x1
    assert AttentionDisplay.from_estimator(clf, SEQUENCE, pretrained=False).axes_.shape == (1, 2)
    plt.close("all")


def test_contributions_are_drawn_as_bars(clf):
    plt = pytest.importorskip("matplotlib.pyplot")
    figure, ax = plt.subplots()
    display = AttributionDisplay.from_estimator(clf, SEQUENCE, "occlusion", target="b", ax=ax)
    assert (display.ax_, display.figure_) == (ax, figure)
    heights = [bar.get_height() for bar in display.bars_]
    np.testing.assert_allclose(heights, attributions(clf, [SEQUENCE], "occlusion", target="b")[0])
    assert ax.get_ylabel() == "contribution to the log-odds\nof class b"
    assert [text.get_text() for text in ax.get_xticklabels(minor=True)] == list(SEQUENCE)
    plt.close("all")
    with pytest.raises(ValueError, match=r"values have shape \(2,\); expected \(3,\)"):
        AttributionDisplay("MKV", [1, 2])
