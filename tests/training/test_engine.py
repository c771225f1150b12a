"""The training loop against a plain loop in torch, and its promises: order, seeds, memory, errors."""

import math
import warnings
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import skorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skorch.callbacks import EarlyStopping
from torch import nn

from plmlearn.adapters import LoRA
from plmlearn.backbones import load_backbone
from plmlearn.nn.encoders import make_encoder
from plmlearn.nn.models import AttentionPooling, EsmHead, ProteinModel
from plmlearn.training.batching import Inputs
from plmlearn.training.config import TrainingConfig
from plmlearn.training.engine import TrainingDivergedError, parameter_groups, schedule_shape, train
from plmlearn.training.inference import infer, outputs_of
from plmlearn.training.steps import TrainingData, draw_samples

CONFIG = TrainingConfig(
    epochs=3,
    batch_size=4,
    lr=0.01,
    head_lr=0.02,
    weight_decay=0.1,
    schedule="cosine",
    warmup=0.2,
    gradient_clip=None,
    patience=None,
    max_tokens=40,
    device=torch.device("cpu"),
    dtype=torch.float32,
    seed=3,
)
PLAIN = replace(CONFIG, schedule="constant", warmup=0.0)


class Bag(nn.Module):
    """A small stand-in for a protein model: the mean of token vectors, norm, dropout, dense."""

    def __init__(self, dropout: float = 0.0, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.encoder = nn.Embedding(33, 6)
        self.norm = nn.LayerNorm(6)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(6, 1)
        with torch.no_grad():
            for tensor in self.parameters():
                tensor.copy_(torch.randn(tensor.shape, generator=generator))

    def forward(self, tokens, index):
        vectors = self.encoder(tokens.ids).split(tokens.lengths)
        pooled = torch.stack([v.mean(0) for v in vectors])[index]
        return self.head(self.dropout(self.norm(pooled)))


def squared_error(outputs, targets):
    return (outputs[:, 0] - targets).square()


@pytest.fixture(scope="module")
def backbone(esm_folder):
    return load_backbone(str(esm_folder))


def draw_data(backbone, n_rows: int = 11, seed: int = 0) -> TrainingData:
    """Sequences of 3 to 20 residues, some twice, with targets and weights."""
    rng = np.random.default_rng(seed)
    sequences = ["".join(rng.choice(list("ACDEFGHIKL"), rng.integers(3, 21))) for _ in range(n_rows)]
    sequences[n_rows // 2] = sequences[0]
    weights = rng.uniform(0.2, 2.0, n_rows)
    return TrainingData(
        Inputs.of(backbone, sequences),
        rng.normal(size=n_rows).astype(np.float32),
        (weights / weights.mean()).astype(np.float32),
    )


@pytest.fixture
def data(backbone) -> TrainingData:
    return draw_data(backbone)


@pytest.fixture
def validation(backbone) -> TrainingData:
    return draw_data(backbone, 7, seed=1)


def weights_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


class Recorder(skorch.callbacks.Callback):
    """Notes every event, gradient, rate and the weights after every epoch."""

    def __init__(self):
        self.events, self.gradients, self.rates, self.steps, self.epochs = [], [], [], [], []

    def on_train_begin(self, net, **kwargs):
        self.events.append("train_begin")

    def on_epoch_begin(self, net, **kwargs):
        self.events.append("epoch_begin")

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        self.events.append("step_begin" if training else "validation_begin")
        if training:
            self.rates.append([group["lr"] for group in net.optimizer_.param_groups])

    def on_grad_computed(self, net, named_parameters, **kwargs):
        self.gradients.append({n: p.grad.clone() for n, p in named_parameters if p.grad is not None})

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        self.events.append("step_end" if training else "validation_end")
        if training:
            self.steps.append(batch.samples)

    def on_epoch_end(self, net, **kwargs):
        self.events.append("epoch_end")
        self.epochs.append(weights_of(net.module_))

    def on_train_end(self, net, **kwargs):
        self.events.append("train_end")


def one_row(data: TrainingData, row: int):
    """A row as a batch of its own."""
    return data.inputs.sequences.pack([data.inputs.index[row]], torch.device("cpu")), torch.tensor([0])


def steps_of_epoch(n_samples: int, batch_size: int, rng) -> list[np.ndarray]:
    drawn = draw_samples(n_samples, n_samples, rng)
    return [drawn[first : first + batch_size] for first in range(0, n_samples, batch_size)]


def plain_loop(model: nn.Module, data: TrainingData, config: TrainingConfig) -> None:
    """What ``train`` should do, row by row."""
    groups = {
        (config.lr, config.weight_decay): [model.encoder.weight],
        (config.head_lr, 0.0): [model.norm.weight, model.norm.bias, model.head.bias],
        (config.head_lr, config.weight_decay): [model.head.weight],
    }
    kind = {"adamw": torch.optim.AdamW, "adamax": torch.optim.Adamax}[config.optimizer]
    optimizer = kind([{"params": p, "lr": lr, "weight_decay": decay} for (lr, decay), p in groups.items()])
    base = [group["lr"] for group in optimizer.param_groups]
    rng, step = np.random.default_rng(config.seed), 0
    n_steps = config.epochs * math.ceil(len(data) / config.batch_size)
    for _ in range(config.epochs):
        for rows in steps_of_epoch(len(data), config.batch_size, rng):
            optimizer.zero_grad()
            loss = 0.0
            for row in rows:
                outputs = model(*one_row(data, row))
                loss = loss + data.weights[row] * (outputs[0, 0] - data.targets[row]) ** 2
            (loss / len(rows)).backward()
            if config.gradient_clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
            factor = schedule_shape(config.schedule, config.warmup, n_steps)(step)
            for group, lr in zip(optimizer.param_groups, base):
                group["lr"] = lr * factor
            optimizer.step()
            step += 1


@pytest.mark.parametrize(
    "changes",
    [{}, {"gradient_clip": 0.05}, {"schedule": "linear", "epochs": 1}, {"optimizer": "adamax"}],
    ids=str,
)
def test_training_equals_a_plain_loop(data, changes):
    config = replace(CONFIG, **changes)
    found, expected = Bag(), Bag()
    train(found, squared_error, data, config)
    plain_loop(expected, data, config)
    for name, tensor in weights_of(expected).items():
        torch.testing.assert_close(found.get_parameter(name).data, tensor, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(found.encoder.weight, Bag().encoder.weight, atol=1e-3)


# -- steps, micro-batches and their loss ---------------------------------------------------------


def test_steps_are_random_draws_and_the_short_last_one_counts(data):
    recorder = Recorder()
    train(Bag(), squared_error, data, CONFIG, callbacks=[recorder])
    assert [len(rows) for rows in recorder.steps] == [4, 4, 3] * 3
    for epoch in range(3):
        rows = np.concatenate(recorder.steps[3 * epoch : 3 * epoch + 3])
        assert sorted(rows) == list(range(11))
    assert not np.array_equal(recorder.steps[0], recorder.steps[3])


def make_protein_model(backbone) -> ProteinModel:
    torch.manual_seed(0)
    encoder = make_encoder(LoRA(target_modules="all").install(backbone))
    return ProteinModel(encoder, AttentionPooling(encoder.width), EsmHead(encoder.width, 1, 8, 0.0))


def gradients_of_one_step(model, data, config) -> dict:
    recorder = Recorder()
    config = replace(config, epochs=1, batch_size=len(data))
    train(model, squared_error, data, config, callbacks=[recorder])
    return recorder.gradients[0]


@pytest.mark.parametrize("max_tokens", [1, 23, 50, 100])
def test_cutting_a_step_does_not_change_its_gradient(backbone, data, max_tokens):
    whole = gradients_of_one_step(make_protein_model(backbone), data, replace(CONFIG, max_tokens=10_000))
    cut = gradients_of_one_step(make_protein_model(backbone), data, replace(CONFIG, max_tokens=max_tokens))
    assert len(whole) == 3 * 6 * 2 + 2 + 4
    assert whole.keys() == cut.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(cut[name], gradient, atol=1e-6, rtol=1e-4)


def test_losses_in_the_history_are_means_over_rows(data, validation):
    """At a rate of almost zero the model stays, so both losses can be computed beforehand."""
    model = Bag()
    expected = {}
    for name, part in [("train_loss", data), ("valid_loss", validation)]:
        outputs = outputs_of(model, part.inputs, CONFIG)[:, 0]
        expected[name] = float(np.mean(part.weights * (outputs - part.targets) ** 2))
    history = train(
        model, squared_error, data, replace(CONFIG, lr=1e-12, head_lr=1e-12), validation=validation
    )
    for row in history:
        assert row["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-5)
        assert row["valid_loss"] == pytest.approx(expected["valid_loss"], rel=1e-5)
        assert row["valid_score"] == -row["valid_loss"]


def test_history_has_one_plain_row_per_epoch(data, validation):
    history = train(Bag(), squared_error, data, CONFIG, validation=validation)
    assert [row["epoch"] for row in history] == [1, 2, 3]
    names = [
        "epoch",
        "train_loss",
        "valid_loss",
        "valid_score",
        "best",
        "lr",
        "seconds",
    ]
    assert all(list(row) == [*names, "residues_per_second"] for row in history)
    assert all(type(value) in (int, float, bool) for row in history for value in row.values())


def test_each_distinct_sequence_of_a_step_is_encoded_once(data, monkeypatch):
    lengths = []
    forward = Bag.forward
    monkeypatch.setattr(
        Bag, "forward", lambda self, t, rows: lengths.append(len(t.lengths)) or forward(self, t, rows)
    )
    train(Bag(), squared_error, data, replace(CONFIG, epochs=1, batch_size=11, max_tokens=10_000))
    assert lengths == [10, 10]  # 11 rows, two of them alike; the second time to look at the last update


# -- schedules and groups ------------------------------------------------------------------------


def test_rates_follow_the_schedule_over_all_epochs(data):
    recorder = Recorder()
    train(Bag(), squared_error, data, CONFIG, callbacks=[recorder])
    shape = schedule_shape("cosine", 0.2, 9)
    expected = [[base * shape(step) for base in (0.01, 0.02, 0.02)] for step in range(9)]
    np.testing.assert_allclose([sorted(rates) for rates in recorder.rates], expected)


def test_norms_and_biases_do_not_decay_and_heads_have_their_own_rate():
    model = Bag()
    model.head.bias.requires_grad_(False)
    groups = {(g["lr"], g["weight_decay"]): g["params"] for g in parameter_groups(model, CONFIG)}
    assert groups.keys() == {(0.01, 0.1), (0.02, 0.1), (0.02, 0.0)}
    assert groups[0.01, 0.1][0] is model.encoder.weight
    assert groups[0.02, 0.1][0] is model.head.weight
    assert [id(p) for p in groups[0.02, 0.0]] == [id(model.norm.weight), id(model.norm.bias)]


# -- validation and the best epoch ---------------------------------------------------------------


class Scores:
    """A scorer that gives prepared scores, one per epoch."""

    def __init__(self, *scores):
        self.scores = iter(scores)

    def __call__(self, outputs):
        return next(self.scores)


NAN = float("nan")


@pytest.mark.parametrize("scores, best", [((1, 3, 2), 2), ((3, 2, 1), 1), ((1, 2, 3), 3), ((2, 2, 2), 1)])
def test_every_tensor_of_the_best_epoch_is_restored(data, validation, scores, best):
    recorder, model = Recorder(), Bag()
    history = train(
        model,
        squared_error,
        data,
        CONFIG,
        validation=validation,
        scorer=Scores(*scores),
        callbacks=[recorder],
    )
    assert [row["valid_score"] for row in history] == list(scores)
    assert [row["epoch"] for row in history if row["best"]][-1] == best
    for name, tensor in model.named_parameters():
        for epoch, weights in enumerate(recorder.epochs, start=1):
            assert torch.equal(tensor, weights[name]) == (epoch == best), f"{name} of epoch {epoch}"


@pytest.mark.parametrize("scores, best", [((NAN, 1, 2), 3), ((1, NAN, NAN), 1), ((NAN, NAN, NAN), None)])
def test_a_score_without_a_value_is_no_improvement(data, validation, scores, best):
    with pytest.warns(UserWarning, match="score of epoch . is nan and counts as no improvement") as warned:
        history = train(Bag(), squared_error, data, CONFIG, validation=validation, scorer=Scores(*scores))
    assert len(warned) == 1
    assert [row["epoch"] for row in history if row["best"]][-1:] == [best][: best is not None]


def test_without_validation_the_last_epoch_stays(data):
    recorder, model = Recorder(), Bag()
    history = train(model, squared_error, data, CONFIG, callbacks=[recorder])
    assert "valid_loss" not in history[0]
    assert all(torch.equal(p, recorder.epochs[-1][n]) for n, p in model.named_parameters())


def test_patience_counts_epochs_without_improvement(data, validation):
    scores = Scores(1, 3, 2, 1, 4, 3, 3, 2, 9)
    config = replace(CONFIG, epochs=20, patience=3)
    history = train(Bag(), squared_error, data, config, validation=validation, scorer=scores)
    assert [row["valid_score"] for row in history] == [1, 3, 2, 1, 4, 3, 3, 2]


def test_scorer_sees_the_outputs_in_the_order_of_the_rows(data, validation):
    seen, model = [], Bag()
    train(
        model,
        squared_error,
        data,
        replace(CONFIG, epochs=1),
        validation=validation,
        scorer=lambda outputs: seen.append(outputs) or 0.0,
    )
    with torch.no_grad():
        expected = [model(*one_row(validation, row))[0].numpy() for row in range(len(validation))]
    np.testing.assert_allclose(seen[0], expected, atol=1e-6)


def test_validation_is_in_evaluation_mode_and_without_gradients(data, validation, monkeypatch):
    modes, forward = [], Bag.forward

    def spy(self, tokens, rows):
        modes.append((self.training, torch.is_grad_enabled()))
        return forward(self, tokens, rows)

    monkeypatch.setattr(Bag, "forward", spy)
    config = replace(CONFIG, epochs=2, batch_size=11, max_tokens=10_000)
    train(Bag(dropout=0.5), squared_error, data, config, validation=validation)
    assert modes == [(True, True), (False, False)] * 2


def test_validation_does_not_change_training(data, validation):
    first, second = Bag(dropout=0.3), Bag(dropout=0.3)
    train(first, squared_error, data, CONFIG)
    rising = Scores(1, 2, 3)
    train(second, squared_error, data, CONFIG, validation=validation, scorer=rising)
    assert all(torch.equal(p, second.get_parameter(n)) for n, p in first.named_parameters())


# -- order ----------------------------------------------------------------------------------------


def sum_of_ids(batch):
    pieces = batch.inputs.ids.split(batch.inputs.lengths)
    return torch.stack([p.sum() for p in pieces])[batch.index][:, None].float()


@given(
    st.lists(st.text("ACDEFGHIKLMNPQRSTVWY", min_size=1, max_size=30), min_size=1, max_size=40),
    st.integers(1, 90),
)
@settings(max_examples=60, deadline=None)
def test_outputs_come_in_the_order_of_the_rows(backbone, sequences, max_tokens):
    inputs = Inputs.of(backbone, sequences)
    found = infer(sum_of_ids, inputs, replace(CONFIG, max_tokens=max_tokens))
    expected = [backbone.tokenize([s])[0].astype(int).sum() for s in sequences]
    assert found.dtype == np.float32
    assert found[:, 0].tolist() == expected


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_outputs_of_some_rows(backbone, draw):
    sequences = ["A" * (1 + i % 7) + "C" * (i % 5) for i in range(20)]
    rows = draw.draw(st.lists(st.integers(0, 19), min_size=1, unique=True).map(sorted))
    inputs = Inputs.of(backbone, sequences)
    found = infer(sum_of_ids, inputs, CONFIG, np.array(rows))
    assert np.array_equal(found, infer(sum_of_ids, inputs, CONFIG)[rows])


# -- trouble --------------------------------------------------------------------------------------


def test_an_infinite_loss_names_step_epoch_and_rows(data):
    targets = data.targets.copy()
    targets[5] = np.inf
    bad = replace(data, targets=targets)
    recorder = Recorder()
    with pytest.raises(TrainingDivergedError) as caught:
        train(Bag(), squared_error, bad, CONFIG, callbacks=[recorder])
    steps = steps_of_epoch(11, 4, np.random.default_rng(CONFIG.seed))
    number = next(i for i, rows in enumerate(steps, start=1) if 5 in rows)
    rows = ", ".join(map(str, sorted(steps[number - 1])))
    assert f"loss became inf at step {number} (epoch 1) on training rows {rows}" in str(caught.value)


def test_an_infinite_gradient_is_named_and_not_applied(data):
    """The square root of zero: a finite loss with an infinite gradient."""
    model = Bag()
    before = weights_of(model)
    with pytest.raises(TrainingDivergedError, match=r"gradient became (nan|inf) at step 1 \(epoch 1\)"):
        train(model, lambda outputs, targets: (outputs[:, 0] * 0).sqrt(), data, CONFIG)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


class Cramped(Bag):
    """Runs out of memory whenever it gets more tokens than fit."""

    fits = 70
    failures = 0

    def forward(self, tokens, index):
        if len(tokens.ids) > self.fits:
            self.failures += 1
            raise torch.OutOfMemoryError("out of memory (simulated)")
        return super().forward(tokens, index)


def test_running_out_of_memory_changes_nothing_but_the_budget(data):
    config = replace(PLAIN, batch_size=11, max_tokens=128)
    cramped, free = Cramped(), Bag()
    with pytest.warns(UserWarning, match=r"Out of memory: continuing with max_tokens=64") as warned:
        train(cramped, squared_error, data, config)
    assert len(warned) == cramped.failures == 1  # the smaller budget stays for later steps
    train(free, squared_error, data, config)
    for name, tensor in free.named_parameters():
        torch.testing.assert_close(cramped.get_parameter(name), tensor, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("run", [train, outputs_of])
def test_a_generous_budget_is_halved_from_what_was_tried(data, run):
    """A budget of many times the step would fail again and again on the same batch."""
    config = replace(PLAIN, batch_size=11, max_tokens=100_000)
    n_tokens = int(data.inputs.sequences.lengths.sum())
    cramped = Cramped()
    with pytest.warns(UserWarning, match=f"max_tokens={n_tokens // 2}") as warned:
        train(cramped, squared_error, data, config) if run is train else outputs_of(
            cramped, data.inputs, config
        )
    assert len(warned) == cramped.failures == 1


class FailsLate(Bag):
    """Runs out of memory once, at the second micro-batch of the first step."""

    calls = 0

    def forward(self, tokens, index):
        self.calls += 1
        if self.calls == 2:
            raise torch.OutOfMemoryError("out of memory (simulated)")
        return super().forward(tokens, index)


def test_gradients_of_a_half_done_step_are_forgotten(backbone):
    data = draw_data(backbone, 30)
    config = replace(PLAIN, batch_size=30, max_tokens=130, epochs=1)
    failing, free = FailsLate(), Bag()
    with pytest.warns(UserWarning, match="max_tokens=65"):
        found = gradients_of_one_step(failing, data, config)
    expected = gradients_of_one_step(free, data, config)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4)


def test_inference_survives_running_out_of_memory(data):
    cramped = Cramped()
    with pytest.warns(UserWarning, match="max_tokens=64") as warned:
        found = outputs_of(cramped, data.inputs, replace(CONFIG, max_tokens=128))
    assert len(warned) == 1
    np.testing.assert_allclose(found, outputs_of(Bag(), data.inputs, CONFIG), atol=1e-6)


def test_memory_errors_that_no_budget_cures_are_raised(data, monkeypatch):
    monkeypatch.setattr(Cramped, "fits", 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(torch.OutOfMemoryError):
            train(Cramped(), squared_error, data, CONFIG)
        with pytest.raises(torch.OutOfMemoryError):
            outputs_of(Cramped(), data.inputs, CONFIG)


def test_other_errors_are_not_taken_for_lack_of_memory(data, monkeypatch):
    def fail(self, tokens, rows):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(Bag, "forward", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        train(Bag(), squared_error, data, CONFIG)


# -- callbacks and seeds --------------------------------------------------------------------------


def test_callbacks_of_skorch_see_every_event(data, validation):
    recorder = Recorder()
    config = replace(CONFIG, epochs=2)
    train(Bag(), squared_error, data, config, validation=validation, callbacks=[recorder])
    steps = ["step_begin", "step_end"] * 3
    epoch = ["epoch_begin", *steps, "validation_begin", "validation_end", "epoch_end"]
    assert recorder.events == ["train_begin", *epoch, *epoch, "train_end"]
    assert len(recorder.gradients) == 6


def test_early_stopping_of_skorch_stops(data, validation):
    config = replace(PLAIN, epochs=50, lr=1e-12, head_lr=1e-12)
    stop = EarlyStopping(monitor="valid_loss", patience=2, threshold=0.5, sink=lambda text: None)
    history = train(Bag(), squared_error, data, config, validation=validation, callbacks=[stop])
    assert 2 <= len(history) <= 3


class Interrupts(skorch.callbacks.Callback):
    """A user presses Ctrl-C at an event."""

    def __init__(self, event: str):
        setattr(self, event, self.press)

    def press(self, *args, **kwargs):
        raise KeyboardInterrupt


@pytest.mark.parametrize("event", ["on_train_begin", "on_batch_end", "on_grad_computed", "on_epoch_end"])
def test_an_interrupt_inside_a_callback_is_raised(data, validation, event):
    recorder = Recorder()
    with pytest.raises(KeyboardInterrupt):
        train(
            Bag(),
            squared_error,
            data,
            CONFIG,
            validation=validation,
            callbacks=[recorder, Interrupts(event)],
        )
    assert len(recorder.epochs) <= 1


def test_an_interrupt_is_raised_while_early_stopping_waits(data, validation):
    class Pressed(EarlyStopping):
        def on_epoch_end(self, net, **kwargs):
            super().on_epoch_end(net, **kwargs)
            raise KeyboardInterrupt

    callbacks = [Pressed(monitor="valid_loss", patience=5, sink=lambda text: None)]
    with pytest.raises(KeyboardInterrupt):
        train(Bag(), squared_error, data, CONFIG, validation=validation, callbacks=callbacks)


def test_an_interrupt_inside_the_model_is_raised(data, monkeypatch):
    def press(self, tokens, index):
        raise KeyboardInterrupt

    monkeypatch.setattr(Bag, "forward", press)
    with pytest.raises(KeyboardInterrupt):
        train(Bag(), squared_error, data, CONFIG)


def test_same_seed_same_bits(data, validation):
    models = [Bag(dropout=0.4) for _ in range(3)]
    torch.manual_seed(1)
    for model, seed in zip(models, [5, 5, 6]):
        torch.rand(3)  # the global state does not matter
        train(model, squared_error, data, replace(CONFIG, seed=seed), validation=validation)
    one, two, other = (weights_of(model) for model in models)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


def test_training_leaves_the_global_random_states_alone(data, validation):
    model = Bag(dropout=0.4)
    state, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    train(model, squared_error, data, CONFIG, validation=validation)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002


def test_frozen_tensors_stay_and_get_no_gradient(data):
    model = Bag()
    model.encoder.requires_grad_(False)
    before = model.encoder.weight.clone()
    train(model, squared_error, data, CONFIG)
    assert torch.equal(model.encoder.weight, before)
    assert model.encoder.weight.grad is None


# -- epochs that are drawn -----------------------------------------------------------------------


@dataclass
class Seen(skorch.callbacks.Callback):
    """Rows of every step."""

    rows: list = field(default_factory=list)

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        if training:
            self.rows.append(batch.samples)


def test_an_epoch_of_drawn_rows(data):
    seen = Seen()
    history = train(Bag(), squared_error, data, replace(CONFIG, epoch_size=6, epochs=4), callbacks=[seen])
    assert len(history) == 4
    assert [len(rows) for rows in seen.rows] == [4, 2] * 4
    epochs = [np.concatenate(seen.rows[i : i + 2]) for i in range(0, 8, 2)]
    assert all(len(set(epoch)) == 6 for epoch in epochs)
    assert len({tuple(sorted(epoch)) for epoch in epochs}) > 1


def test_strata_are_drawn_alike(data):
    seen, strata = Seen(), np.arange(len(data)) < 2
    balanced = replace(data, strata=strata)
    train(Bag(), squared_error, balanced, replace(CONFIG, epoch_size=8, epochs=2), callbacks=[seen])
    for epoch in (seen.rows[:2], seen.rows[2:]):
        assert np.concatenate([strata[rows] for rows in epoch]).sum() == 4
