"""Every architecture in miniature: read by its own rules, equal to transformers, tuned, saved, refused."""

import json
import pickle
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from plmlearn import (
    PLMEmbedder,
    PLMLoRAClassifier,
    PLMLoRARegressor,
    PLMPairClassifier,
    PLMRegressor,
)
from plmlearn.adapters import Frozen, LoRA
from plmlearn.backbones import (
    BackboneWeightsError,
    load_backbone,
    loading,
    unload_backbones,
)
from plmlearn.backbones.architectures import ARCHITECTURES, CHECKPOINTS
from plmlearn.backbones.loading import resolve_name
from plmlearn.nn.encoders import ENCODERS

KINDS = ["esm2", "esm1b", "saprot", "esmc", "bert", "prott5", "prostt5", "ankh", "ankh3"]
T5 = ["prott5", "prostt5", "ankh", "ankh3"]
LETTERS = "ACDEFGHIKLMNPQRSTVWYXBUZO"
AS_PUBLISHED = {
    "bert": lambda s: " ".join(re.sub("[UZOB]", "X", s)),
    "saprot": lambda s: "".join(letter + "#" for letter in re.sub("[XUZOB]", "#", s)),
    "esm2": lambda s: s,
    "esm1b": lambda s: s,
    "esmc": lambda s: s,
    "prott5": lambda s: " ".join(re.sub("[UZOB]", "X", s)),
    "prostt5": lambda s: "<AA2fold> " + " ".join(re.sub("[UZOB]", "X", s)),
    "ankh": lambda s: re.sub("[UZOB]", "X", s),
    "ankh3": lambda s: "[NLU]" + re.sub("[UZOB]", "X", s),
}
"""What each model's authors hand to its tokenizer."""

kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def _fresh():
    unload_backbones()
    yield
    unload_backbones()


def official(folder: Path):
    return transformers.AutoTokenizer.from_pretrained(folder)


# -- tokens ---------------------------------------------------------------------------------------


@kinds
@given(sequences=st.lists(st.text(LETTERS, min_size=1, max_size=40), min_size=1, max_size=6))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_tokens_are_those_of_the_official_tokenizer(miniature, kind, sequences):
    folder = miniature(kind)
    ids, lengths = load_backbone(str(folder)).tokenize(sequences)
    tokenizer = official(folder)
    expected = [tokenizer(AS_PUBLISHED[kind](sequence))["input_ids"] for sequence in sequences]
    assert lengths.tolist() == [len(row) for row in expected]
    assert ids.tolist() == [token for row in expected for token in row]


@pytest.mark.parametrize("kind", [*T5, "bert", "saprot"])
def test_rare_letters_are_read_as_x(miniature, kind):
    backbone = load_backbone(str(miniature(kind)))
    assert backbone.tokenize(["UZOB"])[0].tolist() == backbone.tokenize(["XXXX"])[0].tolist()


@pytest.mark.parametrize("kind", ["esm2", "esm1b", "esmc"])
def test_rare_letters_have_tokens_of_their_own_in_esm(miniature, kind):
    ids = load_backbone(str(miniature(kind))).tokenize([LETTERS])[0]
    assert len(set(ids.tolist())) == len(LETTERS) + 2


@kinds
def test_j_is_refused_or_read_as_x(miniature, kind):
    with pytest.raises(ValueError, match="'J'"):
        PLMEmbedder(str(miniature(kind))).fit_transform(["MKJ"])
    embedder = PLMEmbedder(str(miniature(kind)), invalid="replace")
    np.testing.assert_array_equal(embedder.fit_transform(["MKJ"]), embedder.transform(["MKX"]))


def test_structural_states_are_read_after_a_mark(miniature):
    """ProstT5 reads Foldseek's states, in whatever case they come, as its tokenizer does."""
    folder = miniature("prostt5")
    backbone = load_backbone(f"{folder}#3di")
    expected = official(folder)("<fold2AA> " + " ".join("dvqlac"))["input_ids"]
    assert backbone.tokenize(["DVQLAC"])[0].tolist() == expected
    states, residues = PLMEmbedder(f"{folder}#3di"), PLMEmbedder(str(folder))
    assert np.abs(states.fit_transform(["DVQLAC"]) - residues.fit_transform(["DVQLAC"])).max() > 0.01
    np.testing.assert_array_equal(states.transform(["dvqlac"]), states.transform(["DVQLAC"]))
    assert resolve_name("prostt5-3di") == resolve_name("prostt5#3di") == ("Rostlab/ProstT5", "3di")


def test_only_prostt5_reads_structural_states(miniature):
    for kind in ("esm2", "prott5"):
        with pytest.raises(ValueError, match=r"lacks tokens of 3Di states \(ProstT5"):
            load_backbone(f"{miniature(kind)}#3di")


def test_how_to_read_is_found_in_the_folder_and_not_in_its_name(miniature, tmp_path):
    renamed = shutil.copytree(miniature("ankh"), tmp_path / "prostt5-esm2")
    backbone = load_backbone(str(renamed))
    assert backbone.token_format.prefix == ()
    assert set(backbone.targets["ffn_in"]) == {"layer.1.DenseReluDense.wi_0", "layer.1.DenseReluDense.wi_1"}
    assert load_backbone(str(miniature("prott5"))).targets["ffn_in"] == ("layer.1.DenseReluDense.wi",)


def test_a_language_model_of_words_is_refused(miniature, tmp_path):
    folder = Path(shutil.copytree(miniature("prott5"), tmp_path / "words"))
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁the", -1.0), ("▁A", -2.0)]
    transformers.T5Tokenizer(vocab=words).save_pretrained(folder)
    with pytest.raises(ValueError, match="lacks tokens of amino acids"):
        load_backbone(str(folder))


# -- embeddings -----------------------------------------------------------------------------------


@kinds
def test_residues_equal_those_of_transformers_one_by_one(miniature, kind, draw_proteins):
    """A batch of many lengths against the library's own model and tokenizer, one protein at a time."""
    folder, X = miniature(kind), draw_proteins(10, seed=2, longest=60)
    backbone, tokenizer = load_backbone(str(folder)), official(folder)
    found = PLMEmbedder(str(folder), pooling=None, precision="fp32").fit_transform(X)
    n_prefix = len(backbone.token_format.prefix)
    for residues, sequence in zip(found, X, strict=True):
        inputs = tokenizer(AS_PUBLISHED[kind](sequence), return_tensors="pt")
        inputs.pop("token_type_ids", None)
        with torch.no_grad():
            state = backbone.model(**inputs).last_hidden_state[0]
        assert residues.shape == (len(sequence), 32)
        np.testing.assert_allclose(residues, state[n_prefix:-1].numpy(), atol=2e-5)


@kinds
def test_a_batch_equals_one_by_one(empty_cache, miniature, kind, draw_proteins):
    X = draw_proteins(12, seed=4)
    embedder = PLMEmbedder(str(miniature(kind)), precision="fp32").fit(X)
    with empty_cache.disabled():
        alone = np.concatenate([embedder.transform([sequence]) for sequence in X])
        np.testing.assert_allclose(embedder.transform(X), alone, atol=1e-5)


@kinds
def test_windows_and_layers(empty_cache, miniature, kind, draw_proteins):
    X = draw_proteins(4, seed=4, shortest=30, longest=50)
    whole = PLMEmbedder(str(miniature(kind)), pooling=None, n_layers=1, precision="fp32").fit_transform(X)
    windows = PLMEmbedder(
        str(miniature(kind)),
        pooling=None,
        n_layers=1,
        max_length=12,
        long_sequences="window",
        precision="fp32",
    ).fit_transform(X)
    assert [len(r) for r in windows] == [len(r) for r in whole] == [len(sequence) for sequence in X]


# -- tuning ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(draw_proteins):
    X = draw_proteins(12, seed=6)
    return X, np.array([sequence.count("A") for sequence in X], dtype=float)


TUNING = {"epochs": 1, "precision": "fp32", "random_state": 0, "verbose": 0, "lr": 0.01}


@kinds
@pytest.mark.parametrize("names", ["all", ("key", "value")])
def test_every_matrix_takes_an_adapter(miniature, kind, data, names):
    X, y = data
    model = PLMLoRARegressor(str(miniature(kind)), target_modules=names, rank=2, **TUNING).fit(X, y)
    backbone = load_backbone(str(miniature(kind)))
    paths = (
        [path for name in names for path in backbone.targets[name]]
        if names != "all"
        else sum(backbone.targets.values(), ())
    )
    module = model._restored().module
    adapted = {
        name.partition(".lora_")[0] for name, p in module.encoder.named_parameters() if p.requires_grad
    }
    layers = backbone.architecture.layers
    assert adapted == {f"backbone.{layers}.{i}.{path}" for i in range(3) for path in paths}
    thin = {name: p for name, p in module.encoder.named_parameters() if ".lora_B." in name}
    assert thin  # zero before training: a gradient has reached each of them
    assert all(tensor.abs().sum() > 0 for tensor in thin.values())


@kinds
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_trunk_that_is_kept_changes_nothing(empty_cache, miniature, kind, data, precision):
    X, y = data
    settings = TUNING | {"last_n_layers": 1, "precision": precision}
    reusing = PLMLoRARegressor(str(miniature(kind)), **settings).fit(X, y).predict(X)
    with empty_cache.disabled():
        plain = PLMLoRARegressor(str(miniature(kind)), **settings).fit(X, y).predict(X)
    np.testing.assert_allclose(reusing, plain, atol=1e-4 if precision == "fp32" else 0.1)


@kinds
def test_memory_is_estimated(miniature, kind, data):
    estimate = PLMLoRARegressor(str(miniature(kind)), **TUNING).memory_estimate(data[0])
    assert estimate.activations > 0


@kinds
def test_random_weights_are_the_control(miniature, kind, data):
    X, y = data
    drawn = load_backbone(str(miniature(kind)), init="random")
    pretrained = load_backbone(str(miniature(kind)))
    assert drawn.fingerprint != pretrained.fingerprint
    shapes = [{n: p.shape for n, p in b.model.named_parameters()} for b in (drawn, pretrained)]
    assert shapes[0] == shapes[1]
    control = PLMLoRARegressor(str(miniature(kind)), backbone_init="random", **TUNING).fit(X, y)
    assert control.backbone_fingerprint_ == drawn.fingerprint
    assert np.isfinite(control.predict(X)).all()


# -- what is refused ------------------------------------------------------------------------------


@kinds
def test_a_missing_tensor_is_an_error(miniature, kind, tmp_path):
    folder = Path(shutil.copytree(miniature(kind), tmp_path / "spoilt"))
    weights = load_file(folder / "model.safetensors")
    backbone = load_backbone(str(miniature(kind)))
    path = f"{backbone.architecture.layers}.1.{backbone.targets['key'][0]}.weight"
    key = next(name for name in weights if name.endswith(path))
    del weights[key]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneWeightsError, match=rf"1 tensors.*{re.escape(path)}"):
        load_backbone(str(folder))


@pytest.mark.parametrize("kind", T5)
def test_t5_refuses_half_precision_and_says_what_to_do(miniature, kind):
    with pytest.raises(ValueError, match=r"precision='fp16'.*fp32 or bf16. Pass precision='bf16'"):
        load_backbone(str(miniature(kind)), precision="fp16")


@kinds
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_norms_are_float32_in_every_precision(miniature, kind, precision):
    backbone = load_backbone(str(miniature(kind)), precision=precision)
    assert precision in backbone.architecture.precisions
    for name, tensor in backbone.model.named_parameters():
        expected = torch.float32 if "norm" in name.lower() else backbone.dtype
        assert tensor.dtype == expected, name


def test_a_sentencepiece_tokenizer_names_the_packages_it_takes(miniature, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(miniature("prott5"), tmp_path / "spiece"))
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer"}))
    (folder / "spiece.model").write_bytes(b"\x0a\x00")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ImportError, match=r'pip install "plmlearn\[t5\]"'):
        load_backbone(str(folder))


def test_an_architecture_that_this_transformers_lacks(miniature, monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "esmc", replace(ARCHITECTURES["esmc"], model_class="EsmcOfTheFuture"))
    with pytest.raises(ImportError, match="pip install --upgrade transformers"):
        load_backbone(str(miniature("esmc")))


def test_positions_end_where_esm1b_has_no_more(make_esm, tmp_path):
    """258 positions less 2 unused ones and 2 special tokens."""
    folder = str(make_esm(tmp_path, position_embedding_type="absolute", emb_layer_norm_before=True))
    assert PLMEmbedder(folder).fit_transform(["A" * 254]).shape == (1, 32)
    with pytest.raises(ValueError, match=r"255 residues.*positions for 254. Pass max_length=254"):
        PLMEmbedder(folder).fit_transform(["A" * 255])
    windows = PLMEmbedder(folder, max_length=254, long_sequences="window", pooling=None)
    assert windows.fit_transform(["A" * 255])[0].shape == (255, 32)


# -- the table ------------------------------------------------------------------------------------


def test_every_short_name_is_an_id_of_the_hub():
    for name, checkpoint in CHECKPOINTS.items():
        place, _, alphabet = checkpoint.place.partition("#")
        assert re.fullmatch(r"[\w-]+/[\w.-]+", place), name
        assert resolve_name(name) == (place, alphabet or "aa")


@pytest.mark.parametrize(
    "name", ["prott5", "prostt5", "ankh-base", "ankh-large", "esm1b", "esm1v", "esmc-300m"]
)
def test_short_names_of_the_papers_are_there(name):
    assert name in CHECKPOINTS


def test_every_family_has_an_encoder():
    assert ENCODERS.keys() == ARCHITECTURES.keys()


@pytest.fixture
def pickled_repository(miniature, tmp_path, monkeypatch):
    """A repository that holds pickled weights on main, and safetensors in a request of the hub's robot."""
    main = Path(shutil.copytree(miniature("prott5"), tmp_path / "main"))
    (main / "model.safetensors").unlink()
    asked = []

    def download(revision=None, local_files_only=False, **options):
        asked.append(revision)
        return str({None: main, "refs/pr/4": miniature("prott5")}[revision])

    monkeypatch.setattr(loading, "snapshot_download", download)
    return asked


def discussions(*rows):
    return lambda place, **filters: [
        SimpleNamespace(title=title, status=status, git_reference=ref) for title, status, ref in rows
    ]


def test_weights_that_the_hub_has_converted_are_found(pickled_repository, miniature, monkeypatch):
    rows = [
        ("Fix typo", "open", "refs/pr/3"),
        ("Adding `safetensors` variant of this model", "open", "refs/pr/4"),
    ]
    monkeypatch.setattr(loading, "get_repo_discussions", discussions(*rows))
    found = load_backbone("Rostlab/prot_t5_xl_half_uniref50-enc")
    assert pickled_repository[-1] == "refs/pr/4"
    assert found.fingerprint == load_backbone(str(miniature("prott5"))).fingerprint


def test_a_classifier_of_t5_survives_a_pickle(miniature, data):
    X, y = data
    classifier = PLMLoRAClassifier(str(miniature("prostt5")), **TUNING).fit(X, y > np.median(y))
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))


@pytest.mark.parametrize("kind", ["esm2", "esmc", "prott5"])
@pytest.mark.parametrize("adapter", [Frozen(), LoRA(last_n_layers=1), LoRA()], ids=str)
def test_mixed_layers_train_with_every_method_and_are_kept(miniature, kind, adapter, data):
    """The weights move, a pickle and a new process give the same, and nothing kept goes stale."""
    X, y = data
    model = PLMRegressor(str(miniature(kind)), adapter=adapter, layer_mixing=True, **TUNING | {"epochs": 3})
    model.fit(X, y)
    assert model._restored().module.encoder.mixing.weights.abs().min() > 0
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert (
        model.memory_estimate(X).activations
        > clone(model).set_params(layer_mixing=False).memory_estimate(X).activations
    )


@pytest.mark.parametrize("pooling", ["attention", "light_attention"])
@pytest.mark.parametrize("head", ["esm", "relu"])
def test_learned_poolings_and_heads_in_a_grid(miniature, data, pooling, head):
    X, y = data
    search = GridSearchCV(
        PLMRegressor(str(miniature("prott5")), adapter=Frozen(), **TUNING),
        {"pooling": [pooling], "head": [head], "head_hidden": [4], "head_dropout": [0.2]},
        cv=2,
        error_score="raise",
    ).fit(X, y)
    best = search.best_estimator_
    again = pickle.loads(pickle.dumps(best))
    np.testing.assert_array_equal(again.predict(X), best.predict(X))
    assert best.transform(X).shape == (len(X), 32 if pooling == "attention" else 64)


@pytest.mark.parametrize("kind", ["prott5", "ankh"])
def test_t5_has_no_cls(miniature, kind):
    with pytest.raises(ValueError, match="pass pooling='mean'"):
        PLMEmbedder(str(miniature(kind)), pooling="cls").fit_transform(["MKV"])


@pytest.mark.filterwarnings("ignore::plmlearn.model_selection.PairWarning")
def test_pairs_take_light_attention(miniature, data):
    X, y = data
    pairs = np.array([X, X[::-1]], dtype=object).T
    model = PLMPairClassifier(str(miniature("esm2")), pooling="light_attention", adapter=Frozen(), **TUNING)
    assert model.fit(pairs, y > np.median(y)).predict_proba(pairs).shape == (len(X), 2)


# -- checkpoints of other tools -------------------------------------------------------------------


def test_dplm_is_an_esm_without_token_dropout(make_esm, tmp_path):
    folder = make_esm(tmp_path, token_dropout=False)
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["EsmForDPLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    found = PLMEmbedder(folder, pooling=None, precision="fp32").fit_transform(["MKTAYIAKQR"])[0]
    inputs = official(folder)("MKTAYIAKQR", return_tensors="pt")
    model = transformers.EsmModel.from_pretrained(folder, add_pooling_layer=False).eval()
    with torch.no_grad():
        np.testing.assert_allclose(found, model(**inputs).last_hidden_state[0, 1:-1], atol=2e-5)


@pytest.mark.parametrize("kind", ["esm2", "bert", "prott5"])
def test_a_folder_cut_to_fewer_layers(miniature, kind, tmp_path):
    """By its configuration alone, with all layers left in the file, and by a tool that drops them."""
    folder = Path(shutil.copytree(miniature(kind), tmp_path / "cut"))
    config = json.loads((folder / "config.json").read_text())
    config |= {name: 2 for name in ("num_hidden_layers", "num_layers") if name in config}
    (folder / "config.json").write_text(json.dumps(config))
    cut = load_backbone(folder)
    assert cut.n_layers == 2
    cut.model.save_pretrained(tmp_path / "dropped")
    official(folder).save_pretrained(tmp_path / "dropped")
    dropped = load_backbone(tmp_path / "dropped")
    X = ["MKTAYIAKQR", "GSH"]
    lowest = {"n_layers": 1, "final_norm": False, "pooling": None, "precision": "fp32"}
    whole = PLMEmbedder(miniature(kind), **lowest).fit_transform(X)
    for backbone in (cut, dropped):
        below = PLMEmbedder(backbone.folder, **lowest).fit_transform(X)
        np.testing.assert_array_equal(np.concatenate(below), np.concatenate(whole))
        last = PLMEmbedder(backbone.folder, pooling=None, precision="fp32").fit_transform(X)
        assert np.abs(np.concatenate(last) - np.concatenate(whole)).max() > 0.01


def write_words(folder: Path, tokens: list[str]) -> Path:
    """A BERT whose tokenizer has other tokens."""
    vocabulary = {token: i for i, token in enumerate(tokens)}
    transformers.BertTokenizer(vocab=vocabulary, do_lower_case=False).save_pretrained(folder)
    return folder


SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def test_a_wrong_vocabulary_is_refused(write_miniature, tmp_path):
    write_miniature("bert", tmp_path)
    words = [f"word{i}" for i in range(2000)]
    with pytest.raises(ValueError, match=r"vocabulary \(2030 tokens\) is one of words"):
        load_backbone(write_words(tmp_path, [*SPECIAL, *LETTERS, *words]))
    with pytest.raises(ValueError, match=r"vocabulary \(6 tokens\) lacks tokens of amino acids"):
        load_backbone(write_words(tmp_path, [*SPECIAL, "protein"]))
    with pytest.raises(
        BackboneWeightsError, match=r"token ids up to 129, and the model has embeddings for 0 to 39"
    ):
        load_backbone(write_words(tmp_path, [*SPECIAL, *words[:100], *LETTERS]))


def test_an_antibody_model_of_25_tokens_reads_x_as_unknown(write_miniature, tmp_path):
    """AntiBERTy has tokens for the 20 residues alone."""
    folder = write_words(write_miniature("bert", tmp_path), [*SPECIAL, *"ACDEFGHIKLMNPQRSTVWY"])
    ids, _ = load_backbone(folder).tokenize(["MXV"])
    assert ids.tolist() == official(folder)("M X V")["input_ids"] == [2, 15, 1, 22, 3]


VARIANTS = [
    ("bert", "BertModel", {"is_decoder": True}),
    ("bert", "BertModel", {"position_embedding_type": "relative_key"}),
    ("bert", "BertModel", {"hidden_act": "tanh"}),
    ("esmc", "EsmcModel", {"hidden_act": "gelu"}),
    ("esmc", "EsmcModel", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}),
    ("prott5", "T5EncoderModel", {"dense_act_fn": "gelu_pytorch_tanh"}),
    ("prott5", "T5EncoderModel", {"feed_forward_proj": "tanh", "dense_act_fn": "tanh"}),
]


@pytest.mark.parametrize("kind, model_class, change", VARIANTS, ids=map(str, range(len(VARIANTS))))
def test_a_variant_that_is_computed_otherwise_is_refused(
    write_miniature, tmp_path, kind, model_class, change
):
    folder = write_miniature(kind, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    field = r"rope_parameters\.rope_type|dense_act_fn|" + next(iter(change))
    with pytest.raises(BackboneWeightsError, match=f"does not compute a {model_class} with ({field})="):
        load_backbone(folder)


def test_positions_of_bert_end_where_its_table_ends(miniature):
    """258 positions less 2 special tokens."""
    embedder = PLMEmbedder(miniature("bert")).fit(["MKV"])
    assert embedder.transform(["A" * 256]).shape == (1, 32)
    with pytest.raises(ValueError, match=r"257 residues.*positions for 256. Pass max_length=256"):
        embedder.transform(["A" * 257])
