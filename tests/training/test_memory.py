"""The count of activation bytes against what autograd really keeps, and what is made of it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from plmlearn import PLMClassifier, PLMLoRAClassifier
from plmlearn.adapters import Frozen, FullFineTuning, LoRA, PrefixTuning, PromptTuning
from plmlearn.backbones import load_backbone
from plmlearn.nn.encoders import make_encoder
from plmlearn.nn.packing import PackedTokens
from plmlearn.training import memory
from plmlearn.training.batching import TokenizedSequences, split_by_budget
from plmlearn.training.devices import autocast
from plmlearn.training.memory import activation_bytes_per_token
from plmlearn.training.steps import draw_samples

CPU = torch.device("cpu")
MATRICES = ("query", "key", "value", "output", "ffn_in", "ffn_out")
PARTS = (*MATRICES, "norms")
ADAPTERS = [
    LoRA(),
    LoRA(target_modules="all", last_n_layers=2),
    FullFineTuning(),
    FullFineTuning(last_n_layers=1),
]

TRAINED = {
    LoRA: lambda lora: MATRICES if lora.target_modules == "all" else lora.target_modules,
    FullFineTuning: lambda full: PARTS,
}


def kept_bytes(run, weights) -> int:
    """Bytes of all storages that the backward pass of ``run`` keeps, the weights aside."""
    own = {p.untyped_storage().data_ptr() for p in weights}
    kept: dict[int, int] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        outputs = run()
    assert outputs.requires_grad
    return sum(kept.values())


def kept_bytes_per_token(backbone, adapter, *, checkpointing: bool) -> float:
    """What one more token adds; copies of weights in bfloat16 do not grow with the tokens."""
    encoder = make_encoder(
        adapter.install(backbone),
        compute_dtype=backbone.dtype,
        trunk_depth=adapter.first_trained_layer(backbone.n_layers),
        checkpointing=checkpointing,
    )

    def kept(n_sequences: int) -> int:
        lengths = [150] * n_sequences
        tokens = PackedTokens(torch.randint(4, 24, (sum(lengths),)), lengths, 1, 1)
        with autocast(CPU, backbone.dtype):
            return kept_bytes(lambda: encoder(tokens), encoder.parameters())

    return (kept(4) - kept(2)) / 300


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("adapter", ADAPTERS, ids=str)
def test_the_count_covers_what_is_kept(adapter, precision, checkpointing):
    backbone = load_backbone("mini", precision=precision)
    n_trained = backbone.n_layers - adapter.first_trained_layer(backbone.n_layers)
    count = activation_bytes_per_token(backbone, n_trained, checkpointing=checkpointing)
    kept = kept_bytes_per_token(backbone, adapter, checkpointing=checkpointing)
    assert kept < count
    trained = activation_bytes_per_token(
        backbone, n_trained, checkpointing=checkpointing, trained=TRAINED[type(adapter)](adapter)
    )
    assert kept < trained <= count
    if not checkpointing:
        working = activation_bytes_per_token(backbone, 0, checkpointing=False)
        assert trained - working == pytest.approx(kept, rel=0.1, abs=working)
    if n_trained > 2 and not checkpointing:
        assert count < 2 * kept  # not wasteful either


SHAPES = {
    "esmc": {"hidden_size": 96, "intermediate_size": 256},
    "prott5": {"d_model": 96, "d_kv": 32, "d_ff": 256},
    "ankh": {"d_model": 96, "d_kv": 24, "d_ff": 256},
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", SHAPES)
def test_the_count_covers_what_other_architectures_keep(write_miniature, tmp_path, kind, precision):
    folder = write_miniature(kind, tmp_path, **SHAPES[kind])
    backbone = load_backbone(str(folder), precision=precision)
    for adapter in (LoRA(), FullFineTuning(last_n_layers=3)):
        count = activation_bytes_per_token(
            backbone, 3, checkpointing=False, trained=TRAINED[type(adapter)](adapter)
        )
        kept = kept_bytes_per_token(backbone, adapter, checkpointing=False)
        assert kept < count < 1.5 * kept


@pytest.mark.parametrize("checkpointing", [False, True])
def test_each_further_layer_costs_what_it_keeps(checkpointing):
    backbone = load_backbone("mini")
    counts, kept = (
        [measure(n) for n in (2, backbone.n_layers)]
        for measure in (
            lambda n: activation_bytes_per_token(backbone, n, checkpointing=checkpointing),
            lambda n: kept_bytes_per_token(
                backbone, FullFineTuning(last_n_layers=n), checkpointing=checkpointing
            ),
        )
    )
    assert counts[1] - counts[0] == pytest.approx(kept[1] - kept[0], rel=0.1)


# -- whole estimates ------------------------------------------------------------------------------


def proteins(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), n)) for n in lengths]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("adapter", [LoRA(), LoRA(last_n_layers=1), FullFineTuning()], ids=str)
def test_the_estimate_against_what_a_step_keeps(adapter, precision):
    X = proteins([200] * 4)
    classifier = PLMClassifier("mini", adapter=adapter, precision=precision, device="cpu")
    estimate = classifier.memory_estimate(X)
    loaded = classifier._build(classifier._task(), 1, None)
    tokens = TokenizedSequences(loaded.backbone, X).pack(range(4), CPU)
    trained = [p for p in loaded.module.parameters() if p.requires_grad]

    def step():
        with autocast(CPU, loaded.config.dtype):
            return loaded.module(tokens, torch.arange(4)).sum()

    kept = kept_bytes(step, [*loaded.module.parameters(), *loaded.module.buffers()])
    step().backward()
    optimizer = torch.optim.AdamW(trained)
    optimizer.step()
    state = [t for of_one in optimizer.state.values() for t in of_one.values() if t.ndim]
    assert estimate.gradients == sum(p.grad.nbytes for p in trained)
    assert estimate.optimizer_state == sum(t.nbytes for t in state)
    assert estimate.frozen_weights == sum(t.nbytes for t in loaded.backbone.tensors())
    copies = estimate.trained_tensors - sum(p.nbytes for p in trained)
    assert 0.6 < (estimate.activations + copies) / kept < (3 if adapter.last_n_layers else 1.7)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "adapter",
    [
        PromptTuning(layers="first"),
        PromptTuning(layers="top"),
        PromptTuning(layers="last"),
        PromptTuning(layers="all", last_n_layers=4),
        PrefixTuning(),
        PrefixTuning(hidden=8, last_n_layers=2),
    ],
    ids=str,
)
def test_prompts_and_prefixes_are_counted(adapter, precision):
    """What 32 further vectors beside each of 4 proteins add: counted, against what is kept."""
    X = proteins([200] * 4)
    counted, kept = [], []
    for n_tokens in (8, 40):
        classifier = PLMClassifier(
            "mini", adapter=clone(adapter).set_params(n_tokens=n_tokens), precision=precision, device="cpu"
        )
        estimate = classifier.memory_estimate(X)
        loaded = classifier._build(classifier._task(), 1, None)
        tokens = TokenizedSequences(loaded.backbone, X).pack(range(4), CPU)
        with autocast(CPU, loaded.config.dtype):
            kept.append(
                kept_bytes(
                    lambda loaded=loaded, tokens=tokens: loaded.module(tokens, torch.arange(4)).sum(),
                    [*loaded.module.parameters(), *loaded.module.buffers()],
                )
            )
        counted.append(estimate.activations)
        assert estimate.n_learned == n_tokens
    working = activation_bytes_per_token(loaded.backbone, 0, checkpointing=False)
    more_kept, more_counted = kept[1] - kept[0], counted[1] - counted[0]
    assert 0.95 * more_kept < more_counted < 1.2 * more_kept + 4 * 32 * working


def test_learned_vectors_count_once_per_sequence_of_a_batch():
    def estimate(X, n_tokens, **parameters):
        adapter = PromptTuning(n_tokens=n_tokens)
        return PLMClassifier("mini", adapter=adapter, device="cpu", **parameters).memory_estimate(X)

    X = proteins([98] * 12)
    for parameters, n_sequences in [({"max_tokens": 300}, 3), ({"max_tokens": 10_000, "batch_size": 5}, 5)]:
        few, many = (estimate(X, n, **parameters) for n in (1, 11))
        assert many.activations - few.activations == n_sequences * 10 * few.bytes_per_token
    for memory_bytes in (30e6, 100e6):
        longest = estimate(X[:1], 30, max_tokens=1).longest_sequence(memory_bytes)
        totals = [
            estimate(["A" * n], 30, max_tokens=1, max_length=10_000).total for n in (longest, longest + 1)
        ]
        assert totals[0] <= memory_bytes < totals[1]


def test_the_parts_add_up_and_are_printed():
    estimate = PLMLoRAClassifier("mini", last_n_layers=1).memory_estimate(["MKV", "MKVA"])
    parts = [line.rsplit(maxsplit=2) for line in str(estimate).splitlines()]
    assert [name.strip() for name, _, _ in parts] == [
        "frozen weights",
        "trained tensors",
        "gradients",
        "optimizer state",
        "activations",
        "attention workspace",
        "reused",
        "total",
    ]
    assert estimate.total == pytest.approx(
        estimate.frozen_weights
        + estimate.trained_tensors
        + estimate.gradients
        + estimate.optimizer_state
        + estimate.activations
        + estimate.attention_workspace
        + estimate.reused
    )
    assert float(parts[-1][1].replace(",", "")) == pytest.approx(estimate.total / 2**20, abs=0.05)


def test_the_longest_sequence_is_the_longest_that_fits():
    classifier = PLMLoRAClassifier("mini", precision="bf16", device="cpu", max_tokens=1)
    estimate = classifier.memory_estimate(["MKV"])
    for memory_bytes in (30e6, 100e6, 400e6):
        longest = estimate.longest_sequence(memory_bytes)
        totals = [
            PLMLoRAClassifier("mini", precision="bf16", device="cpu", max_tokens=1, max_length=10_000)
            .memory_estimate(["A" * n])
            .total
            for n in (longest, longest + 1)
        ]
        assert totals[0] <= memory_bytes < totals[1]
    assert estimate.longest_sequence(0) == estimate.longest_sequence(estimate.frozen_weights) == 0
    assert estimate.longest_sequence(1e15) == 10_000


def test_the_largest_batch_is_counted():
    def activations(X, **parameters):
        return PLMLoRAClassifier("mini", device="cpu", **parameters).memory_estimate(X).activations

    X = proteins([98] * 12)
    one = activations(X[:1], max_tokens=100)
    assert activations(X, max_tokens=100) == one
    assert activations(X, max_tokens=300) == 3 * one
    assert activations(X, max_tokens=10_000, batch_size=5) == 5 * one
    with pytest.warns(UserWarning, match="cut to their first 98 residues"):
        assert activations(["A" * 500], max_length=98) == one
    assert activations(X[:1], gradient_checkpointing=True, max_tokens=100) < one


@given(
    lengths=st.lists(st.integers(3, 300), min_size=1, max_size=40),
    max_tokens=st.integers(1, 2000),
    batch_size=st.integers(1, 12),
    seed=st.integers(0, 1000),
)
@settings(max_examples=200, deadline=None)
def test_no_batch_of_an_epoch_is_larger_than_foreseen(lengths, max_tokens, batch_size, seed):
    lengths = np.array(lengths)
    foreseen = memory._largest_batch(lengths, max_tokens, batch_size)
    sizes = []
    drawn = draw_samples(len(lengths), len(lengths), np.random.default_rng(seed))
    for first in range(0, len(lengths), batch_size):
        in_step = np.sort(lengths[drawn[first : first + batch_size]])
        cuts = split_by_budget(in_step, max_tokens)
        sizes += [part.sum() for part in np.split(in_step, cuts[1:])]
    assert max(sizes) <= foreseen <= max(max_tokens, lengths.max())


def test_steps_that_are_always_cut_fill_no_batch():
    assert memory._largest_batch(np.full(40, 300), 4096, 16) == 2400 + 150
    assert memory._largest_batch(np.full(40, 300), 4096, 13) == 3900
    assert memory._largest_batch(np.array([100] * 20 + [300] * 20), 4096, 16) == 4096


def test_what_is_reused_is_counted_unless_it_goes_to_disk(empty_cache, monkeypatch):
    X = [*proteins([50, 60]), *proteins([50])]  # the last repeats the first
    trunk, pooled, nothing = (
        PLMClassifier("mini", adapter=adapter, precision="bf16", device="cpu").memory_estimate(X).reused
        for adapter in (LoRA(last_n_layers=1), Frozen(), LoRA())
    )
    assert trunk == (52 + 62) * 192 * 2
    assert pooled == 2 * 192 * 4
    assert nothing == 0
    monkeypatch.setattr(memory.default_cache(), "memory_limit", 1000)
    assert PLMLoRAClassifier("mini", last_n_layers=1).memory_estimate(X).reused == 0


def test_an_estimate_trains_nothing():
    classifier = PLMLoRAClassifier("mini")
    classifier.memory_estimate(["MKV"])
    assert not hasattr(classifier, "history_")
    with pytest.raises(ValueError, match="epochs"):
        PLMLoRAClassifier("mini", epochs=0).memory_estimate(["MKV"])
