"""The head of a protein model, in torch alone: it reads the last hidden states of a transformers encoder.

An exported folder holds as ``load_head.py`` what its own head needs of this file::

    head = load_head(folder)
    hidden = encoder(**batch).last_hidden_state                 # (B, T, D)
    logits = head(hidden, batch["attention_mask"])              # (B, C), or (B, T, C) of residues

B proteins, T tokens with padding on the right, D width, C outputs. Of pairs, the first half of the B
proteins are the first partners, the second half the second ones, in the same order.
"""

import json
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

# Steps of heads take (B, D) or (B, T, D), and mask (B, T, 1): True marks a residue.


def mean(x, mask):
    return x.masked_fill(~mask, 0.0).sum(1) / mask.sum(1)


def max(x, mask):
    return x.masked_fill(~mask, -torch.inf).amax(1)


def first(x, mask):
    return x[:, 0]


def attention(x, mask, weight, bias):
    return weighted_mean(x, F.linear(x, weight, bias), mask)


def weighted_mean(x, score, mask):
    weights = score.masked_fill(~mask, -torch.inf).softmax(1)
    return (weights * x.masked_fill(~mask, 0.0)).sum(1)


def scale(x, mask, mean, scale):
    return (x - mean) / scale


def linear(x, mask, weight, bias):
    return F.linear(x, weight, bias)


def norm(x, mask, weight, bias):
    return F.layer_norm(x, x.shape[-1:], weight, bias)


def relu(x, mask):
    return x.relu()


def tanh(x, mask):
    return x.tanh()


def logistic(x, mask):
    return x.sigmoid()


def conv(x, mask, weight, bias):
    return F.conv1d(x.masked_fill(~mask, 0.0).mT, weight, bias, padding=weight.shape[2] // 2).mT


def light_attention(x, mask, value_weight, value_bias, score_weight, score_bias):
    """Convolved values, averaged by convolved scores, beside their maximum, (B, 2 C)."""
    value = conv(x, mask, value_weight, value_bias)
    score = conv(x, mask, score_weight, score_bias)
    return torch.cat([weighted_mean(value, score, mask), max(value, mask)], 1)


def residue_light_attention(x, mask, value_weight, value_bias, score_weight, score_bias, weight, bias):
    """The values of each residue beside the light attention of its protein, read out, (B, T, C)."""
    value = conv(x, mask, value_weight, value_bias)
    protein = light_attention(x, mask, value_weight, value_bias, score_weight, score_bias)
    return F.linear(torch.cat([value, protein[:, None].expand(-1, x.shape[1], -1)], 2), weight, bias)


def pair_mean(x, mask):
    a, b = x.unflatten(0, (2, -1))
    return (a + b) / 2


def pair_symmetric(x, mask):
    a, b = x.unflatten(0, (2, -1))
    return torch.cat([(a + b) / 2, (a - b).abs(), a * b], 1)


def pair_concat(x, mask):
    return torch.cat([*x.unflatten(0, (2, -1))], 1)


def pair_cross_attention(x, mask):
    """Residues of each protein take values from those of the other whose keys are like theirs."""
    x = x.masked_fill(~mask, 0.0)
    (a, b), (in_a, in_b) = x.unflatten(0, (2, -1)), mask.unflatten(0, (2, -1))
    (key_a, value_a), (key_b, value_b) = a.chunk(2, 2), b.chunk(2, 2)
    scores = key_a @ key_b.mT / key_a.shape[2] ** 0.5
    own_a, own_b = mean(value_a, in_a), mean(value_b, in_b)
    found_b = mean(scores.masked_fill(~in_b.mT, -torch.inf).softmax(2) @ value_b, in_a)
    found_a = mean(scores.masked_fill(~in_a, -torch.inf).softmax(1).mT @ value_a, in_b)
    return torch.cat([own_a + own_b, found_a + found_b, own_a * found_b + own_b * found_a], 1) / 2


def crf(x, mask, transitions, starts, ends, best_path=False):
    """Paths of labels through scores (B, T, C): for each residue and label, the log of what goes through it.

    The softmax is the probability of each label. With ``best_path=True`` the largest marks the best path.
    """
    over, found = torch.amax if best_path else torch.logsumexp, torch.zeros_like(x)
    for row, scores, is_residue in zip(found, x.double(), mask[..., 0]):
        scores = scores[is_residue]
        left, right = [starts + scores[0]], [ends.double()]
        for here in scores[1:]:
            left.append(over(left[-1][:, None] + transitions, 0) + here)
        for here in scores[1:].flip(0):
            right.append(over(transitions + here + right[-1], 1))
        row[is_residue] = (torch.stack(left) + torch.stack(right[::-1])).log_softmax(1).to(x.dtype)
    return found


def steps_of(names, tensors):
    """Steps by name, each with its tensors: those named "0_weight", ... are of the first step."""
    steps: list = [(name, {}) for name in names]
    for key, tensor in tensors.items():
        number, _, name = key.partition("_")
        steps[int(number)][1][name] = tensor
    return steps


STEPS = {
    step.__name__: step
    for step in (
        *(mean, max, first, attention, scale, linear, norm, relu, tanh, logistic, conv, light_attention),
        *(residue_light_attention, pair_mean, pair_symmetric, pair_concat, pair_cross_attention, crf),
    )
}


def outputs(hidden, attention_mask, *, steps, prefix, suffix, **options):
    """Hidden states and their mask through steps, a name and tensors each; the last one takes options."""
    # Dropping the first columns of the mask takes as many tokens from the end of each protein.
    mask = F.pad(attention_mask[:, suffix:], (0, suffix)).bool()
    mask = (mask & (torch.arange(hidden.shape[1], device=hidden.device) >= prefix))[:, :, None]
    x = hidden.float()
    for name, tensors in steps[:-1]:
        x = STEPS[name](x, mask, **tensors)
    name, tensors = steps[-1]
    return STEPS[name](x, mask, **tensors, **options)


def load_head(folder):
    """Read ``head.json`` and ``head.safetensors``: a function of hidden states and ``attention_mask``."""
    said = json.loads(Path(folder, "head.json").read_text())
    steps = steps_of(said["steps"], load_file(Path(folder, "head.safetensors")))
    return partial(outputs, steps=steps, prefix=said["prefix"], suffix=said["suffix"])
