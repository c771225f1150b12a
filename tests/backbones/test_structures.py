"""SaProt reads residues with Foldseek's structural states; other backbones read residues alone."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest
import torch
import transformers

from plmlearn import (
    PLMEmbedder,
    PLMFrozenMLP,
    PLMLoRAClassifier,
    PLMMaskedLM,
    PLMPairClassifier,
    PLMRegressor,
    PLMResidueClassifier,
    PLMSignalPeptideClassifier,
    load,
    save,
)
from plmlearn.backbones import load_backbone
from plmlearn.estimators.dataset import Dataset
from plmlearn.estimators.task import Given
from plmlearn.sequences import ALPHABET, SequenceError
from plmlearn.sequences.structure import clean_with_states

RESIDUES = ["MEVQLX", "ACDEFGHIKLMNPQRSTVWY", "MKV"]
STATES = ["dvpq#v", "pynwrqhgdlvtmfsaeikc", "###"]
IN_TURN = ["".join(map("".join, zip(a, b))).replace("X", "#") for a, b in zip(RESIDUES, STATES)]
QUICK = {"epochs": 1, "precision": "fp32", "random_state": 0, "verbose": 0}


@pytest.fixture
def saprot(miniature):
    return miniature("saprot")


@pytest.fixture(scope="module")
def expected(miniature):
    """Residue embeddings by transformers' own model and tokenizer, one protein at a time."""
    folder = miniature("saprot")
    tokenizer, model = transformers.EsmTokenizer.from_pretrained(folder), load_backbone(folder).model
    found = []
    for text in IN_TURN:
        inputs = tokenizer(text, return_tensors="pt")
        assert tokenizer.unk_token_id not in inputs["input_ids"]
        with torch.no_grad():
            found.append(model(**inputs).last_hidden_state[0, 1:-1].numpy())
    return found


FORMS = {
    "in turn": IN_TURN,
    "tuples": list(zip(RESIDUES, STATES, strict=True)),
    "upper case": list(zip(RESIDUES, map(str.upper, STATES), strict=True)),
    "array": np.array([RESIDUES, STATES], dtype=object).T,
    "frame": pd.DataFrame({"sequence": RESIDUES, "states": STATES}),
    "one without": [*zip(RESIDUES[:2], STATES[:2], strict=True), "MKV"],
    "one missing": list(zip(RESIDUES, [*STATES[:2], None], strict=True)),
    "lines": [f"{text[:4]}\n{text[4:]}" for text in IN_TURN],
}


@pytest.mark.parametrize("X", FORMS.values(), ids=FORMS)
def test_states_are_read_in_every_form(saprot, expected, X):
    found = PLMEmbedder(saprot, pooling=None, precision="fp32").fit_transform(X)
    for residues, reference in zip(found, expected, strict=True):
        np.testing.assert_allclose(residues, reference, atol=2e-5)


def test_token_ids_beyond_a_byte_are_kept_apart(saprot):
    """446 tokens: an id of a byte would take Y with state c for another."""
    backbone, embedder = load_backbone(saprot), PLMEmbedder(saprot)
    ids, _ = backbone.tokenize(["YYYY"])
    assert ids.dtype == np.uint16
    assert ids.max() > 255
    embedder.fit(["YYYY"])
    rows = embedder.transform(["YYYY", "YcYcYcYc", "YvYvYvYv"])
    assert min(np.abs(a - b).max() for a, b in itertools.pairwise(rows)) > 1e-3


def test_windows_labels_and_lengths_count_residues(saprot, tmp_path):
    X, y = IN_TURN[:2] * 3, ["HHEEHH", "H" * 10 + "E" * 10] * 3
    model = PLMResidueClassifier(saprot, max_length=8, **QUICK).fit(X, y)
    expected = model.predict(X)
    assert [len(row) for row in expected] == [6, 20] * 3
    again = load(save(model, tmp_path / "saved"))
    assert again.predict(X).tolist() == expected.tolist()
    with pytest.warns(UserWarning, match="cut to their first 8 residues"):
        assert PLMEmbedder(saprot, max_length=8).fit_transform(X).shape == (6, 32)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::plmlearn.model_selection.PairWarning")
def test_every_estimator_takes_states(saprot):
    X, y = FORMS["tuples"] * 4, np.array([0, 1, 1] * 4)
    for model in (PLMLoRAClassifier(saprot, **QUICK), PLMFrozenMLP(saprot, max_iter=2)):
        np.testing.assert_allclose(
            model.fit(X, y).predict_proba(X), model.predict_proba(IN_TURN * 4), atol=1e-5
        )
    pairs = [(a, b) for a, b in zip(IN_TURN * 4, RESIDUES * 4, strict=True)]
    model = PLMPairClassifier(saprot, **QUICK).fit(pairs, y)
    changed = model.predict_proba([(b, b) for _, b in pairs])
    assert np.abs(model.predict_proba(pairs) - changed).max() > 1e-6


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_states_are_read_by_the_backbone_of_this_fit(saprot, esm_folder):
    X, y = IN_TURN[:2] * 2, [0, 1] * 2
    for make in (PLMEmbedder, PLMLoRAClassifier, PLMFrozenMLP):
        options = {name: value for name, value in QUICK.items() if name in make().get_params()}
        model = make(saprot, **options).fit(X, y)
        read = model.transform(X)
        again = make(esm_folder, **options).fit(RESIDUES[:2], y[:2]).set_params(backbone=saprot).fit(X, y)
        np.testing.assert_array_equal(again.transform(X), read)


def test_parts_are_held_out_of_proteins_with_states(saprot):
    rng = np.random.default_rng(0)
    X = [tuple("".join(rng.choice(list("ACDEFGHIKL"), n)) for _ in range(2)) for n in range(15, 35)]
    y, helices = np.arange(20) % 2, ["HE" * 7 + "H" * (len(residues) - 14) for residues, _ in X]
    early = QUICK | {"early_stopping": True}
    for kind, target in ((PLMLoRAClassifier, y), (PLMRegressor, y), (PLMResidueClassifier, helices)):
        assert len(kind(saprot, **early).fit(X, target).predict(X)) == 20
    wild, states = X[-1]
    variants = [(wild[:i] + "W" + wild[i + 1 :], states) for i in range(20)]
    assert PLMRegressor(saprot, **early).fit(variants, y).predict(variants).shape == (20,)


def test_regions_of_signal_peptides_are_found_among_residues(saprot):
    """The same targets with states and without: cores, twin arginines and letters are of residues."""
    sequences = np.array(["MNDSRRAFLKAAGAVALVGAAGAARAEDD", "MKRSAAVLLLVLAAVASAQADDETKPEDD"], dtype=object)
    with_states = np.array([clean_with_states((s, "dvp" * 9 + "dv"), "raise")[0] for s in sequences])
    task = PLMSignalPeptideClassifier(saprot)._task()
    encoded = []
    for X in (sequences, with_states):
        given = Given(
            X, ["TAT", "SP"], extras={"regions": ["T" * 26 + "OOO", "S" * 20 + "O" * 9], "kingdom": None}
        )
        y, extras = task.check(X, given)
        target = task.learn(y)
        dataset = Dataset(X, y, np.ones(2), None, 0, extras)
        encoded.append(task.encode(None, target, dataset, y).targets.values)
    assert torch.equal(*encoded)
    assert [ALPHABET[letter] for letter in encoded[0][:6, -2]] == list("MNDSRR")


FAULTS = {
    "different lengths": [
        ("MEV", "dv"),
        "has 3 residues and 2 structural states; expected one",
    ],
    "not in turn": ["MdEvV", "is neither residues alone nor residues.*in turn: after 2 of these comes 'V'"],
    "no state": [("MEV", "dxv"), "has the structural state 'x' at residue 2; expected one of acde.*or #"],
    "no residue": [("MJV", "dvv"), "has 'J' at residue 2"],
    "no text": [("MEV", 3.5), "has structural states of type float"],
    "# alone": ["ME#", "is neither residues alone"],
}


@pytest.mark.parametrize("row, message", FAULTS.values(), ids=FAULTS)
def test_faults_are_told_by_row(saprot, row, message):
    with pytest.raises(SequenceError, match=f"(?s)Sequence 1 {message}") as caught:
        PLMEmbedder(saprot).fit_transform(["MKV", row])
    assert caught.value.rows == [1]
    y = [0, 1]
    with pytest.raises(SequenceError, match=f"(?s)Pair 1: second protein {message}"):
        PLMPairClassifier(saprot, **QUICK).fit([("MKV", "MKV"), ("MKV", row)], y)


def test_other_backbones_read_residues_alone(esm_folder):
    embedder = PLMEmbedder(esm_folder).fit(["MKV"])
    np.testing.assert_array_equal(embedder.transform(["mKv"]), embedder.transform(["MKV"]))
    with pytest.raises(ValueError, match="2 columns; expected one"):
        embedder.transform(FORMS["frame"])


def test_masked_language_models_are_esms(saprot):
    with pytest.raises(ValueError, match=re.escape("'SaProt'; masked language models are for ESM's")):
        PLMMaskedLM(saprot, epochs=1, verbose=0).fit(["MKVLAAGIVG", "GSHMLEDPAA"])
