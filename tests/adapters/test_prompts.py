"""Prefixes and prompts against transformers' own models and written-out attention."""

import pytest
import torch
from every_method import SEQUENCES, build, tokens_of, train, trained_tensors

from plmlearn.adapters import PrefixTuning, PromptTuning
from plmlearn.backbones import load_backbone
from plmlearn.nn.encoders import make_encoder
from plmlearn.nn.packing import unpack


def drawn(adapter, backbone):
    """An encoder whose learned vectors are large enough to matter."""
    encoder = build(adapter, backbone).encoder.eval()
    with torch.no_grad():
        for tensor in trained_tensors(encoder).values():
            tensor.normal_()
    return encoder


def by_transformers(backbone, sequence: str, prompts: dict[int, torch.Tensor]) -> torch.Tensor:
    """transformers' forward with vectors behind the prefix tokens before some layers, (T, D).

    It reads as many residues more, and the vectors take their place before each of those layers.
    """
    at, n = len(backbone.token_format.prefix), len(next(iter(prompts.values())))

    def exchange(vectors):
        def hook(layer, args):
            return torch.cat([args[0][:, :at], vectors[None], args[0][:, at + n :]], 1), *args[1:]

        return hook

    blocks = backbone.model.get_submodule(backbone.architecture.layers)
    hooks = [blocks[i].register_forward_pre_hook(exchange(vectors)) for i, vectors in prompts.items()]
    ids = tokens_of(backbone, ["A" * n + sequence]).ids[None]
    own = {}
    if backbone.config.model_type == "bert":  # a prompt has no position, and moves none
        places = torch.arange(ids.shape[1] - n)
        own["position_ids"] = torch.cat([places[:at], places.new_zeros(n), places[at:]])[None]
    out = backbone.model(input_ids=ids, attention_mask=torch.ones_like(ids), **own).last_hidden_state[0]
    for hook in hooks:
        hook.remove()
    return torch.cat([out[:at], out[at + n :]])


@pytest.mark.parametrize("layers", ["first", "all"])
@torch.no_grad()
def test_prompts_equal_transformers_on_longer_input(backbone, layers):
    encoder = drawn(PromptTuning(n_tokens=3, layers=layers), backbone)
    prompts = {i: dict(block.named_children()).get("prompt") for i, block in enumerate(encoder.blocks)}
    places = {i: prompt.vectors for i, prompt in prompts.items() if prompt is not None}
    found = encoder(tokens_of(backbone)).split(tokens_of(backbone).lengths)
    for sequence, hidden in zip(SEQUENCES, found, strict=True):
        expected = by_transformers(backbone, sequence, places)
        torch.testing.assert_close(hidden, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_prompts_of_upper_layers_leave_lower_ones_alone(backbone):
    """A prompt before layer 2 is the run of layers 0 and 1, then that of layer 2 on a longer sequence."""
    encoder, plain = drawn(PromptTuning(n_tokens=4, layers="last"), backbone), make_encoder(backbone.model)
    tokens = tokens_of(backbone, ["MKTAYIAKQR"])
    at = tokens.n_prefix
    hidden = plain.run(plain.embed(tokens), tokens, 0, 2)
    longer = tokens_of(backbone, ["AAAAMKTAYIAKQR"])
    grown = torch.cat([hidden[:at], encoder.blocks[2].prompt.vectors, hidden[at:]])
    out = plain.run(grown, longer, 2, 3)
    expected = plain.finish(torch.cat([out[:at], out[at + 4 :]]))
    torch.testing.assert_close(encoder(tokens), expected, atol=1e-5, rtol=1e-5)


def test_where_prompts_enter(esm2):
    def entered(adapter):
        return sorted(int(name.split(".")[2]) for name in trained_tensors(adapter.install(esm2)))

    assert entered(PromptTuning()) == [0]
    assert entered(PromptTuning(last_n_layers=2)) == [1]
    assert (
        entered(PromptTuning(layers="last")) == entered(PromptTuning(layers="last", last_n_layers=1)) == [2]
    )
    assert entered(PromptTuning(layers="all")) == [0, 1, 2]
    assert entered(PromptTuning(layers="all", last_n_layers=2)) == [1, 2]
    assert entered(PromptTuning(layers="top")) == [1, 2]
    assert entered(PromptTuning(layers="top", last_n_layers=1)) == [2]


@torch.no_grad()
def test_prompts_start_as_the_encoders_own_embeddings_of_residues(backbone):
    """In ESM with the factor of token dropout, 0.88, that all its embeddings carry."""
    encoder = make_encoder(PromptTuning(n_tokens=40).install(backbone))
    tokens = tokens_of(backbone, [letter * 40 for letter in "ACDEFGHIKLMNPQRSTVWY"])
    own = encoder.embed(tokens)[tokens.residue_index]
    each = own.unflatten(0, (20, 40))  # by letter and position: those of BERT are part of the embeddings
    distance = (encoder.blocks[0].prompt.vectors - each).abs().amax(-1).min(dim=0)
    assert distance.values.max() < 1e-5
    assert len(set(distance.indices.tolist())) > 10
    if backbone.config.model_type == "esm":
        table = backbone.model.embeddings.word_embeddings.weight
        torch.testing.assert_close(own, 0.88 * table[tokens.ids[tokens.residue_index]])


@torch.no_grad()
def test_prompts_start_the_same_for_the_same_seed(esm2):
    def start(seed):
        torch.manual_seed(seed)
        return PromptTuning().install(esm2).encoder.layer[0].prompt.vectors

    assert torch.equal(start(1), start(1))
    assert not torch.equal(start(1), start(2))


@pytest.mark.parametrize("layers", ["first", "last", "top", "all"])
def test_pooling_and_heads_see_residues_alone(backbone, layers):
    encoder = drawn(PromptTuning(n_tokens=5, layers=layers), backbone)
    tokens = tokens_of(backbone)
    encoded = unpack(encoder(tokens), tokens)
    assert encoded.residues.values.shape == (sum(map(len, SEQUENCES)), 32)
    assert encoded.residues.lengths == [len(sequence) for sequence in SEQUENCES]
    if tokens.n_prefix:
        assert encoded.first.shape == (4, 32)


# -- prefixes --------------------------------------------------------------------------------------


@torch.no_grad()
def test_prefixes_are_more_keys_and_values(backbone):
    """The attention of every layer, written out as one softmax over the prefix and the own sequence."""
    encoder = drawn(PrefixTuning(n_tokens=3), backbone)
    tokens, calls = tokens_of(backbone), []
    whole = encoder.attention

    def record(block, query, key, value, tokens, **options):
        out = whole(block, query, key, value, tokens, **options)
        calls.append((list(encoder.blocks).index(block), query, key, value, options, out))
        return out

    encoder.attention = record
    encoder(tokens)
    assert [call[0] for call in calls] == [0, 1, 2]
    for index, query, key, value, options, out in calls:
        before = encoder.blocks[index].prefix.vectors.chunk(2, dim=1)
        before_k, before_v = (x.view(3, *key.shape[1:]) for x in before)
        start = 0
        for length in tokens.lengths:
            rows = slice(start, start := start + length)
            scores = torch.einsum("qhk,lhk->hql", query[rows], torch.cat([before_k, key[rows]]))
            scores = scores * options.get("scale", 1.0)
            if "bias" in options:
                scores[:, :, 3:] += options["bias"].square[:, :length, :length]
            values = torch.cat([before_v, value[rows]])
            expected = torch.einsum("hql,lhk->qhk", scores.softmax(-1), values)
            torch.testing.assert_close(out[rows], expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_perceptron_makes_the_same_vectors_for_all(esm2):
    encoder = drawn(PrefixTuning(n_tokens=3, hidden=8, last_n_layers=1), esm2)
    prefix = encoder.blocks[2].prefix
    inner = torch.tanh(prefix.vectors @ prefix.network[0].weight.T + prefix.network[0].bias)
    vectors = inner @ prefix.network[2].weight.T + prefix.network[2].bias
    direct = drawn(PrefixTuning(n_tokens=3, last_n_layers=1), esm2)
    direct.blocks[2].prefix.vectors.copy_(vectors)
    tokens = tokens_of(esm2)
    torch.testing.assert_close(encoder(tokens), direct(tokens), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_residues_keep_their_positions(esm2):
    """A prefix that no query looks at changes nothing."""
    encoder = drawn(PrefixTuning(n_tokens=3), esm2)
    tokens = tokens_of(esm2)
    keys = []
    whole = encoder.attention

    def far_away(index, query, key, value, tokens, **options):
        keys.append(key.clone())
        return whole(index, query, key, value, tokens, **options)

    encoder.attention = far_away
    encoder(tokens)
    plain, expected = make_encoder(esm2.model), []
    whole_plain = plain.attention

    def record(block, query, key, value, tokens, **options):
        expected.append(key.clone())
        return whole_plain(block, query, key, value, tokens, **options)

    plain.attention = record
    plain(tokens)
    torch.testing.assert_close(keys[0], expected[0])


def test_bfloat16_prefixes_follow_float32(miniature):
    """The CPU's own backward pass in bfloat16, against float32."""
    gradients = []
    for precision in ("fp32", "bf16"):
        backbone = load_backbone(str(miniature("esm2")), precision=precision)
        model = build(PrefixTuning(n_tokens=3, last_n_layers=1), backbone)
        tokens = tokens_of(backbone)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            model.encoder(tokens)[:, :8].sum().backward()
        gradients.append(model.encoder.blocks[2].prefix.vectors.grad)
    scale = gradients[0].abs().max()
    torch.testing.assert_close(gradients[1] / scale, gradients[0] / scale, atol=0.05, rtol=0)


# -- settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [PrefixTuning, PromptTuning])
def test_vectors_learn(method, esm2):
    """The loss falls by the vectors alone."""
    model = build(method(n_tokens=2), esm2)
    model.head.requires_grad_(False)
    tokens, rows = tokens_of(esm2), torch.arange(len(SEQUENCES))
    first = (model(tokens, rows).sum() - 5).square().item()
    train(model, tokens, steps=80)
    assert (model(tokens, rows).sum() - 5).square().item() < 0.5 * first


@pytest.mark.parametrize(
    "adapter, message",
    [
        (
            PrefixTuning(n_tokens=0),
            r"'n_tokens' parameter of PrefixTuning must be an int in the range \[1, inf\). Got 0",
        ),
        (
            PrefixTuning(hidden=0),
            r"'hidden' parameter of PrefixTuning must be an int in the range \[1, inf\) or None. Got 0",
        ),
        (PromptTuning(n_tokens=1.5), "'n_tokens' parameter of PromptTuning must be an int .*Got 1.5"),
        (
            PromptTuning(layers="middle"),
            "'layers' parameter of PromptTuning must be a str among .*'top'.*Got 'middle'",
        ),
        (PromptTuning(layers="last", last_n_layers=2), "one layer, got last_n_layers=2; pass None"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_refused(esm2, adapter, message):
    with pytest.raises(ValueError, match=message):
        adapter.install(esm2)
