"""Weights as people publish them: every format and prefix is read, and nothing but tensors."""

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from folders import change_config, change_weights
from safetensors.torch import load_file, save_file

from plmlearn import PLMEmbedder
from plmlearn.backbones import BackboneNotFoundError, BackboneWeightsError, load_backbone

pytestmark = pytest.mark.usefixtures("fresh")

PROTEINS = ["MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ", "GSHMA"]


def stored(folder: Path) -> dict:
    return load_file(folder / "model.safetensors")


def write_pickled(folder: Path, content=None, **options) -> Path:
    """The folder with its weights (or ``content``) in ``pytorch_model.bin`` alone."""
    content = stored(folder) if content is None else content
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin", **options)
    return folder


def write_shards(folder: Path, suffix: str = "safetensors") -> Path:
    """The folder with its weights in two files and an index; the index."""
    weights = stored(folder)
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    write, weight_map = (save_file if suffix == "safetensors" else torch.save), {}
    for i in range(2):
        part = {name: weights[name] for name in sorted(weights)[i::2]}
        file = f"{stem}-0000{i + 1}-of-00002.{suffix}"
        write(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors").unlink()
    index = folder / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


# -- formats --------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_tensors_are_read(esm_folder, folder, zipped):
    write_pickled(folder, _use_new_zipfile_serialization=zipped)
    found, expected = load_backbone(folder), load_backbone(esm_folder)
    assert found.fingerprint == expected.fingerprint
    for name, tensor in expected.model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], tensor), name


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_are_read(esm_folder, folder, suffix):
    write_shards(folder, suffix)
    assert load_backbone(folder).fingerprint == load_backbone(esm_folder).fingerprint


def test_safetensors_are_preferred(folder):
    (folder / "pytorch_model.bin").write_bytes(b"not weights")
    assert load_backbone(folder).n_layers == 3


def test_a_checkpoint_of_lightning_is_read(esm_folder, folder):
    tensors = {f"model.{name}": tensor for name, tensor in stored(folder).items()}
    whole = {"epoch": 3, "state_dict": tensors, "optimizer_states": [{"lr": 0.1}], "loops": {}}
    (folder / "model.safetensors").unlink()
    torch.save(whole, folder / "epoch=3.ckpt")
    with pytest.warns(UserWarning, match=r"stored under 'model\.esm\.'"):
        found = load_backbone(folder)
    assert found.fingerprint == load_backbone(esm_folder).fingerprint


def test_several_checkpoints_of_lightning_are_refused(folder):
    (folder / "model.safetensors").unlink()
    for epoch in (1, 2):
        torch.save({}, folder / f"epoch={epoch}.ckpt")
    with pytest.raises(BackboneWeightsError, match=r"holds 2 \*\.ckpt files; keep the one"):
        load_backbone(folder)


def test_float64_and_float16_are_read(folder):
    change_weights(folder, lambda weights: weights.update({k: x.double() for k, x in weights.items()}))
    exact = load_backbone(folder).model.state_dict()
    change_weights(folder, lambda weights: weights.update({k: x.half() for k, x in weights.items()}))
    for name, tensor in load_backbone(folder).model.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, exact[name].half().float()), name


def test_a_file_written_anew_leaves_a_loaded_backbone_alone(folder):
    """Files are mapped while they are read, and no longer."""
    backbone = load_backbone(write_pickled(folder))
    before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    with open(folder / "pytorch_model.bin", "r+b") as file:
        file.write(bytes(file.seek(0, os.SEEK_END)))
        file.seek(0)
        file.write(bytes(os.path.getsize(folder / "pytorch_model.bin")))
    for name, tensor in backbone.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


# -- what is refused ------------------------------------------------------------------------------


class Hostile:
    """Touches a file when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("write", ["zip", "old", "raw", "inside"])
def test_a_hostile_pickle_is_refused_and_does_nothing(folder, tmp_path, write):
    mark, hostile = tmp_path / "executed", Hostile(tmp_path / "executed")
    if write == "raw":
        write_pickled(folder, {})
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(hostile))
    else:
        content = stored(folder) | {"x": hostile} if write == "inside" else hostile
        write_pickled(folder, content, _use_new_zipfile_serialization=write != "old")
    with pytest.raises(BackboneWeightsError, match=r"pytorch_model\.bin cannot be read: it ") as caught:
        load_backbone(folder)
    assert not mark.exists()
    assert "weights_only" not in str(caught.value)
    if write == "inside":
        assert "asks for posix.mkdir; only tensors are read" in str(caught.value)
    pickle.loads(pickle.dumps(hostile))
    assert mark.exists()  # the pickle would have done it


NOT_TENSORS = {
    "a number": ({"epoch": 3}, r"entry 'epoch' is a int; expected a dense tensor"),
    "a dict": ({"epoch": 3, "model": {"x": torch.zeros(1)}}, "entry 'model' is a dict.*save that dict alone"),
    "a sparse tensor": ({"x": torch.zeros(2, 2).to_sparse()}, "entry 'x' is a Tensor; expected a dense"),
    "no name": ({3: torch.zeros(1)}, "entry 3 is a Tensor"),
    "one tensor": (torch.zeros(3), "it holds one Tensor; expected a dict of tensors"),
    "a list": ([torch.zeros(3)], "it holds one list"),
}


@pytest.mark.parametrize("content, message", NOT_TENSORS.values(), ids=NOT_TENSORS)
def test_anything_but_tensors_is_named(folder, content, message):
    with pytest.raises(BackboneWeightsError, match=message):
        load_backbone(write_pickled(folder, content))


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, -100, -1])
@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_pickled_weights_are_refused(folder, keep, zipped):
    file = write_pickled(folder, _use_new_zipfile_serialization=zipped) / "pytorch_model.bin"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(BackboneWeightsError, match=r"pytorch_model\.bin cannot be read: it is damaged"):
        load_backbone(folder)


BAD_NAMES = [
    "../model.safetensors",
    "/etc/passwd",
    "sub/x.safetensors",
    "..",
    "x.bin",
    "",
    3,
    "a\\b.safetensors",
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_an_index_may_not_point_elsewhere(folder, name):
    index = write_shards(folder)
    shutil.copy(index.with_name("model-00001-of-00002.safetensors"), folder.parent / "model.safetensors")
    content = json.loads(index.read_text())
    content["weight_map"] = dict.fromkeys(content["weight_map"], name)
    index.write_text(json.dumps(content))
    with pytest.raises(BackboneWeightsError, match=r"index\.json cannot be read: it names .*in this folder"):
        load_backbone(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": []}}'])
def test_a_damaged_index_is_refused(folder, text):
    write_shards(folder).write_text(text)
    with pytest.raises(BackboneWeightsError, match=r"index\.json cannot be read"):
        load_backbone(folder)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_a_missing_shard_is_named(folder, suffix):
    write_shards(folder, suffix)
    shard = next(folder.glob(f"*-00002-of-00002.{suffix}"))
    shard.unlink()
    with pytest.raises(BackboneWeightsError, match=f"{shard.name} cannot be read"):
        load_backbone(folder)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"])
def test_an_adapter_beside_a_backbone_is_refused(folder, name):
    """transformers would load it through peft, whose settings can name a module to import."""
    evil = {"peft_type": "LORA", "megatron_config": {"x": 1}, "megatron_core": "evil.code"}
    (folder / name).write_text(json.dumps(evil))
    with pytest.raises(BackboneWeightsError, match=rf"holds a peft adapter \({name}\).*merge_and_unload"):
        load_backbone(folder)


def test_quantized_weights_are_refused(folder):
    change_weights(folder, lambda weights: weights.update({k: x.to(torch.int8) for k, x in weights.items()}))
    with pytest.raises(BackboneWeightsError, match="tensors of EsmModel are missing from its weights"):
        load_backbone(folder)
    change_config(folder, quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    with pytest.raises(BackboneWeightsError, match="is a quantized checkpoint"):
        load_backbone(folder)


# -- the configuration ----------------------------------------------------------------------------


def test_a_configuration_chooses_no_code(esm_folder, folder):
    evil = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    change_config(folder, auto_map=evil, attn_implementation="someone/kernel", fusion_config={"x": 1})
    (folder / "evil.py").write_text("raise SystemExit('executed')")
    assert load_backbone(folder).fingerprint == load_backbone(esm_folder).fingerprint


def test_a_tokenizer_brings_no_code(folder):
    file = folder / "tokenizer_config.json"
    fields = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    (folder / "evil.py").write_text("raise SystemExit('executed')")
    with pytest.raises(BackboneNotFoundError, match="holds no tokenizer"):
        load_backbone(folder)


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", "\xff"])
def test_a_damaged_configuration_is_refused(folder, text):
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BackboneWeightsError, match=r"config\.json is no JSON object"):
        load_backbone(folder)


@pytest.mark.parametrize(
    "fields",
    [
        {"num_attention_heads": 5},
        {"hidden_size": "wide"},
        {"hidden_size": -1},
        {"num_hidden_layers": 0},
        {"num_hidden_layers": 10**6},
    ],
)
def test_a_configuration_of_no_model_is_refused(folder, fields):
    change_config(folder, **fields)
    with pytest.raises(BackboneWeightsError, match=r"config\.json describes no model"):
        load_backbone(folder)


# -- names of tensors -----------------------------------------------------------------------------


def rename(folder: Path, prefix: str) -> None:
    """Store the encoder's tensors under another prefix than "esm."."""
    weights = {name.removeprefix("esm."): tensor for name, tensor in stored(folder).items()}
    save_file({f"{prefix}{name}": tensor for name, tensor in weights.items()}, folder / "model.safetensors")


PREFIXES = ["model.", "module.", "bert.", "encoder.", "base_model.model.esm.", "net.0.plm.esm."]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_prefix_of_names_is_found_and_told(esm_folder, folder, prefix):
    rename(folder, prefix)
    with pytest.warns(UserWarning, match=rf"stored under '{prefix}'; they are read without") as told:
        found = load_backbone(folder)
    assert len(told) == 1
    assert found.fingerprint == load_backbone(esm_folder).fingerprint
    load_backbone(folder)  # told once


@pytest.mark.parametrize("prefix", ["", "esm."])
def test_prefixes_of_transformers_are_not_worth_a_word(esm_folder, folder, prefix):
    rename(folder, prefix)
    assert load_backbone(folder).fingerprint == load_backbone(esm_folder).fingerprint


def test_two_whole_encoders_are_refused(folder):
    change_weights(
        folder, lambda weights: weights.update({f"teacher.{k}": x.clone() for k, x in weights.items()})
    )
    with pytest.raises(BackboneWeightsError, match=r"2 whole encoders, under '(teacher\.)?esm\.' and '"):
        load_backbone(folder)


def test_part_of_a_second_encoder_is_no_obstacle(esm_folder, folder):
    def add(weights):
        part = {f"old.{k}": x.clone() for k, x in weights.items() if "layer.0" in k}
        weights.update(part)

    change_weights(folder, add)
    assert load_backbone(folder).fingerprint == load_backbone(esm_folder).fingerprint


@pytest.mark.parametrize(
    "model_class", ["EsmForSequenceClassification", "EsmForTokenClassification", "EsmModel"]
)
def test_heads_and_poolers_are_no_obstacle(esm_folder, folder, model_class):
    options = {"add_pooling_layer": True} if model_class == "EsmModel" else {"num_labels": 3}
    with torch.random.fork_rng():
        model = getattr(transformers, model_class).from_pretrained(esm_folder, **options)
    model.save_pretrained(folder)
    assert load_backbone(folder).fingerprint == load_backbone(esm_folder).fingerprint


@pytest.mark.parametrize("alone", ["shared.weight", "encoder.embed_tokens.weight"])
def test_tied_embeddings_may_have_either_name(miniature, tmp_path, alone):
    folder = Path(shutil.copytree(miniature("prott5"), tmp_path / "t5"))

    def keep_one(weights):
        tensor = weights.pop("shared.weight")
        weights.pop("encoder.embed_tokens.weight", None)
        weights[alone] = tensor

    change_weights(folder, keep_one)
    assert load_backbone(folder).fingerprint == load_backbone(miniature("prott5")).fingerprint


def test_old_names_of_norms_are_read(esm_folder, folder):
    def rename_norms(weights):
        for name in [name for name in weights if "LayerNorm." in name]:
            new = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            )
            weights[new] = weights.pop(name)

    change_weights(folder, rename_norms)
    assert load_backbone(folder).fingerprint == load_backbone(esm_folder).fingerprint


# -- rotary frequencies ---------------------------------------------------------------------------

EXACT = 10000.0 ** -(np.arange(0, 8, 2) / 8)


def frequencies(folder: Path, **options) -> torch.Tensor:
    return load_backbone(folder, **options).model.rotary_embeddings.inv_freq


def set_frequencies(folder: Path, *values: torch.Tensor) -> None:
    """Store these frequencies, those of each layer in turn."""

    def change(weights):
        for name in [name for name in weights if name.endswith("inv_freq")]:
            del weights[name]
        for i, value in enumerate(values):
            weights[f"esm.encoder.layer.{i}.attention.self.rotary_embeddings.inv_freq"] = value

    change_weights(folder, change)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_frequencies_are_the_stored_ones_in_every_precision(folder, precision):
    rounded = torch.tensor(EXACT).half().float()
    set_frequencies(folder, *[rounded.clone() for _ in range(3)])
    assert torch.equal(frequencies(folder, precision=precision), rounded)


@pytest.mark.parametrize("init", ["pretrained", "random"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_frequencies_that_are_not_stored_are_computed(folder, precision, init):
    set_frequencies(folder)
    found = frequencies(folder, precision=precision, init=init)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, EXACT, rtol=1e-6)


def test_frequencies_must_be_the_same_in_all_layers(folder):
    set_frequencies(folder, torch.tensor(EXACT), torch.tensor(EXACT) * 1.01)
    with pytest.raises(BackboneWeightsError, match=r"rotary frequencies .* differ between layers"):
        load_backbone(folder)
    set_frequencies(folder, torch.ones(3))
    with pytest.raises(BackboneWeightsError, match=r"another shape than \(4,\)"):
        load_backbone(folder)


# -- equal to transformers ------------------------------------------------------------------------


def worst_difference(folder: Path, n_residues: int) -> float:
    """Largest relative difference of a residue's last hidden state from that of transformers."""
    rng = np.random.default_rng(n_residues)
    sequence = "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), n_residues))
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(sequence, return_tensors="pt")
    model = transformers.EsmModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.float32).eval()
    with torch.no_grad():
        expected = model(**tokens).last_hidden_state[0, 1:-1].numpy()
    embedder = PLMEmbedder(str(folder), pooling=None, precision="fp32", max_length=n_residues)
    difference = embedder.fit_transform([sequence])[0] - expected
    return float((np.linalg.norm(difference, axis=1) / np.linalg.norm(expected, axis=1)).max())


@pytest.mark.parametrize("n_residues", [30, 300, 1000])
@pytest.mark.parametrize("kind", ["as saved", "rounded", "not stored"])
def test_long_proteins_equal_transformers(empty_cache, make_esm, tmp_path, kind, n_residues):
    folder = make_esm(tmp_path, max_position_embeddings=1026)
    if kind != "as saved":
        rounded = torch.tensor(EXACT).half().float()
        set_frequencies(folder, *[rounded.clone() for _ in range(3 if kind == "rounded" else 0)])
    assert worst_difference(folder, n_residues) < 1e-5


@pytest.mark.parametrize("n_residues", [30, 100, 300, 1000])
def test_a_published_checkpoint_equals_transformers(empty_cache, real_backbone, n_residues):
    assert worst_difference(real_backbone, n_residues) < 1e-5


@pytest.mark.parametrize("n_residues", [30, 1000])
def test_mini_equals_transformers(empty_cache, n_residues):
    assert worst_difference(load_backbone("mini").folder, n_residues) < 1e-5


def test_a_published_checkpoint_without_its_frequencies(empty_cache, real_backbone, tmp_path):
    for name in ("config.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(real_backbone / name, tmp_path)
    whole = torch.load(real_backbone / "pytorch_model.bin", weights_only=True)
    part = {name: tensor for name, tensor in whole.items() if not name.endswith("inv_freq")}
    torch.save(part, tmp_path / "pytorch_model.bin")
    assert worst_difference(tmp_path, 1000) < 1e-5
