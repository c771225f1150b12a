"""Backbone folders with damage and with lies, and a judgement of what becomes of them."""

from __future__ import annotations

import json
import pickle
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from conftest import write_esm
from models import draw_proteins
from saved_folders import nodes
from tampering import (
    VALUES,
    Rng,
    cut,
    executions,
    flip_bits,
    lengthen,
    raw,
    remove,
    replace_by_something_else,
    watch,
    zero,
)

import plmlearn
from plmlearn.backbones import BackboneNotFoundError, BackboneWeightsError, unload_backbones

X = draw_proteins(4)
CONFIG = "config.json"


class Command:
    """What a pickle runs where it is read without care."""

    def __reduce__(self) -> tuple:
        return exec, ("import canary",)


# -- lies -----------------------------------------------------------------------------------------


def set_config(folder: Path, rng: Rng) -> None:
    """One to three values of the configuration, of any type."""
    document = json.loads((folder / CONFIG).read_text())
    for _ in range(rng.integers(1, 4)):
        found = list(nodes(document))
        holder, key = found[rng.integers(len(found))]
        holder[key] = VALUES[rng.integers(len(VALUES))]
    (folder / CONFIG).write_text(json.dumps(document))


def delete_from_config(folder: Path, rng: Rng) -> None:
    document = json.loads((folder / CONFIG).read_text())
    del document[sorted(document)[rng.integers(len(document))]]
    (folder / CONFIG).write_text(json.dumps(document))


FIELDS: tuple[dict[str, Any], ...] = (
    {"auto_map": {"AutoModel": "canary.Model", "AutoConfig": "canary.Config"}},
    {"auto_map": {"AutoTokenizer": ["canary.Tokenizer", None]}, "tokenizer_class": "canary"},
    {"tokenizer_class": "canary.Tokenizer"},
    {"_attn_implementation": "canary/kernels"},
    {"attn_implementation": "canary"},
    {"fusion_config": {"canary": "canary"}},
    {"quantization_config": {"quant_method": "canary"}},
    {"torch_dtype": "canary"},
    {"dtype": "canary"},
    {"model_type": "canary"},
    {"architectures": ["canary"]},
    {"custom_pipelines": {"canary": {"impl": "canary.Pipeline"}}},
    {"num_hidden_layers": 10**9},
    {"hidden_size": 2**40},
    {"num_attention_heads": 0},
    {"vocab_size": -1},
    {"pad_token_id": 99},
    {"mask_token_id": 10**6},
    {"rope_theta": 0},
    {"layer_norm_eps": "x"},
    {"position_embedding_type": "canary"},
    {"max_position_embeddings": 0},
    {"is_decoder": True},
    {"use_cache": "canary"},
    {"chunk_size_feed_forward": 3},
    {"is_folding_model": True},
)


def add_fields(folder: Path, rng: Rng) -> None:
    """Fields of files that name code, a backend, or a size that there is not."""
    fields = FIELDS[rng.integers(len(FIELDS))]
    for name in (CONFIG, "tokenizer_config.json"):
        document = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**document, **fields}))


def name_other_files(folder: Path, rng: Rng) -> None:
    """An index of weights that lie elsewhere, or in a pickle."""
    names = ("../canary.safetensors", "/dev/zero", "other.bin", "x.bin", "model.safetensors/..", 3, None, "")
    suffix = ("safetensors", "bin")[rng.integers(2)]
    single = {"safetensors": "model.safetensors", "bin": "pytorch_model.bin"}[suffix]
    for path in folder.glob("*.safetensors"):
        path.rename(folder / "x.safetensors")
    (folder / "x.bin").write_bytes(pickle.dumps(Command()))
    document = {"weight_map": {"esm.x": names[rng.integers(len(names))]}, "metadata": {}}
    (folder / f"{single}.index.json").write_text(json.dumps(document))


def add_hostile_pickle(folder: Path, rng: Rng) -> None:
    """Weights as a pickle that runs something, in place of the safe ones or beside them."""
    if rng.random() < 0.8:
        for path in folder.glob("*.safetensors"):
            path.unlink()
    contents: tuple[Any, ...] = (
        Command(),
        {"esm.x": Command()},
        {"state_dict": {"esm.x": Command()}},
        torch.nn.Linear(2, 2),
        {"esm.x": torch.nn.Linear(2, 2)},
        [torch.zeros(2)],
        {"esm.x": torch.zeros(2).to_sparse()},
        {3: torch.zeros(2)},
    )
    content = contents[rng.integers(len(contents))]
    name = ("pytorch_model.bin", "model.ckpt")[rng.integers(2)]
    if rng.random() < 0.5:
        torch.save(content, folder / name)
    else:
        (folder / name).write_bytes(pickle.dumps(content))


def change_tensor(folder: Path, rng: Rng) -> None:
    """A tensor of another shape or type, with values that are none, missing, or under another name."""
    path = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    name = sorted(tensors)[rng.integers(len(tensors))]
    tensor = tensors.pop(name)
    changes: tuple[Callable[[], Any], ...] = (
        lambda: tensor.reshape(-1)[:1],
        lambda: tensor[None],
        lambda: torch.zeros(0),
        lambda: tensor.double(),
        lambda: tensor.half(),
        lambda: tensor.to(torch.int64),
        lambda: tensor.bool(),
        lambda: torch.full_like(tensor, torch.nan),
        lambda: torch.full_like(tensor, torch.inf),
        lambda: tensor * 1e30,
        lambda: torch.zeros_like(tensor),
    )
    which = rng.integers(len(changes) + 2)
    if which < len(changes):
        tensors[name] = changes[which]().contiguous()
    if which == len(changes):
        tensors[f"canary.{name}"] = tensor
    safetensors.torch.save_file(tensors, path)


def change_vocabulary(folder: Path, rng: Rng) -> None:
    """Tokens that are missing, that come twice, or that are others."""
    tokens = (folder / "vocab.txt").read_text().split()
    at = rng.integers(len(tokens))
    ways: tuple[Callable[[], Any], ...] = (
        lambda: tokens.pop(at),
        lambda: tokens.insert(at, tokens[0]),
        lambda: tokens.insert(at, "canary"),
        lambda: tokens.reverse(),
        lambda: tokens.clear(),
        lambda: tokens.extend(map(str, range(1000))),
    )
    ways[rng.integers(len(ways))]()
    (folder / "vocab.txt").write_text("\n".join(tokens))
    (folder / "tokenizer.json").unlink(missing_ok=True)


def add_adapter(folder: Path, rng: Rng) -> None:
    config = {"peft_type": "LORA", "megatron_config": {"x": 1}, "megatron_core": "megatron.evil"}
    (folder / "adapter_config.json").write_text(json.dumps(config))


def _damage(way: Callable[[Path, Rng, Path], None]) -> Callable[[Path, Rng], None]:
    def damage(folder: Path, rng: Rng) -> None:
        way(folder, rng, folder)

    damage.__name__ = way.__name__
    return damage


WAYS = (
    *map(_damage, (flip_bits, cut, lengthen, zero, remove, replace_by_something_else)),
    set_config,
    delete_from_config,
    add_fields,
    name_other_files,
    add_hostile_pickle,
    change_tensor,
    change_vocabulary,
    add_adapter,
)


# -- judgement ------------------------------------------------------------------------------------


def judge(folder: Path) -> str:
    """What became of a folder: "refused", "used", "not finite", or "raw: …" for an error that is not ours."""
    try:
        with watch():
            embeddings = plmlearn.PLMEmbedder(folder, precision="fp32").fit_transform(X)
    except (BackboneNotFoundError, BackboneWeightsError, ValueError, ImportError) as error:
        said = str(folder) in str(error) or type(error) is not ValueError
        return "refused" if said else raw(error)
    except BaseException as error:
        return raw(error)
    finally:
        unload_backbones()
    return "used" if np.isfinite(embeddings).all() else "raw: embeddings that are not finite"


def tamper_backbones(home: Path, n_folders: int, seed: int = 0) -> tuple[Counter, list[str]]:
    """Judge as many backbone folders; returns how often each outcome was, and a line for each fault."""
    whole, outcomes, faults = home / "whole", Counter(), []
    write_esm(whole, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    with plmlearn.cache.disabled():
        assert judge(whole) == "used"
        n_before = len(executions)
        for trial, way, folder in _tampered(whole, home, n_folders, seed):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                outcome = judge(folder)
            shutil.rmtree(folder)
            outcomes[f"backbone: {outcome.partition(':')[0]}"] += 1
            if outcome.startswith("raw"):
                faults.append(f"backbone {trial}: {way}: {outcome}")
            if len(executions) > n_before:
                faults.append(f"backbone {trial}: {way}: {executions[-1]}")
                n_before = len(executions)
    return outcomes, faults


def _tampered(whole: Path, home: Path, n_folders: int, seed: int) -> Iterator[tuple[int, str, Path]]:
    for trial in range(n_folders):
        rng, folder = np.random.default_rng((seed, trial, 1)), home / f"tampered{trial}"
        shutil.copytree(whole, folder)
        way = WAYS[rng.integers(len(WAYS))]
        way(folder, rng)
        yield trial, way.__name__, folder
