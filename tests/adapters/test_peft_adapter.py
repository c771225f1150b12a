"""Other methods of peft: those that work, and those that would do harm."""

import peft
import pytest
import torch
from every_method import build, snapshot, tokens_of, train, trained_tensors

from plmlearn.adapters import PeftAdapter
from plmlearn.backbones import load_backbone
from plmlearn.nn.models import learned_tensors, load_learned

CONFIGS = {
    "LoHa": peft.LoHaConfig(r=2),
    "LoKr": peft.LoKrConfig(r=2),
    "OFT": peft.OFTConfig(oft_block_size=8, r=0),
    "HRA": peft.HRAConfig(r=2),
    "MiSS": peft.MissConfig(r=2),
    "C3A": peft.C3AConfig(block_size=8),
    "FourierFT": peft.FourierFTConfig(n_frequency=20),
    "RandLoRA": peft.RandLoraConfig(r=8),
    "VBLoRA": peft.VBLoRAConfig(r=4, num_vectors=20, vector_length=8, topk=2),
    "LoRA": peft.LoraConfig(r=2, bias="all"),
    "IA3": peft.IA3Config(feedforward_modules=[]),
}


@pytest.mark.parametrize("quantization", [None, "int8"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_methods_of_peft_train_and_are_restored(config, quantization, miniature):
    backbone = load_backbone(str(miniature("esm2")), quantization=quantization)
    adapter = PeftAdapter(config, target_modules=("key", "value"), last_n_layers=2)
    before, tokens = snapshot(backbone), tokens_of(backbone)
    model, other = build(adapter, backbone), build(adapter, backbone, seed=1)
    start = {name: tensor.detach().clone() for name, tensor in trained_tensors(model).items()}
    train(model, tokens)
    assert all(not torch.equal(p, start[name]) for name, p in trained_tensors(model).items())
    assert all(torch.equal(p, before[name]) for name, p in backbone.model.named_parameters())
    load_learned(other, learned_tensors(model))
    with torch.no_grad():
        assert torch.equal(other.encoder.eval()(tokens), model.encoder.eval()(tokens))


def test_names_of_peft_are_taken_as_they_are(esm2):
    config = peft.LoraConfig(r=2, target_modules=["attention.self.query"], layers_to_transform=[1])
    trained = trained_tensors(PeftAdapter(config).install(esm2))
    assert {name.partition(".lora_")[0] for name in trained} == {"encoder.layer.1.attention.self.query"}
    assert PeftAdapter(config).first_trained_layer(3) == 0


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_a_start_that_changes_shared_weights_is_refused(esm2, start):
    before = snapshot(esm2)
    adapter = PeftAdapter(peft.LoraConfig(init_lora_weights=start), target_modules=("key",))
    with pytest.raises(ValueError, match=r"changes the backbone's weights.*init_lora_weights=True"):
        adapter.install(esm2)
    assert all(torch.equal(p, before[name]) for name, p in esm2.model.named_parameters())


def test_a_method_that_draws_what_it_does_not_keep_is_refused(esm2, monkeypatch):
    """VeRA's matrices, were they drawn from no seed."""
    initialise = peft.tuners.vera.VeraModel._init_vera_A_vera_B

    def at_random(self, config, adapter_name):
        initialise(self, config, adapter_name)
        self.vera_A[adapter_name] = torch.randn_like(self.vera_A[adapter_name])

    monkeypatch.setattr(peft.tuners.vera.VeraModel, "_init_vera_A_vera_B", at_random)
    adapter = PeftAdapter(peft.VeraConfig(r=4), target_modules=("key",))
    with pytest.raises(ValueError, match=r"draws at random what is not trained.*set a seed"):
        adapter.install(esm2)


@pytest.mark.parametrize(
    "adapter, message",
    [
        (PeftAdapter(3), "config is a configuration of peft.*got a int"),
        (PeftAdapter(peft.LoraConfig()), r"names no matrices; pass PeftAdapter\(config, target_modules="),
        (PeftAdapter(peft.LoraConfig(target_modules=["key"]), last_n_layers=1), "asks for target_modules"),
        (PeftAdapter(peft.PrefixTuningConfig(num_virtual_tokens=2)), r"take plmlearn's PromptTuning\(\)"),
        (PeftAdapter(peft.PromptTuningConfig(num_virtual_tokens=2)), r"take plmlearn's PromptTuning\(\)"),
        (PeftAdapter(peft.AdaLoraConfig(total_step=9), target_modules="key"), r"take plmlearn's AdaLoRA\(\)"),
        (
            PeftAdapter(peft.LoraConfig(target_modules=["word_embeddings"])),
            "adapts a Embedding; plmlearn's encoders take adapted matrices",
        ),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else type(value.config).__name__,
)
def test_settings_that_do_not_fit_are_refused(esm2, adapter, message):
    with pytest.raises(ValueError, match=message):
        adapter.install(esm2)
