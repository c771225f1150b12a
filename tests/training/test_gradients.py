"""Gradients of a step, of proteins or of pairs: those of a loop over its samples, however it is cut."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from plmlearn.adapters import FullFineTuning, LoRA
from plmlearn.backbones import load_backbone
from plmlearn.nn.combinations import COMBINATIONS, PairModel, ResidueProjection
from plmlearn.nn.encoders import make_encoder
from plmlearn.nn.models import MeanPooling, ProteinModel, make_head
from plmlearn.training.batching import Inputs, make_batches
from plmlearn.training.config import TrainingConfig
from plmlearn.training.devices import Budget
from plmlearn.training.engine import train
from plmlearn.training.inference import embeddings_of, outputs_of, over_pairs
from plmlearn.training.steps import Step, StepGradients, TrainingData

CPU = torch.device("cpu")
CONFIG = TrainingConfig(
    max_tokens=10_000, device=CPU, dtype=torch.float32, batch_size=7, lr=1e-2, head_lr=1e-2
)


@pytest.fixture(scope="module")
def backbone(esm_folder):
    return load_backbone(str(esm_folder))


@pytest.fixture(scope="module")
def pairs(draw_proteins):
    proteins = np.array(draw_proteins(9, seed=4), dtype=object)
    return proteins[np.random.default_rng(0).integers(0, 9, (20, 2))]


def make_model(backbone, combine="symmetric", adapter=None) -> PairModel:
    torch.manual_seed(0)
    encoder = make_encoder((adapter or FullFineTuning()).install(backbone))
    combination = COMBINATIONS[combine](encoder.width)
    pooling = ResidueProjection(encoder.width) if combination.over_residues else MeanPooling(encoder.width)
    return PairModel(encoder, pooling, combination, make_head("esm", combination.width, 1, 8, 0.0))


def squared(outputs, targets):
    return (outputs[:, 0] - targets).square()


def data_of(backbone, pairs, ordered=False) -> TrainingData:
    inputs = Inputs.of_pairs(backbone, pairs, ordered=ordered)
    rng = np.random.default_rng(1)
    weights = rng.uniform(0.5, 1.5, len(pairs)).astype(np.float32)
    return TrainingData(inputs, rng.normal(size=len(pairs)).astype(np.float32), weights / weights.mean())


class Spy(nn.Module):
    """Counts the sequences that an encoder is given, with and without gradients."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.seen: list[tuple[int, ...]] = []
        self.n_with_gradients = 0

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("encoder"), name)

    def forward(self, tokens):
        for ids in tokens.ids.split(tokens.lengths):
            self.seen.append(tuple(ids.tolist()))
            self.n_with_gradients += torch.is_grad_enabled()
        return self.encoder(tokens)


def spied(model) -> Spy:
    model.encoder = Spy(model.encoder)
    return model.encoder


# -- tokens ---------------------------------------------------------------------------------------


def test_proteins_are_held_once_and_order_only_where_it_counts(backbone, pairs):
    ordered = Inputs.of_pairs(backbone, pairs, ordered=True)
    either = Inputs.of_pairs(backbone, pairs, ordered=False)
    flipped = Inputs.of_pairs(backbone, pairs[:, ::-1], ordered=False)
    assert len(ordered.sequences) == len(set(pairs.ravel()))
    np.testing.assert_array_equal(either.index, flipped.index)
    np.testing.assert_array_equal(either.sequences.ids, flipped.sequences.ids)
    letters = {i: letter for letter, i in backbone.vocabulary.items()}
    for row, numbers in enumerate(ordered.index):
        for column, number in enumerate(numbers):
            tokens = ordered.sequences
            ids = tokens.ids[tokens.starts[number] :][: tokens.lengths[number]]
            assert "".join(letters[i] for i in ids[1:-1].tolist()) == pairs[row, column]


def test_samples_of_the_proteins_alone(backbone, pairs):
    inputs = Inputs.of_pairs(backbone, pairs, ordered=False)
    batches = list(make_batches(inputs.of_each_sequence, np.arange(len(inputs.sequences)), 60, CPU))
    assert sorted(np.concatenate([b.samples for b in batches])) == list(range(len(inputs.sequences)))
    assert len(inputs) == len(pairs)


# -- gradients of pairs ---------------------------------------------------------------------------


def gradients_of(model, config) -> StepGradients:
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    return StepGradients(model, squared, config, Budget(config.max_tokens), scaler)


def plain_gradients(model, data, rows) -> tuple[float, dict]:
    """A loop over pairs: each encodes both of its proteins."""
    total = 0.0
    for row in rows:
        tokens = data.inputs.sequences.pack(data.inputs.index[row], CPU)
        outputs = model(model.embed(tokens), torch.tensor([[0, 1]]))
        loss = squared(outputs, torch.tensor(data.targets[[row]]))
        total = total + loss[0] * float(data.weights[row]) / len(rows)
    total.backward()
    return total.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("combine", COMBINATIONS)
@pytest.mark.parametrize("max_tokens", [10_000, 90, 1])
def test_gradients_of_a_step_equal_a_loop_over_its_pairs(backbone, pairs, combine, max_tokens):
    data = data_of(backbone, pairs, ordered=combine == "concat")
    expected_loss, expected = plain_gradients(make_model(backbone, combine), data, np.arange(len(pairs)))
    model = make_model(backbone, combine)
    step = Step(data, np.arange(len(pairs)))
    loss = gradients_of(model, replace(CONFIG, max_tokens=max_tokens)).add(step)
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert loss == pytest.approx(expected_loss, rel=1e-4)
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize("adapter", [FullFineTuning(), LoRA(rank=2, last_n_layers=1)], ids=["full", "LoRA"])
def test_trained_weights_do_not_depend_on_the_budget(backbone, pairs, adapter):
    data = data_of(backbone, pairs)
    trained = []
    for max_tokens in (10_000, 80):
        model = make_model(backbone, adapter=adapter)
        train(model, squared, data, replace(CONFIG, max_tokens=max_tokens, epochs=2))
        trained.append({name: p.detach() for name, p in model.named_parameters() if p.requires_grad})
    for name, value in trained[0].items():
        torch.testing.assert_close(trained[1][name], value, atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize("max_tokens", [10_000, 80])
def test_dropout_falls_alike_in_both_passes(backbone, pairs, max_tokens):
    """The gradient is that of the loss that was computed: finite differences along it say so."""
    data = data_of(backbone, pairs)
    model = make_model(backbone, adapter=LoRA(rank=2, dropout=0.5, target_modules="all"))
    lora_b = [p for n, p in model.named_parameters() if "lora_B" in n]
    with torch.no_grad():
        for p in lora_b:
            p.normal_(0, 0.2)
    gradients = gradients_of(model, replace(CONFIG, max_tokens=max_tokens))
    step = Step(data, np.arange(len(pairs)))

    def loss() -> float:
        torch.manual_seed(5)
        model.zero_grad()
        return gradients.add(step)

    model.train()
    loss()
    wanted = [p.grad.clone() for p in lora_b]
    size = sum(float(g.square().sum()) for g in wanted)
    moved, epsilon = [], 0.0002 / size**0.5
    for sign in (1, -1):
        with torch.no_grad():
            for p, g in zip(lora_b, wanted):
                p += sign * epsilon * g
        moved.append(loss())
        with torch.no_grad():
            for p, g in zip(lora_b, wanted):
                p -= sign * epsilon * g
    assert (moved[0] - moved[1]) / (2 * epsilon) == pytest.approx(size, rel=0.02)


@pytest.mark.parametrize("max_tokens, passes", [(10_000, 2), (80, 3)])  # one of them looks at the update
def test_a_step_encodes_each_protein_once_with_gradients(backbone, pairs, max_tokens, passes):
    data, model = data_of(backbone, pairs), make_model(backbone)
    spy = spied(model)
    train(model, squared, data, replace(CONFIG, max_tokens=max_tokens, batch_size=20))
    n_distinct = len(set(pairs.ravel()))
    assert spy.n_with_gradients == n_distinct
    assert len(spy.seen) == passes * n_distinct
    assert len(set(spy.seen)) == n_distinct


def test_validation_encodes_each_protein_once(backbone, pairs):
    data, model = data_of(backbone, pairs), make_model(backbone)
    spy = spied(model)
    history = train(model, squared, data, replace(CONFIG, batch_size=20), validation=data)
    assert len(spy.seen) == 2 * len(set(pairs.ravel()))
    outputs = outputs_of(model, data.inputs, CONFIG)
    expected = ((outputs[:, 0] - data.targets) ** 2 * data.weights).mean()
    assert history[-1]["valid_loss"] == pytest.approx(expected, rel=1e-5)


# -- proteins -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [None, np.arange(1.0, 10)], ids=["proteins", "residues"])
@pytest.mark.parametrize("max_tokens", [10_000, 60, 1])
def test_gradients_of_proteins_equal_a_loop_over_them(backbone, draw_proteins, max_tokens, sizes):
    proteins = [*draw_proteins(7, seed=5), *draw_proteins(2, seed=5)]  # the last two repeat the first two
    inputs, rng = Inputs.of(backbone, proteins), np.random.default_rng(2)
    weights = rng.uniform(0.5, 1.5, 9).astype(np.float32)
    data = TrainingData(inputs, rng.normal(size=9).astype(np.float32), weights, sizes)
    samples = np.array([8, 0, 3, 1, 6, 5])

    def make_protein_model() -> ProteinModel:
        torch.manual_seed(0)
        encoder = make_encoder(FullFineTuning().install(backbone))
        return ProteinModel(encoder, MeanPooling(encoder.width), make_head("esm", encoder.width, 1, 8, 0.0))

    expected, model = make_protein_model(), make_protein_model()
    total = 0.0
    for i in samples:
        outputs = expected(inputs.sequences.pack([inputs.index[i]], CPU), torch.tensor([0]))
        total = total + squared(outputs, data.targets[i])[0] * float(weights[i])
    mean = total / (len(samples) if sizes is None else sizes[samples].sum())
    mean.backward()
    loss = gradients_of(model, replace(CONFIG, max_tokens=max_tokens)).add(Step(data, samples))
    assert loss == pytest.approx(mean.item(), rel=1e-4)
    for name, parameter in expected.named_parameters():
        found = model.get_parameter(name).grad
        torch.testing.assert_close(found, parameter.grad, atol=1e-5, rtol=1e-3, msg=name)


def test_gradients_add_to_those_that_are_there(backbone, pairs):
    data, model = data_of(backbone, pairs), make_model(backbone)
    gradients, step = gradients_of(model, CONFIG), Step(data, np.arange(4))
    once = gradients.add(step)
    first = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert gradients.add(step) == once
    for name, gradient in first.items():
        torch.testing.assert_close(model.get_parameter(name).grad, 2 * gradient)


# -- inference ------------------------------------------------------------------------------------


@pytest.mark.parametrize("combine", COMBINATIONS)
def test_outputs_are_those_of_each_pair_alone(backbone, pairs, combine, monkeypatch):
    monkeypatch.setattr("plmlearn.training.inference._NUMBERS_AT_ONCE", 1000)
    model = make_model(backbone, combine).eval()
    inputs = Inputs.of_pairs(backbone, pairs, ordered=combine == "concat")
    outputs = outputs_of(model, inputs, replace(CONFIG, max_tokens=70))
    features = over_pairs(model, inputs, CONFIG, model.combination)
    assert features.shape == (len(pairs), model.combination.width)
    with torch.no_grad():
        for row in range(len(pairs)):
            alone = model.embed(inputs.sequences.pack(inputs.index[row], CPU))
            both = torch.tensor([[0, 1]])
            np.testing.assert_allclose(outputs[row], model(alone, both)[0], atol=1e-5)
            np.testing.assert_allclose(features[row], model.combination(alone, both)[0], atol=1e-5)


def test_a_pair_and_its_reverse_in_one_call_are_equal_to_the_last_bit(backbone, pairs):
    model = make_model(backbone)
    both = Inputs.of_pairs(backbone, np.concatenate([pairs, pairs[:, ::-1]]), ordered=False)
    outputs = outputs_of(model, both, CONFIG)
    np.testing.assert_array_equal(outputs[: len(pairs)], outputs[len(pairs) :])


def test_some_proteins_alone(backbone, pairs):
    model, inputs = make_model(backbone), Inputs.of_pairs(backbone, pairs, ordered=False)
    every = embeddings_of(model, inputs.of_each_sequence, CONFIG)
    some = embeddings_of(model, inputs.of_each_sequence, CONFIG, np.array([1, 4]))
    torch.testing.assert_close(some.values, every.values[[1, 4]], atol=1e-5, rtol=1e-5)
