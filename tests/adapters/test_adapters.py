"""What every method trains and shares, on every architecture."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from every_method import (
    METHODS,
    SEQUENCES,
    STARTS_ELSEWHERE,
    build,
    methods,
    snapshot,
    tokens_of,
    train,
    trained_tensors,
)
from safetensors.torch import load_file, save_file
from sklearn.base import clone

from plmlearn.adapters import Bottleneck, FullFineTuning, LoRA, target_pattern
from plmlearn.adapters.base import PeftMethod, layer_index
from plmlearn.backbones import BackboneWeightsError, load_backbone
from plmlearn.nn.encoders import make_encoder
from plmlearn.nn.models import learned_tensors, load_learned


@pytest.mark.parametrize("name", [name for name in METHODS if not name.startswith(STARTS_ELSEWHERE)])
def test_output_at_the_start_is_that_of_the_backbone(name, backbone):
    tokens = tokens_of(backbone)
    with torch.no_grad():
        found = make_encoder(METHODS[name].install(backbone)).eval()(tokens)
        expected = make_encoder(backbone.model)(tokens)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


@methods
def test_training_moves_the_trained_tensors_and_nothing_else(adapter, backbone):
    """Every trained tensor gets a gradient and moves; the backbone stays as it is, bit by bit."""
    before = snapshot(backbone)
    model = build(adapter, backbone)
    trained = {name: tensor.detach().clone() for name, tensor in trained_tensors(model).items()}
    train(model, tokens_of(backbone, [*SEQUENCES, "XBUZO"]))
    for name, tensor in trained_tensors(model).items():
        assert tensor.grad is not None, f"no gradient reaches {name}"
        assert tensor.grad.abs().max() > 0, f"the gradient of {name} is zero"
        assert not torch.equal(tensor, trained[name]), f"{name} is trained, but did not move"
    own = {p.data_ptr() for p in backbone.model.parameters()}
    assert all(p.data_ptr() not in own for p in trained_tensors(model).values())
    for name, tensor in backbone.model.named_parameters():
        assert torch.equal(tensor, before[name]), f"{name} of the backbone changed"
        assert not tensor.requires_grad
        assert tensor.grad is None


@methods
def test_frozen_weights_are_shared(adapter, backbone):
    """Of the backbone's tensors a model owns those alone that it trains."""
    model = adapter.install(backbone)
    held = {p.data_ptr() for p in [*model.parameters(), *model.buffers()]}
    names = {n.replace(".base_layer", "").replace(".linear.", ".") for n in trained_tensors(model)}
    for name, tensor in backbone.model.named_parameters():
        assert (tensor.data_ptr() in held) != (name in names), name


@methods
def test_installing_leaves_the_backbone_as_it_was(adapter, backbone):
    modules = {name: type(module) for name, module in backbone.model.named_modules()}
    tensors = {name: id(p) for name, p in backbone.model.named_parameters()}
    adapter.install(backbone)
    assert modules == {name: type(module) for name, module in backbone.model.named_modules()}
    assert tensors == {name: id(p) for name, p in backbone.model.named_parameters()}
    assert not any(p.requires_grad for p in backbone.model.parameters())


@methods
def test_nothing_trained_lies_below_the_first_trained_layer(adapter, backbone):
    model = adapter.install(backbone)
    first = adapter.first_trained_layer(backbone.n_layers)
    layers = [layer_index(name, backbone) for name in trained_tensors(model)]
    if first == 0:
        assert 0 in layers
    elif first == backbone.n_layers:
        assert layers == []
    else:
        assert min(layer for layer in layers if layer is not None) == first
        outside = {n for n in trained_tensors(model) if layer_index(n, backbone) is None}
        assert all("norm" in name for name in outside)  # the final one, above all layers


@methods
def test_a_batch_gives_what_each_sequence_gives_alone(adapter, backbone):
    model = build(adapter, backbone)
    train(model, tokens_of(backbone))
    model.eval()
    with torch.no_grad():
        together = model.encoder(tokens_of(backbone)).split(tokens_of(backbone).lengths)
        for sequence, expected in zip(SEQUENCES, together, strict=True):
            alone = model.encoder(tokens_of(backbone, [sequence]))
            torch.testing.assert_close(alone, expected, atol=1e-5, rtol=1e-5)


@methods
def test_t5_without_a_gate_takes_every_method(adapter, miniature):
    """ProtT5's feed-forward layer has one matrix where Ankh's has two."""
    prott5 = load_backbone(str(miniature("prott5")))
    test_training_moves_the_trained_tensors_and_nothing_else(adapter, prott5)
    test_a_batch_gives_what_each_sequence_gives_alone(adapter, prott5)


@methods
def test_learned_tensors_restore_a_model_built_with_another_seed(adapter, backbone):
    model, other = build(adapter, backbone), build(adapter, backbone, seed=1)
    tokens, rows = tokens_of(backbone), torch.arange(len(SEQUENCES))
    train(model, tokens)
    load_learned(other, {name: tensor.clone() for name, tensor in learned_tensors(model).items()})
    with torch.no_grad():
        assert torch.equal(other.eval()(tokens, rows), model.eval()(tokens, rows))


@methods
def test_checkpointing_changes_nothing(adapter, esm2):
    """Nor does reading the layers below the first trained one from a store."""
    tokens, results = tokens_of(esm2), []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = build(adapter, esm2, checkpointing=checkpointing).eval()
        model(tokens, torch.arange(len(SEQUENCES))).square().sum().backward()
        results.append({name: tensor.grad for name, tensor in trained_tensors(model).items()})
    for name, gradient in results[0].items():
        torch.testing.assert_close(results[1][name], gradient, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@methods
def test_trained_tensors_are_float32(miniature, adapter, precision):
    model = adapter.install(load_backbone(str(miniature("esm2")), precision=precision))
    assert {p.dtype for p in trained_tensors(model).values()} <= {torch.float32}
    assert not [name for name in trained_tensors(model) if "ranknum" in name]


@methods
def test_trained_tensors_of_a_bfloat16_backbone_move_alone(adapter, miniature):
    backbone = load_backbone(str(miniature("esm2")), precision="bf16")
    before = snapshot(backbone)
    model = build(adapter, backbone)
    start = {name: tensor.detach().clone() for name, tensor in trained_tensors(model).items()}
    for _ in range(3):  # a cast of a weight lives as long as its context
        with torch.autocast("cpu", dtype=torch.bfloat16):
            train(model, tokens_of(backbone), steps=1)
    assert all(not torch.equal(p, start[name]) for name, p in trained_tensors(model).items())
    assert all(torch.equal(p, before[n]) for n, p in backbone.model.named_parameters())


@pytest.mark.parametrize("init", ["pretrained", "random"])
@pytest.mark.parametrize("architecture", ["esm2", "prott5"])
def test_tensors_of_a_bfloat16_backbone_start_as_they_are_stored(miniature, architecture, init):
    """Not from the values that bfloat16 rounds them to."""
    folder = str(miniature(architecture))
    stored = dict(load_backbone(folder, init=init).model.named_parameters())
    model = FullFineTuning(last_n_layers=1).install(load_backbone(folder, precision="bf16", init=init))
    started = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert all(torch.equal(p, stored[name]) for name, p in started.items())
    assert any(not torch.equal(p, p.bfloat16().float()) for p in started.values())


def test_weights_that_changed_since_they_were_loaded_are_refused(write_miniature, tmp_path):
    folder = write_miniature("esm2", tmp_path / "esm2")
    backbone = load_backbone(str(folder), precision="bf16")
    changed = {name: tensor + 1 for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(changed, folder / "model.safetensors")
    with pytest.raises(BackboneWeightsError, match="have changed since they were loaded"):
        FullFineTuning().install(backbone)


QUANTIZABLE = {n: a for n, a in METHODS.items() if not isinstance(a, FullFineTuning)}


@pytest.mark.parametrize("adapter", QUANTIZABLE.values(), ids=QUANTIZABLE.keys())
def test_methods_work_on_quantized_weights(adapter, miniature):
    """Gradients reach all; at the start the output is that of the quantized backbone."""
    backbone = load_backbone(str(miniature("esm2")), quantization="int8")
    tokens, before = tokens_of(backbone), [t.clone() for t in backbone.tensors()]
    model = build(adapter, backbone).eval()
    if not isinstance(adapter, tuple(type(METHODS[n]) for n in ("prefix", "prompt, all"))):
        with torch.no_grad():
            expected = make_encoder(backbone.model)(tokens)
            torch.testing.assert_close(model.encoder(tokens), expected, atol=1e-6, rtol=1e-6)
    start = {name: tensor.detach().clone() for name, tensor in trained_tensors(model).items()}
    train(model, tokens)
    assert all(not torch.equal(p, start[name]) for name, p in trained_tensors(model).items())
    assert all(torch.equal(a, b) for a, b in zip(before, backbone.tensors(), strict=True))


def test_two_models_on_one_backbone_do_not_see_each_other(backbone):
    tokens = tokens_of(backbone, ["MKTAYIAKQR", "GGG"])
    first, second = build(LoRA(), backbone), build(LoRA(), backbone)
    with torch.no_grad():
        expected = second(tokens, torch.arange(2))
    train(first, tokens)
    with torch.no_grad():
        assert torch.equal(second(tokens, torch.arange(2)), expected)


def test_tied_embeddings_stay_tied(miniature):
    backbone = load_backbone(str(miniature("prott5")))
    model = FullFineTuning().install(backbone)
    assert model.shared.weight is model.encoder.embed_tokens.weight
    assert model.shared.weight is not backbone.model.shared.weight


# -- merging, by peft ------------------------------------------------------------------------------

BY_PEFT = [name for name, adapter in METHODS.items() if isinstance(adapter, PeftMethod)]


@pytest.mark.parametrize("name", BY_PEFT)
def test_merged_weights_give_the_same_output(name, backbone):
    model = build(METHODS[name], backbone)
    tokens = tokens_of(backbone)
    train(model, tokens)
    encoder = model.encoder.eval()
    with torch.no_grad():
        expected = encoder(tokens)
        adapted = [m for m in encoder.modules() if hasattr(m, "merge") and hasattr(m, "base_layer")]
        assert adapted
        for module in adapted:
            weight = module.base_layer.weight
            module.base_layer.weight = torch.nn.Parameter(weight.clone(), requires_grad=False)
            if module.base_layer.bias is not None:
                bias = module.base_layer.bias.detach().clone()
                module.base_layer.bias = torch.nn.Parameter(bias, requires_grad=False)
            module.merge()
        largest = float(expected.abs().max())
        torch.testing.assert_close(encoder(tokens), expected, atol=1e-5 * largest, rtol=0.0)


# -- settings ------------------------------------------------------------------------------------


@methods
def test_parameters_can_be_searched_and_copied(adapter):
    copy = clone(adapter)
    assert copy.get_params().keys() == adapter.get_params().keys()
    assert repr(pickle.loads(pickle.dumps(adapter))) == repr(copy) == repr(adapter)


def test_a_copy_can_be_changed_without_the_original():
    adapter = LoRA()
    assert clone(adapter).set_params(rank=3).get_params() == adapter.get_params() | {"rank": 3}
    assert adapter.rank == 8


@methods
def test_installing_changes_no_setting(adapter, esm2):
    before = pickle.dumps(adapter.get_params())
    adapter.install(esm2)
    assert pickle.dumps(adapter.get_params()) == before


def test_numpy_integers_are_integers(esm2):
    """A grid such as np.arange(1, 4) must work."""
    model = LoRA(rank=np.int64(2), last_n_layers=np.int32(1)).install(esm2)
    assert next(p for n, p in model.named_parameters() if "lora_A" in n).shape == (2, 32)
    FullFineTuning(last_n_layers=np.int64(2)).install(esm2)
    Bottleneck(size=np.int64(2)).install(esm2)


LAYERED = {name: adapter for name, adapter in METHODS.items() if "last_n_layers" in adapter.get_params()}


@pytest.mark.parametrize("adapter", LAYERED.values(), ids=LAYERED.keys())
def test_layers_that_a_backbone_lacks_are_refused(adapter, esm2):
    refused = {
        4: "last_n_layers=4.*has 3 layers.*at most 3",
        0: r"int in the range \[1, inf\) or None. Got 0",
        1.5: "Got 1.5",
    }
    for n, message in refused.items():
        with pytest.raises(ValueError, match=message):
            clone(adapter).set_params(last_n_layers=n).install(esm2)


@pytest.mark.parametrize("name", BY_PEFT)
def test_matrices_that_a_backbone_lacks_are_refused(name, backbone):
    refused = {("key", "keys"): "got 'keys'.*query, key", "dense": "got 'dense'.*attention, all"}
    for names, message in refused.items():
        with pytest.raises(ValueError, match=message):
            clone(METHODS[name]).set_params(target_modules=names).install(backbone)


def test_target_pattern_matches_whole_names_only(esm2):
    pattern = target_pattern(esm2, ("output",), range(3))
    assert re.fullmatch(pattern, "encoder.layer.1.attention.output.dense")
    assert not re.fullmatch(pattern, "encoder.layer.1.output.dense")
    assert not re.fullmatch(pattern, "encoder.layer.11.attention.output.dense")


def test_the_method_that_contributing_shows_works(backbone):
    """A new method is one class."""
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    names: dict = {"__name__": "shown"}
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1], names)
    adapter = names["BitFit"](last_n_layers=1)
    if not any(name.endswith(".bias") for name, _ in backbone.model.named_parameters()):
        pytest.skip("no biases in this architecture")
    trained = trained_tensors(adapter.install(backbone))
    assert {layer_index(name, backbone) for name in trained} == {2}
    assert all(name.endswith(".bias") for name in trained)
    model, tokens = build(adapter, backbone), tokens_of(backbone)
    start = {name: tensor.detach().clone() for name, tensor in trained_tensors(model).items()}
    train(model, tokens)
    assert all(not torch.equal(p, start[name]) for name, p in trained_tensors(model).items())
