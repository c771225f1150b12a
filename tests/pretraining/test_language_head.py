"""The masked language model says what transformers' EsmForMaskedLM says."""

import pytest
import torch
import transformers

from plmlearn.nn.encoders import make_encoder
from plmlearn.nn.packing import PackedTokens
from plmlearn.pretraining.initialization import NEAREST, attend_to_neighbours
from plmlearn.pretraining.language_head import LanguageHead, MaskedLanguageModel


def packed(reference: transformers.EsmForMaskedLM) -> MaskedLanguageModel:
    config = reference.config
    head = LanguageHead(
        config.hidden_size, config.vocab_size, config.layer_norm_eps, tied=config.tie_word_embeddings
    )
    stored = reference.lm_head.state_dict()
    head.load_state_dict({name: stored[name] for name in head.state_dict()})
    return MaskedLanguageModel(make_encoder(reference.esm), head, first_token=0)


@pytest.mark.parametrize("tied", [True, False])
def test_logits_and_losses_equal_transformers(make_esm, tmp_path, tied):
    folder = make_esm(tmp_path, tie_word_embeddings=tied)
    reference = transformers.EsmForMaskedLM.from_pretrained(folder).eval()
    rng = torch.Generator().manual_seed(0)
    rows = [torch.randint(4, 24, (n,), generator=rng) for n in (9, 14, 14)]
    for row in rows:
        row[0], row[-1] = 0, 2
        row[3:6] = 32
    positions = [torch.tensor([3, 4, 5]) for _ in rows]
    starts = [0, 9, 23]
    model = packed(reference).eval()
    with torch.no_grad():
        got = model(
            PackedTokens(torch.cat(rows), [9, 14, 14], 0, 0),
            torch.cat([p + s for p, s in zip(positions, starts)]),
        )
        expected = torch.cat([reference(row[None]).logits[0, 3:6] for row in rows])
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-4)


def test_first_biases_are_frequencies(make_esm, tmp_path):
    head = LanguageHead(8, 33)
    shares = torch.full((33,), 1 / 33)
    shares[5], shares[6] = 2 / 33, 1e-6
    head.start_from(shares)
    torch.testing.assert_close(head.bias.detach().exp(), shares)


@pytest.mark.parametrize("n_heads", [2, 4])
def test_heads_look_at_their_own_offset(n_heads):
    """Where weights add nothing, the highest score of every token is at the head's offset."""
    config = transformers.EsmConfig(
        vocab_size=33,
        mask_token_id=32,
        pad_token_id=1,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=n_heads,
        intermediate_size=64,
        position_embedding_type="rotary",
        attn_implementation="eager",
    )
    torch.manual_seed(0)
    model = transformers.EsmModel(config, add_pooling_layer=False).eval()
    attend_to_neighbours(model)
    for layer in model.encoder.layer:
        torch.nn.init.zeros_(layer.attention.self.query.weight)
        torch.nn.init.zeros_(layer.attention.self.key.weight)
    with torch.no_grad():
        out = model(torch.randint(4, 24, (1, 40)), output_attentions=True)
    offsets = [sign * d for d in range(1, NEAREST + 1) for sign in (-1, 1)]
    for i, attention in enumerate(out.attentions):
        for head in range(n_heads):
            offset = offsets[(i * n_heads + head) % len(offsets)]
            inner = torch.arange(NEAREST, 40 - NEAREST)
            assert (attention[0, head].argmax(-1)[inner] == inner + offset).all()
