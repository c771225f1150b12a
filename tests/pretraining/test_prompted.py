"""A prompt stands at the same place in training on crops, in likelihoods and in embeddings."""

import numpy as np
import pytest
import torch

from plmlearn import PLMMaskedLM
from plmlearn.adapters import PromptTuning
from plmlearn.backbones import load_backbone
from plmlearn.nn.encoders import make_encoder
from plmlearn.nn.packing import PackedTokens
from plmlearn.pretraining.language_head import LanguageHead, MaskedLanguageModel

SEQUENCES = ["MKTAYIAKQRQISFVK", "GSHMLEDPVE", "ACDEFGHIKLMNPQRSTVWY"]


@pytest.fixture
def prompted(miniature):
    """A masked language model whose prompt is large enough to matter, and the tokens of one protein."""
    backbone = load_backbone(str(miniature("esm2")))
    torch.manual_seed(0)
    encoder = make_encoder(PromptTuning(n_tokens=3, layers="all").install(backbone))
    with torch.no_grad():
        for block in encoder.blocks:
            block.prompt.vectors.normal_()
    model = MaskedLanguageModel(encoder, LanguageHead(encoder.width, 33), backbone.vocabulary["<cls>"])
    ids, _ = backbone.tokenize(SEQUENCES[:1])
    return model.eval(), torch.from_numpy(ids.astype(np.int64))


def logits_with_prefix(model: MaskedLanguageModel, ids: torch.Tensor, n_prefix: int) -> torch.Tensor:
    """Logits of all tokens of one crop with the prompt after ``n_prefix`` of them."""
    hidden = model.encoder(PackedTokens(ids, [len(ids)], n_prefix, 0))
    return model.lm_head(hidden, model.token_embedding)


@torch.no_grad()
def test_prompts_stand_after_the_first_token_and_before_crops_without_it(prompted):
    model, ids = prompted
    crops = [ids, ids[:9], ids[5:14], ids[6:]]
    tokens = PackedTokens(torch.cat(crops), [len(crop) for crop in crops], 0, 0)
    found = model(tokens, torch.arange(len(tokens.ids))).split(tokens.lengths)
    for crop, logits, n_prefix in zip(crops, found, (1, 1, 0, 0), strict=True):
        torch.testing.assert_close(logits, logits_with_prefix(model, crop, n_prefix), atol=1e-5, rtol=1e-5)
    assert (found[0] - logits_with_prefix(model, ids, 0)).abs().max() > 1e-3  # the place matters


def test_gradients_of_crops_reach_the_prompt_and_no_prompt_is_predicted(prompted):
    model, ids = prompted
    tokens = PackedTokens(torch.cat([ids, ids[5:]]), [len(ids), len(ids) - 5], 0, 0)
    logits = model(tokens, torch.arange(len(tokens.ids)))
    assert logits.shape == (len(tokens.ids), 33)
    logits.square().sum().backward()
    for block in model.encoder.blocks:
        assert block.prompt.vectors.grad.abs().sum() > 0


def test_embeddings_are_those_of_the_encoder_as_it_was_trained(miniature):
    """``transform`` gives the mean over residues of what the language head reads."""
    model = PLMMaskedLM(
        str(miniature("esm2")), adapter=PromptTuning(n_tokens=3), max_steps=2, batch_size=2, lr=0.5,
        random_state=0, device="cpu", precision="fp32", verbose=0,
    ).fit(SEQUENCES)  # fmt: skip
    backbone = load_backbone(str(miniature("esm2")))
    read = []
    trained = model._restored().module.eval()
    trained.lm_head.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    for sequence, embedding in zip(SEQUENCES, model.transform(SEQUENCES), strict=True):
        ids = torch.from_numpy(backbone.tokenize([sequence])[0].astype(np.int64))
        with torch.no_grad():
            trained(PackedTokens(ids, [len(ids)], 0, 0), torch.arange(len(ids)))
        np.testing.assert_allclose(read.pop()[1:-1].mean(0).numpy(), embedding, atol=1e-5)
