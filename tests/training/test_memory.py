"""The count of activation bytes against what autograd really keeps, and the token budget made of it."""

import pytest
import torch

from plmlearn.adapters import FullFineTuning, LoRA
from plmlearn.backbones import load_backbone
from plmlearn.nn.encoders import make_encoder
from plmlearn.nn.packing import PackedTokens
from plmlearn.training import memory
from plmlearn.training.devices import autocast
from plmlearn.training.memory import activation_bytes_per_token, auto_max_tokens

CPU = torch.device("cpu")
ADAPTERS = [
    LoRA(),
    LoRA(target_modules="all", last_n_layers=2),
    FullFineTuning(),
    FullFineTuning(last_n_layers=1),
]


def kept_bytes_per_token(backbone, adapter, *, checkpointing: bool) -> float:
    """Bytes of all storages that the backward pass keeps, the weights aside."""
    encoder = make_encoder(
        adapter.install(backbone),
        compute_dtype=backbone.dtype,
        trunk_depth=adapter.first_trained_layer(backbone.n_layers),
        checkpointing=checkpointing,
    )
    weights = {p.untyped_storage().data_ptr() for p in encoder.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    lengths = [150] * 6
    tokens = PackedTokens(torch.randint(4, 24, (sum(lengths),)), lengths, 1, 1)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x), autocast(CPU, backbone.dtype):
        hidden = encoder(tokens)
    return sum(kept.values()) / len(hidden)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("adapter", ADAPTERS, ids=str)
def test_the_count_covers_what_is_kept(adapter, precision, checkpointing):
    backbone = load_backbone("mini", precision=precision)
    n_trained = backbone.n_layers - adapter.first_trained_layer(backbone.n_layers)
    count = activation_bytes_per_token(backbone, n_trained, checkpointing=checkpointing)
    kept = kept_bytes_per_token(backbone, adapter, checkpointing=checkpointing)
    assert kept < count
    if n_trained > 2 and not checkpointing:
        assert count < 2 * kept  # not wasteful either


@pytest.mark.parametrize("checkpointing", [False, True])
def test_each_further_layer_costs_what_it_keeps(checkpointing):
    backbone = load_backbone("mini")
    counts, kept = (
        [measure(n) for n in (2, 6)]
        for measure in (
            lambda n: activation_bytes_per_token(backbone, n, checkpointing=checkpointing),
            lambda n: kept_bytes_per_token(
                backbone, FullFineTuning(last_n_layers=n), checkpointing=checkpointing
            ),
        )
    )
    assert counts[1] - counts[0] == pytest.approx(kept[1] - kept[0], rel=0.1)


def test_the_budget_fills_a_quarter_of_memory_within_bounds(monkeypatch):
    backbone = load_backbone("mini")
    per_token = activation_bytes_per_token(backbone, 6, checkpointing=False)
    for total, expected in [(1 << 20, 512), (4 * 1000 * per_token, 1000), (1 << 50, 4096)]:
        monkeypatch.setattr(memory, "total_memory", lambda device, total=total: total)
        assert auto_max_tokens(backbone, CPU, 6) == expected


def test_checkpointing_and_fewer_trained_layers_leave_room_for_more_tokens(monkeypatch):
    backbone = load_backbone("mini")
    monkeypatch.setattr(memory, "total_memory", lambda device: 300 << 20)
    all_layers = auto_max_tokens(backbone, CPU, 6)
    assert 512 < all_layers < auto_max_tokens(backbone, CPU, 2) < 4096
    assert all_layers < auto_max_tokens(backbone, CPU, 6, checkpointing=True)
