"""Finding, reading and sharing backbones: tokens as the official tokenizer's, weights whole or refused."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
import transformers
from folders import change_weights
from huggingface_hub.errors import LocalEntryNotFoundError
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from sklearn.base import clone

from plmlearn import PLMEmbedder, load, save
from plmlearn.backbones import (
    BackboneNotFoundError,
    BackboneWeightsError,
    download_backbone,
    load_backbone,
    loading,
    unload_backbones,
)
from plmlearn.backbones.architectures import CHECKPOINTS
from plmlearn.backbones.loading import resolve_name

LETTERS = "ACDEFGHIKLMNPQRSTVWYXBUZO"
CONTACT_HEAD = "esm.contact_head."


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    """No test may reach the hub, and none sees what another has loaded."""

    def refuse(**options):
        raise LocalEntryNotFoundError("no network in tests")

    monkeypatch.setattr(loading, "snapshot_download", refuse)
    unload_backbones()
    yield
    unload_backbones()


# -- tokens ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def official(esm_folder):
    return transformers.EsmTokenizer.from_pretrained(esm_folder)


@given(sequences=st.lists(st.text(LETTERS, min_size=1, max_size=40), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_tokens_are_those_of_the_official_tokenizer(official, sequences):
    ids, lengths = load_backbone("mini").tokenize(sequences)
    expected = [official(sequence)["input_ids"] for sequence in sequences]
    assert lengths.tolist() == [len(row) for row in expected]
    assert ids.tolist() == [token for row in expected for token in row]


def test_every_letter_has_a_token_of_its_own(official):
    ids, lengths = load_backbone("mini").tokenize([LETTERS])
    assert lengths.tolist() == [27]
    assert len(set(ids.tolist())) == 27
    assert official.unk_token_id not in ids


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda s: np.array(s, dtype=object)])
def test_any_sequence_of_strings_is_tokenised(kind):
    ids, lengths = load_backbone("mini").tokenize(kind(["MKV", "A"]))
    assert ids.tolist() == [0, 20, 15, 7, 2, 0, 5, 2]
    assert lengths.tolist() == [5, 3]


def test_no_sequences_have_no_tokens():
    ids, lengths = load_backbone("mini").tokenize([])
    assert len(ids) == len(lengths) == 0


# -- names ----------------------------------------------------------------------------------------


def test_short_names_stand_for_hugging_face_ids():
    assert resolve_name("esm2-650m") == (CHECKPOINTS["esm2-650m"].place, "aa")
    assert CHECKPOINTS["esm2-650m"].place == "facebook/esm2_t33_650M_UR50D"
    assert resolve_name("someone/some-model") == ("someone/some-model", "aa")


def test_a_folder_is_a_name(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert resolve_name("esm") == resolve_name(f"{folder}/") == (str(folder), "aa")


def test_a_path_and_the_home_folder_are_names(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert load_backbone(folder) is load_backbone("~/esm") is load_backbone(str(folder))
    assert load_backbone(folder).name == str(folder)


def test_estimators_take_a_path_and_keep_it(folder, tmp_path):
    embedder = PLMEmbedder(folder).fit(["MKV"])
    again = load(save(embedder, tmp_path / "saved"))
    assert again.backbone == str(folder)
    for other in (clone(embedder).fit(["MKV"]), again):
        np.testing.assert_array_equal(other.transform(["MKV"]), embedder.transform(["MKV"]))


def test_a_folder_named_like_published_weights_wins_and_is_told(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    folder.rename("esm2-8m")
    with pytest.warns(UserWarning, match=r"backbone='esm2-8m' is read from the folder .*esm2-8m, not from"):
        assert load_backbone("esm2-8m").n_layers == 3


def test_a_folder_without_a_checkpoint_is_no_backbone(tmp_path, monkeypatch):
    """Results are often kept in folders named after a model."""
    monkeypatch.chdir(tmp_path)
    Path("esm2-8m").mkdir()
    assert resolve_name("esm2-8m") == ("facebook/esm2_t6_8M_UR50D", "aa")


MISSPELT = [("esm2-8M", "esm2-8m"), ("esm2_650m", "esm2-650m"), ("minni", "mini")]


@pytest.mark.parametrize("name, near", MISSPELT)
def test_unknown_names_are_met_with_a_suggestion(name, near):
    with pytest.raises(BackboneNotFoundError, match=rf"Unknown backbone '{name}'.*Did you mean '{near}'\?"):
        load_backbone(name)


@pytest.mark.parametrize("name", ["/nowhere/at/all", "./nowhere", "protein transformer"])
def test_unknown_names_list_what_there_is(name):
    with pytest.raises(BackboneNotFoundError, match=r"neither a folder.*mini, esm2-8m"):
        load_backbone(name)


@pytest.mark.parametrize("name", [None, "", 3])
def test_names_are_strings(name):
    with pytest.raises(TypeError, match="a name or a folder"):
        load_backbone(name)


# -- what a folder must hold ----------------------------------------------------------------------


def test_the_family_comes_from_the_configuration_and_not_from_the_name(esm_folder, tmp_path):
    renamed = shutil.copytree(esm_folder, tmp_path / "my_t5_model")
    backbone = load_backbone(str(renamed))
    assert type(backbone.model).__name__ == "EsmModel"
    assert (backbone.n_layers, backbone.config.hidden_size) == (3, 32)
    assert backbone.n_parameters == sum(p.numel() for p in backbone.model.parameters())


def test_an_unknown_family_is_named(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "roformer"}))
    with pytest.raises(ValueError, match=r"architecture 'roformer' \(config.model_type\).*knows bert, esm"):
        load_backbone(str(folder))


def test_a_folder_without_configuration_is_refused(folder):
    (folder / "config.json").unlink()
    with pytest.raises(BackboneNotFoundError, match=r"no config\.json"):
        load_backbone(str(folder))


def test_a_folder_without_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(BackboneNotFoundError, match=r"no weights; expected model\.safetensors or py"):
        load_backbone(str(folder))


def test_a_folder_without_tokenizer_is_refused(folder):
    (folder / "vocab.txt").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(BackboneNotFoundError, match="tokenizer"):
        load_backbone(str(folder))


MISSING = [
    "esm.embeddings.word_embeddings.weight",
    "esm.encoder.layer.1.attention.self.key.weight",
    "esm.encoder.emb_layer_norm_after.bias",
]


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_tensor_is_named(folder, name):
    change_weights(folder, lambda weights: weights.pop(name))
    with pytest.raises(BackboneWeightsError, match=rf"1 tensors.*{name.removeprefix('esm.')}"):
        load_backbone(str(folder))


def test_the_contact_head_may_be_missing(esm_folder, folder):
    def drop(weights):
        for name in [name for name in weights if name.startswith(CONTACT_HEAD)]:
            del weights[name]

    change_weights(folder, drop)
    assert load_backbone(str(folder)).fingerprint == load_backbone(str(esm_folder)).fingerprint


def test_a_tensor_of_another_shape_is_named(folder):
    name = "esm.encoder.layer.0.intermediate.dense.weight"
    change_weights(folder, lambda weights: weights.update({name: weights[name][:50].clone()}))
    with pytest.raises(BackboneWeightsError, match=r"encoder\.layer\.0\.intermediate\.dense\.weight"):
        load_backbone(str(folder))


@pytest.mark.parametrize("spoil", [lambda b: b"not weights", lambda b: b[:-100], lambda b: b""])
def test_damaged_weights_are_refused(folder, spoil):
    file = folder / "model.safetensors"
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(BackboneWeightsError, match="cannot be read"):
        load_backbone(str(folder))


# -- one frozen copy per process ------------------------------------------------------------------


def test_a_backbone_is_loaded_once(esm_folder, monkeypatch):
    first = load_backbone(str(esm_folder))
    monkeypatch.chdir(esm_folder.parent)
    assert load_backbone(esm_folder.name) is first
    assert load_backbone(str(esm_folder), device="cpu", precision="fp32") is first
    unload_backbones()
    assert load_backbone(str(esm_folder)) is not first


def test_precisions_are_separate_and_norms_are_float32(esm_folder):
    fp32, bf16 = (load_backbone(str(esm_folder), precision=p) for p in ("fp32", "bf16"))
    assert fp32 is not bf16
    for name, tensor in bf16.model.named_parameters():
        is_norm = "LayerNorm" in name or "layer_norm" in name
        assert tensor.dtype == (torch.float32 if is_norm else torch.bfloat16), name
    assert {p.dtype for p in fp32.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_backbones_are_frozen_and_in_evaluation_mode(esm_folder, precision):
    model = load_backbone(str(esm_folder), precision=precision).model
    assert not any(p.requires_grad for p in model.parameters())
    assert not any(module.training for module in model.modules())


def test_weights_are_those_of_the_file(esm_folder):
    stored = load_file(esm_folder / "model.safetensors")
    model = load_backbone(str(esm_folder)).model
    key = "encoder.layer.2.attention.self.key.weight"
    assert torch.equal(model.get_parameter(key), stored[f"esm.{key}"])


def test_a_shared_model_has_its_own_modules_over_the_same_tensors(esm_folder):
    backbone = load_backbone(str(esm_folder))
    shared = backbone.share()
    pairs = list(zip(shared.parameters(), backbone.model.parameters(), strict=True))
    assert all(a.data_ptr() == b.data_ptr() for a, b in pairs)
    assert not {id(m) for m in shared.modules()} & {id(m) for m in backbone.model.modules()}


def test_a_folder_written_anew_is_read_anew(tmp_path, make_esm):
    first = load_backbone(str(make_esm(tmp_path, seed=0)))
    second = load_backbone(str(make_esm(tmp_path, seed=1)))
    assert second.fingerprint != first.fingerprint
    assert list(loading._loaded.values()) == [second]  # the memory of the first is free


def test_loading_is_silent_and_leaves_the_library_as_it_was(esm_folder, capfd):
    log = transformers.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    load_backbone(str(esm_folder))
    assert capfd.readouterr() == ("", "")
    assert (log.get_verbosity(), log.is_progress_bar_enabled()) == (verbosity, bars)


# -- files of weights -----------------------------------------------------------------------------


def write_shards(esm_folder: Path, tmp_path: Path) -> Path:
    """The small ESM in several files of weights with an index."""
    folder = Path(shutil.copytree(esm_folder, tmp_path / "sharded"))
    (folder / "model.safetensors").unlink()
    load_backbone(str(esm_folder)).model.save_pretrained(folder, max_shard_size="30KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder


def test_weights_may_lie_in_several_files(esm_folder, tmp_path):
    folder = write_shards(esm_folder, tmp_path)
    assert load_backbone(str(folder)).fingerprint == load_backbone(str(esm_folder)).fingerprint
    next(folder.glob("*.safetensors")).unlink()
    with pytest.raises(BackboneWeightsError, match="cannot be read"):
        load_backbone(str(folder))


# -- random weights -------------------------------------------------------------------------------


def test_random_weights_keep_the_architecture_and_are_always_the_same(esm_folder):
    torch.manual_seed(7)
    state = torch.get_rng_state()
    pretrained = load_backbone(str(esm_folder))
    first = load_backbone(str(esm_folder), init="random")
    assert torch.equal(torch.get_rng_state(), state)
    unload_backbones()
    second = load_backbone(str(esm_folder), init="random")
    assert first.fingerprint == second.fingerprint != pretrained.fingerprint
    shapes = [{n: p.shape for n, p in b.model.named_parameters()} for b in (pretrained, first)]
    assert shapes[0] == shapes[1]
    assert not any(p.requires_grad for p in first.model.parameters())


def test_random_weights_need_no_file(folder):
    (folder / "model.safetensors").unlink()
    assert load_backbone(str(folder), init="random").n_layers == 3


# -- the hub and its cache ------------------------------------------------------------------------


def fill_hub_cache(home: Path, repo_id: str, source: Path) -> Path:
    """Files of ``source`` as huggingface_hub would keep them: blobs by digest, snapshots of links."""
    repository = home / f"models--{repo_id.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("c" * 40)
    for path in (repository / "blobs", repository / "refs", snapshot):
        path.mkdir(parents=True)
    (repository / "refs" / "main").write_text("c" * 40)
    for file in source.iterdir():
        large = file.suffix == ".safetensors"
        digest = hashlib.new("sha256" if large else "sha1", file.read_bytes()).hexdigest()
        blob = repository / "blobs" / digest
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(blob)
    return snapshot


@pytest.fixture
def hub_cache(esm_folder, tmp_path, monkeypatch) -> Path:
    """A hub cache that holds "esm2-8m" (in truth the small ESM), read by huggingface_hub itself."""

    def local_only(**options):
        return huggingface_hub.snapshot_download(
            **(options | {"local_files_only": True}), cache_dir=tmp_path / "hub"
        )

    monkeypatch.setattr(loading, "snapshot_download", local_only)
    return fill_hub_cache(tmp_path / "hub", CHECKPOINTS["esm2-8m"].place, esm_folder)


def test_the_hub_cache_is_read_without_network(hub_cache, esm_folder):
    backbone = load_backbone("esm2-8m")
    assert backbone.fingerprint == load_backbone(str(esm_folder)).fingerprint
    assert backbone.name == "esm2-8m"


def test_weights_of_the_hub_cache_are_not_copied(hub_cache, esm_folder, monkeypatch):
    """Processes share what is mapped from a file. A folder may be written over: its tensors are copies."""
    read: list[int] = []

    def load_and_note(file):
        tensors = load_file(file)
        read.extend(tensor.data_ptr() for tensor in tensors.values())
        return tensors

    monkeypatch.setattr("safetensors.torch.load_file", load_and_note)
    mapped, copied = load_backbone("esm2-8m"), load_backbone(str(esm_folder))
    assert all(parameter.data_ptr() in read for parameter in mapped.layers.parameters())
    assert not any(parameter.data_ptr() in read for parameter in copied.layers.parameters())
    for one, other in zip(mapped.tensors(), copied.tensors(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["esm2-35m", "someone/some-model"])
def test_without_network_the_error_says_what_works_offline(name):
    with pytest.raises(BackboneNotFoundError) as caught:
        load_backbone(name, revision="v2")
    message = str(caught.value)
    assert repr(name) in message
    assert "'v2'" in message
    assert "backbone='mini'" in message
    assert "download_backbone" in message


def test_an_impossible_id_is_not_found(monkeypatch):
    monkeypatch.setattr(loading, "snapshot_download", huggingface_hub.snapshot_download)
    with pytest.raises(BackboneNotFoundError, match="'owner/no id'"):  # refused before any request
        load_backbone("owner/no id")


def test_a_model_that_transformers_loaded_is_completed(hub_cache, esm_folder, monkeypatch):
    """It leaves weights and configuration in the cache, and no tokenizer."""
    files = [file for file in hub_cache.iterdir() if file.suffix == ".txt" or "token" in file.name]
    kept = {file: file.resolve() for file in files}
    for file in files:
        file.unlink()
    local_only = loading.snapshot_download

    def complete(**options):
        for file, blob in kept.items():
            if not options.get("local_files_only"):
                file.symlink_to(blob)
        return local_only(**options)

    monkeypatch.setattr(loading, "snapshot_download", complete)
    assert load_backbone("esm2-8m").fingerprint == load_backbone(str(esm_folder)).fingerprint


def test_a_download_cut_short_is_taken_up_again(hub_cache, esm_folder, tmp_path, monkeypatch):
    """One of several shards is missing from the cache: the hub is asked, not the cache believed."""
    snapshot = fill_hub_cache(tmp_path / "hub", "someone/sharded", write_shards(esm_folder, tmp_path))
    shard = sorted(snapshot.glob("*.safetensors"))[1]
    blob = shard.resolve()
    shard.unlink()
    local_only = loading.snapshot_download

    def resume(**options):
        if not options.get("local_files_only"):
            shard.symlink_to(blob)
        return local_only(**options)

    monkeypatch.setattr(loading, "snapshot_download", resume)
    assert load_backbone("someone/sharded").fingerprint == load_backbone(str(esm_folder)).fingerprint


def test_pickled_weights_are_fetched_where_there_are_no_others(esm_folder, folder, monkeypatch):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    pickled, asked = (folder / "pytorch_model.bin").read_bytes(), []
    for name in ("model.safetensors", "pytorch_model.bin"):
        (folder / name).unlink()

    def download(**options):
        asked.append(options["allow_patterns"])
        if "pytorch_model*.bin" in options["allow_patterns"]:
            (folder / "pytorch_model.bin").write_bytes(pickled)
        return str(folder)

    monkeypatch.setattr(loading, "snapshot_download", download)
    monkeypatch.setattr(loading, "get_repo_discussions", lambda *a, **b: [])
    assert load_backbone("someone/old").fingerprint == load_backbone(esm_folder).fingerprint
    assert ["pytorch_model*.bin" in patterns for patterns in asked] == [False, False, True]
    unload_backbones()
    asked.clear()
    load_backbone("someone/old")
    assert len(asked) == 1  # found in the cache


def test_a_damaged_download_is_removed_and_fetched_again(hub_cache, esm_folder, monkeypatch):
    blob = (hub_cache / "model.safetensors").resolve()
    sound = blob.read_bytes()

    def fetch(**options):
        """The first download arrives damaged, the second whole; no weights are there before."""
        if options.get("local_files_only") and not blob.exists():
            return str(hub_cache)  # a snapshot whose weights are a link to nothing
        if not options.get("local_files_only"):
            downloads.append(1)
            blob.write_bytes(sound[:-8] + bytes(8) if len(downloads) == 1 else sound)
        return str(hub_cache)

    downloads: list[int] = []
    monkeypatch.setattr(loading, "snapshot_download", fetch)
    blob.unlink()
    with pytest.raises(BackboneWeightsError, match=r"model.safetensors arrived damaged: SHA-256"):
        load_backbone("esm2-8m")
    assert not blob.exists()
    assert load_backbone("esm2-8m").fingerprint == load_backbone(str(esm_folder)).fingerprint
    assert len(downloads) == 2


def test_nothing_executable_is_asked_of_the_hub(monkeypatch):
    asked = []

    def spy(**options):
        asked.extend(options["allow_patterns"])
        raise LocalEntryNotFoundError("no network in tests")

    monkeypatch.setattr(loading, "snapshot_download", spy)
    with pytest.raises(BackboneNotFoundError):
        load_backbone("someone/some-model")
    assert "*.safetensors" in asked
    executable = ["pytorch_model.bin", "model.pt", "weights.pkl", "modeling.py", "tf_model.h5"]
    assert not any(Path(name).match(pattern) for name in executable for pattern in asked)


@pytest.mark.parametrize("name", ["mini", "esm2-8m"])
def test_download_prepares_a_folder_for_a_machine_without_network(hub_cache, tmp_path, name, monkeypatch):
    fingerprint = load_backbone(name).fingerprint
    target = download_backbone(name, tmp_path / "new" / "folder")
    assert target == tmp_path / "new" / "folder"
    assert not any(file.is_symlink() for file in target.iterdir())
    shutil.rmtree(hub_cache.parents[1])
    unload_backbones()
    prepared = load_backbone(str(target))
    assert prepared.fingerprint == fingerprint
    assert prepared.tokenize(["MKV"])[0].tolist() == [0, 20, 15, 7, 2]


def test_download_copies_pickled_weights_and_nothing_else(folder, tmp_path):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    for name in ("training_args.bin", "pytorch_model_old.bin", "modeling.py", "notes.md"):
        (folder / name).write_bytes(b"?")
    target = download_backbone(folder, tmp_path / "copy")
    names = {"config.json", "pytorch_model.bin", "tokenizer_config.json", "vocab.txt"}
    assert {file.name for file in target.iterdir()} == names


def test_a_download_reads_what_its_source_reads(miniature, tmp_path):
    """Structural states, in ProstT5; and a folder that is copied into itself stays as it is."""
    target = download_backbone(f"{miniature('prostt5')}#3di", tmp_path / "copy")
    assert load_backbone(f"{target}#3di").alphabet == "3di"
    before = sorted((file.name, file.stat().st_mtime_ns) for file in target.iterdir())
    assert download_backbone(target, target) == target
    assert sorted((file.name, file.stat().st_mtime_ns) for file in target.iterdir()) == before


@pytest.mark.parametrize("name", ["config.json", "vocab.txt", "model.safetensors", "chat_template.jinja"])
def test_a_pipe_in_a_folder_is_not_read(name, make_esm, tmp_path):
    """Without a writer it would block for good."""
    folder = make_esm(tmp_path / "esm")
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(BackboneWeightsError, match=f"holds what is no file .{name}.: a pipe or a device"):
        load_backbone(folder)


BROKEN_CONFIGS = [
    "",
    "[1]",
    "null",
    "[" * 100_000,
    json.dumps({"hidden_size": 3})[:-1],
    b"\xff\xfe\x00",
    {"model_type": ["esm"]},
    {"num_attention_heads": 0},
    {"hidden_size": "wide"},
    {"layer_norm_eps": None},
    {"mask_token_id": None},
    {"position_embedding_type": "absolute", "pad_token_id": None},
]


@pytest.mark.parametrize("broken", BROKEN_CONFIGS, ids=lambda broken: str(broken)[:20])
def test_a_broken_configuration_is_named(broken, make_esm, tmp_path):
    file = make_esm(tmp_path / "esm") / "config.json"
    if isinstance(broken, dict):
        broken = json.dumps(json.loads(file.read_text()) | broken)
    file.write_bytes(broken if isinstance(broken, bytes) else broken.encode())
    with pytest.raises(ValueError, match=r"Backbone '.*esm'.*config"):
        load_backbone(file.parent)


def test_a_link_to_nothing_is_a_file_that_is_missing(make_esm, tmp_path):
    folder = make_esm(tmp_path / "esm")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BackboneNotFoundError, match="holds no weights"):
        load_backbone(folder)
