"""Values of residues in one tensor against lists of tensors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from plmlearn.nn.packing import Ragged

lengths = st.lists(st.integers(1, 6), min_size=1, max_size=5)


def draw(lengths: list[int], seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, 3, generator=generator) for n in lengths]


@settings(deadline=None, max_examples=30)
@given(lengths, st.data())
def test_rows_stay_themselves(lengths, data):
    rows = draw(lengths)
    ragged = Ragged.of(rows)
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=6))
    assert len(ragged) == len(rows)
    for i, row in zip(chosen, ragged.take(chosen).rows, strict=True):
        assert torch.equal(row, rows[i])


@settings(deadline=None, max_examples=30)
@given(lengths)
def test_sums_maxima_softmax_and_spread_equal_a_loop(lengths):
    rows = draw(lengths)
    ragged = Ragged.of(rows)
    assert_close(ragged.sums(), torch.stack([row.sum(0) for row in rows]))
    assert_close(ragged.means(), torch.stack([row.mean(0) for row in rows]))
    assert_close(ragged.maxima(), torch.stack([row.max(0).values for row in rows]))
    assert_close(ragged.softmax().values, torch.cat([row.softmax(0) for row in rows]))
    numbers = torch.arange(len(rows))
    assert ragged.spread(numbers).tolist() == [i for i, n in enumerate(lengths) for _ in range(n)]


def test_weighted_means_equal_a_loop():
    rows, scores = draw([2, 5, 1]), draw([2, 5, 1], seed=1)
    found = Ragged.of(rows).weighted_means(Ragged.of(scores))
    assert_close(found, torch.stack([(s.softmax(0) * row).sum(0) for row, s in zip(rows, scores)]))
    single = [s[:, :1] for s in scores]  # one score for all features
    found = Ragged.of(rows).weighted_means(Ragged.of(single))
    assert_close(found, torch.stack([(s.softmax(0) * row).sum(0) for row, s in zip(rows, single)]))


@pytest.mark.parametrize("pads", [True, False])
@pytest.mark.parametrize("size", [1, 3, 7, 9])
def test_convolution_is_that_of_each_sample_with_zeros_around_it(size, pads):
    torch.manual_seed(2)
    conv = nn.Conv1d(3, 4, size, padding=size // 2 if pads else 0)
    rows = draw([5, 1, 12, 3, 3, 2])
    plain = nn.Conv1d(3, 4, size, padding=size // 2)
    plain.load_state_dict(conv.state_dict())
    alone = torch.cat([plain(row.T[None])[0].T for row in rows])
    assert_close(Ragged.of(rows).convolved(conv).values, alone)


def test_padding_is_zero_and_masked():
    padded, mask = Ragged.of(draw([2, 4])).padded()
    assert padded.shape == (2, 4, 3)
    assert mask.tolist() == [[True, True, False, False], [True] * 4]
    assert not padded[~mask].any()


@pytest.mark.parametrize("method", ["sums", "means", "maxima", "softmax"])
def test_gradients_reach_every_value(method):
    values = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)

    def run(values):
        out = getattr(Ragged(values, [2, 3]), method)()
        return out.values if isinstance(out, Ragged) else out

    assert torch.autograd.gradcheck(run, values)
