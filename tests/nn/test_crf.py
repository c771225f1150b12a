"""The CRF against enumeration of all paths, and what constraints, masks and unknown labels promise."""

import itertools
import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from plmlearn.nn import chain_scores
from plmlearn.nn.crf import LinearChainCRF, constraints_from_tags

SHAPES = list(itertools.product(range(1, 7), range(1, 6)))  # lengths, numbers of labels
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


class Problem(NamedTuple):
    crf: LinearChainCRF
    emissions: Tensor  # (B, L, S), float64
    tags: Tensor  # (B, L), allowed by the constraints; garbage in padding
    mask: Tensor  # (B, L)


def make_problem(length: int, n_states: int, *, seed: int = 0, spread: float = 2.0, rows: int = 4) -> Problem:
    """Random lengths (the first row full), weights and constraints that allow at least the tags."""
    rng = torch.Generator().manual_seed(1000 * seed + 10 * length + n_states)
    lengths = torch.randint(1, length + 1, (rows,), generator=rng)
    lengths[0] = length
    mask = torch.arange(length) < lengths.unsqueeze(1)
    tags = torch.randint(n_states, (rows, length), generator=rng)
    seen = constraints_from_tags([row[keep] for row, keep in zip(tags, mask)], n_states)
    more = [allowed | (torch.rand(allowed.shape, generator=rng) < 0.3) for allowed in seen]
    crf = LinearChainCRF(n_states, allowed_transitions=more[0], allowed_starts=more[1], allowed_ends=more[2])
    crf = crf.double()
    with torch.no_grad():
        for weight in crf.parameters():
            weight.copy_(spread * torch.randn(weight.shape, generator=rng))
    emissions = spread * torch.randn(rows, length, n_states, generator=rng, dtype=torch.float64)
    return Problem(crf, emissions.requires_grad_(), tags.masked_fill(~mask, 99), mask)


def all_paths(crf: LinearChainCRF, length: int) -> Tensor:
    """Every allowed path, (N, length)."""
    paths = torch.tensor(list(itertools.product(range(crf.n_states), repeat=length)))
    allowed = crf.allowed_starts[paths[:, 0]] & crf.allowed_ends[paths[:, -1]]
    return paths[allowed & crf.allowed_transitions[paths[:, :-1], paths[:, 1:]].all(1)]


def enumerate_paths(crf: LinearChainCRF, emissions: Tensor) -> tuple[Tensor, Tensor]:
    """Allowed paths (N, L) and their scores (N,) for emissions (L, S), term by term."""
    paths = all_paths(crf, len(emissions))
    scores = crf.starts[paths[:, 0]] + crf.ends[paths[:, -1]]
    for t in range(len(emissions)):
        scores = scores + emissions[t, paths[:, t]]
    for t in range(1, len(emissions)):
        scores = scores + crf.transitions[paths[:, t - 1], paths[:, t]]
    return paths, scores


def brute_log_likelihood(problem: Problem, tags: Tensor) -> Tensor:
    found = []
    for emissions, row, mask in zip(problem.emissions, tags, problem.mask):
        paths, scores = enumerate_paths(problem.crf, emissions[mask])
        agrees = ((row[mask] == -1) | (paths == row[mask])).all(1)
        found.append(scores[agrees].logsumexp(0) - scores.logsumexp(0))
    return torch.stack(found)


def brute_marginals(problem: Problem) -> Tensor:
    found = torch.zeros_like(problem.emissions)
    rows = []
    for emissions, mask in zip(problem.emissions, problem.mask):
        paths, scores = enumerate_paths(problem.crf, emissions[mask])
        has_label = torch.nn.functional.one_hot(paths, problem.crf.n_states).double()
        rows.append(torch.einsum("n,nls->ls", scores.softmax(0), has_label))
    for i, row in enumerate(rows):
        found = found.index_put((torch.tensor(i), torch.arange(len(row))), row)
    return found


def gradients(value: Tensor, problem: Problem) -> list[Tensor]:
    crf = problem.crf
    wanted = [problem.emissions, crf.transitions, crf.starts, crf.ends]
    return torch.autograd.grad(value, wanted, materialize_grads=True)


def hidden(tags: Tensor, seed: int) -> Tensor:
    """The tags with about half of them unknown."""
    rng = torch.Generator().manual_seed(seed)
    return tags.masked_fill(torch.rand(tags.shape, generator=rng) < 0.5, -1)


@pytest.fixture(params=["scaled", "logs"])
def road(request, monkeypatch):
    """Both ways of summing over paths."""
    if request.param == "logs":
        monkeypatch.setattr(chain_scores, "_messages", lambda chain: None)
    return request.param


@pytest.mark.parametrize("length, n_states", SHAPES)
class TestAgainstAllPaths:
    def test_log_partition(self, length, n_states, road):
        problem = make_problem(length, n_states)
        found = problem.crf.log_partition(problem.emissions, problem.mask)
        for value, emissions, mask in zip(found, problem.emissions, problem.mask):
            expected = enumerate_paths(problem.crf, emissions[mask])[1].logsumexp(0)
            torch.testing.assert_close(value, expected, **TOLERANCE)

    def test_score_of_tags(self, length, n_states):
        problem = make_problem(length, n_states)
        found = problem.crf.score(problem.emissions, problem.tags, problem.mask)
        for value, emissions, tags, mask in zip(found, problem.emissions, problem.tags, problem.mask):
            paths, scores = enumerate_paths(problem.crf, emissions[mask])
            torch.testing.assert_close(value, scores[(paths == tags[mask]).all(1)].squeeze(), **TOLERANCE)

    @pytest.mark.parametrize("partial", [False, True])
    def test_log_likelihood_and_its_gradients(self, length, n_states, partial, road):
        problem = make_problem(length, n_states, seed=1)
        tags = hidden(problem.tags, seed=length) if partial else problem.tags
        found = problem.crf.log_likelihood(problem.emissions, tags, problem.mask)
        expected = brute_log_likelihood(problem, tags)
        torch.testing.assert_close(found, expected, **TOLERANCE)
        weights = torch.arange(1.0, 5.0, dtype=torch.float64)  # rows must not be mixed up
        for ours, theirs in zip(
            gradients((weights * found).sum(), problem), gradients((weights * expected).sum(), problem)
        ):
            torch.testing.assert_close(ours, theirs, **TOLERANCE)

    def test_marginals_and_their_gradients(self, length, n_states, road):
        problem = make_problem(length, n_states, seed=2)
        found, expected = problem.crf.marginals(problem.emissions, problem.mask), brute_marginals(problem)
        torch.testing.assert_close(found, expected, **TOLERANCE)
        weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0)).double()
        for ours, theirs in zip(
            gradients((weights * found).sum(), problem), gradients((weights * expected).sum(), problem)
        ):
            torch.testing.assert_close(ours, theirs, **TOLERANCE)

    def test_viterbi(self, length, n_states):
        problem = make_problem(length, n_states, seed=3)
        paths, best = problem.crf.viterbi(problem.emissions, problem.mask)
        for path, score, emissions, mask in zip(paths, best, problem.emissions, problem.mask):
            every_path, scores = enumerate_paths(problem.crf, emissions[mask])
            torch.testing.assert_close(score, scores.max().detach(), **TOLERANCE)
            torch.testing.assert_close(path[mask], every_path[scores.argmax()])
            assert (path[~mask] == -1).all()

    def test_forbidden_labels_have_probability_zero(self, length, n_states, road):
        problem = make_problem(length, n_states, seed=4)
        found = problem.crf.marginals(problem.emissions, problem.mask)
        for marginals, mask in zip(found, problem.mask):
            possible = torch.zeros(int(mask.sum()), n_states, dtype=torch.bool)
            for path in all_paths(problem.crf, len(possible)):
                possible[torch.arange(len(possible)), path] = True
            assert (marginals[mask][~possible] == 0).all()
            assert (marginals[mask][possible] > 0).all()
            assert (marginals[~mask] == 0).all()


class TestNumerics:
    @pytest.mark.parametrize("spread", [30.0, 300.0, 3000.0])
    @pytest.mark.parametrize("seed", range(5))
    def test_violent_scores_equal_all_paths(self, spread, seed):
        problem = make_problem(6, 4, seed=seed, spread=spread)
        found = problem.crf.log_likelihood(problem.emissions, problem.tags, problem.mask)
        expected = brute_log_likelihood(problem, problem.tags)
        torch.testing.assert_close(found, expected, **TOLERANCE)
        for ours, theirs in zip(gradients(found.sum(), problem), gradients(expected.sum(), problem)):
            torch.testing.assert_close(ours, theirs, **TOLERANCE)
        marginals = problem.crf.marginals(problem.emissions, problem.mask)
        torch.testing.assert_close(marginals, brute_marginals(problem), **TOLERANCE)

    @pytest.mark.parametrize("sudden", [False, True])
    @pytest.mark.parametrize("lead", [-1.0, 0.0, 1.0, 2000.0])
    def test_a_path_that_both_ends_rule_out_but_the_middle_wins(self, sudden, lead):
        """Prefix and suffix favour label 0 beyond float64's range, the middle label 1 as much."""
        fall = [-2000.0] + [0.0] * 99 if sudden else [-20.0] * 100
        favour = torch.tensor(fall + [(4000 + lead) / 200] * 200 + fall[::-1], dtype=torch.float64)
        emissions = torch.stack([torch.zeros_like(favour), favour], 1).unsqueeze(0).requires_grad_()
        crf = LinearChainCRF(2, allowed_transitions=torch.eye(2, dtype=torch.bool))
        mask = torch.ones(1, 400, dtype=torch.bool)
        log_z = crf.log_partition(emissions, mask)
        both = torch.tensor([0.0, lead]).double()
        torch.testing.assert_close(log_z, both.logsumexp(0, keepdim=True), **TOLERANCE)
        expected = both.softmax(0).expand(1, 400, 2)
        torch.testing.assert_close(crf.marginals(emissions, mask), expected, **TOLERANCE)
        torch.testing.assert_close(torch.autograd.grad(log_z, emissions)[0], expected, **TOLERANCE)

    @pytest.mark.parametrize("constrained", [False, True])
    def test_ten_thousand_residues_stay_finite(self, constrained):
        rng = torch.Generator().manual_seed(0)
        circle = torch.eye(5, dtype=torch.bool) | torch.eye(5, dtype=torch.bool).roll(1, 1)
        crf = LinearChainCRF(5, allowed_transitions=circle if constrained else None)
        emissions = (3 * torch.randn(2, 10_000, 5, generator=rng)).requires_grad_()
        mask = torch.arange(10_000) < torch.tensor([[10_000], [9_000]])
        tags = torch.arange(10_000).expand(2, -1) // 7 % 5
        value = crf.log_likelihood(emissions, tags, mask)
        value.sum().backward()
        assert value.isfinite().all()
        assert (value < 0).all()
        for tensor in (emissions, crf.transitions, crf.starts, crf.ends):
            assert tensor.grad.isfinite().all()
        torch.testing.assert_close(crf.marginals(emissions, mask).sum(2), mask.float())

    def test_two_blocks_of_ten_thousand_residues_stay_finite(self):
        """Labels that never meet drift apart without bound: too far for scaled probabilities."""
        crf = LinearChainCRF(2, allowed_transitions=torch.eye(2, dtype=torch.bool))
        emissions = torch.zeros(1, 10_000, 2)
        emissions[0, :5000, 0] = emissions[0, 5000:, 1] = 2.0
        emissions.requires_grad_()
        value = crf.log_partition(emissions, torch.ones(1, 10_000, dtype=torch.bool))
        value.sum().backward()
        torch.testing.assert_close(value, torch.tensor([10_000 + math.log(2)]))
        torch.testing.assert_close(emissions.grad, torch.full((1, 10_000, 2), 0.5))

    def test_bfloat16_under_autocast_is_summed_in_full_precision(self):
        problem = make_problem(6, 5)
        crf, emissions = problem.crf.float(), problem.emissions.detach().bfloat16()
        expected = crf.log_likelihood(emissions.float(), problem.tags, problem.mask)
        emissions.requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = crf.log_likelihood(emissions, problem.tags, problem.mask)
            assert crf.marginals(emissions, problem.mask).dtype == torch.float32
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
        found.sum().backward()
        assert emissions.grad.dtype == torch.bfloat16
        assert emissions.grad.isfinite().all()
        assert crf.transitions.grad.dtype == torch.float32

    def test_the_float32_recursion_of_mps_is_as_right(self):
        """What runs where float64 is missing, fast where scores are mild and in log space otherwise."""
        for spread in (1.0, 10.0, 100.0):
            problem = make_problem(6, 4, spread=spread)
            exact = problem.crf._chain(problem.emissions.detach(), problem.mask)
            single = chain_scores.ChainScores(*(t.float() for t in exact[:-1]), mask=exact.mask)
            torch.testing.assert_close(single.log_partition().double(), exact.log_partition(), **TOLERANCE)
            torch.testing.assert_close(single.marginals().double(), exact.marginals(), atol=1e-4, rtol=0)

    @pytest.mark.parametrize("spread", [1.0, 5.0, 20.0])
    def test_the_two_roads_agree_on_a_signal_peptide_sized_batch(self, spread, monkeypatch):
        problem = make_problem(70, 37, spread=spread, rows=8)

        def compute():
            value = problem.crf.log_likelihood(problem.emissions, hidden(problem.tags, 0), problem.mask)
            return [value, *gradients(value.sum(), problem)]

        fast = compute()
        monkeypatch.setattr(chain_scores, "_messages", lambda chain: None)
        for ours, theirs in zip(fast, compute()):
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)

    def test_nan_emissions_stay_nan(self):
        problem = make_problem(4, 3)
        emissions = problem.emissions.detach().clone()
        emissions[1, 0, 0] = math.nan
        found = problem.crf.log_partition(emissions, problem.mask)
        assert found.isnan().tolist() == [False, True, False, False]
        assert problem.crf.marginals(emissions, problem.mask)[1, 0].isnan().all()


class TestBatches:
    def test_a_batch_equals_one_by_one(self):
        problem = make_problem(12, 6, rows=9)
        crf, emissions, mask = problem.crf, problem.emissions.detach(), problem.mask
        tags = hidden(problem.tags, seed=0)
        likelihood, marginals = crf.log_likelihood(emissions, tags, mask), crf.marginals(emissions, mask)
        paths, scores = crf.viterbi(emissions, mask)
        for i, n in enumerate(mask.sum(1).tolist()):
            alone = emissions[i : i + 1, :n], torch.ones(1, n, dtype=torch.bool)
            one = crf.log_likelihood(alone[0], tags[i : i + 1, :n], alone[1])
            torch.testing.assert_close(likelihood[i : i + 1], one)
            torch.testing.assert_close(marginals[i, :n], crf.marginals(*alone)[0])
            torch.testing.assert_close(paths[i, :n], crf.viterbi(*alone)[0][0])
            torch.testing.assert_close(scores[i : i + 1], crf.viterbi(*alone)[1])

    def test_padding_is_never_read(self):
        problem = make_problem(9, 4, rows=6)
        garbage = problem.emissions.detach().clone()
        garbage[~problem.mask] = math.nan
        garbage.requires_grad_()
        clean = problem.crf.log_likelihood(problem.emissions, problem.tags, problem.mask)
        found = problem.crf.log_likelihood(garbage, problem.tags, problem.mask)
        torch.testing.assert_close(found, clean, rtol=0, atol=0)
        found.sum().backward()
        assert (garbage.grad[~problem.mask] == 0).all()
        assert garbage.grad.isfinite().all()

    def test_one_label_and_one_residue(self):
        one_label = LinearChainCRF(1)
        emissions, mask = torch.randn(2, 3, 1), torch.tensor([[True, True, True], [True, False, False]])
        torch.testing.assert_close(
            one_label.log_likelihood(emissions, torch.zeros(2, 3, dtype=torch.long), mask), torch.zeros(2)
        )
        one_residue = LinearChainCRF(3)
        emissions, mask = torch.randn(2, 1, 3), torch.ones(2, 1, dtype=torch.bool)
        torch.testing.assert_close(one_residue.marginals(emissions, mask), emissions.softmax(2))
        torch.testing.assert_close(one_residue.viterbi(emissions, mask)[0], emissions.argmax(2))

    def test_unlabelled_proteins_have_likelihood_one(self):
        problem = make_problem(5, 3)
        unknown = torch.full_like(problem.tags, -1)
        found = problem.crf.log_likelihood(problem.emissions, unknown, problem.mask)
        torch.testing.assert_close(found, torch.zeros(4).double())


class TestConstraints:
    def test_training_leaves_them_alone_and_never_touches_forbidden_weights(self):
        problem = make_problem(6, 5, seed=7)
        crf = problem.crf
        buffers = {name: value.clone() for name, value in crf.named_buffers()}
        weights = {name: value.detach().clone() for name, value in crf.named_parameters()}
        optimizer = torch.optim.SGD(crf.parameters(), lr=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            tags = hidden(problem.tags, seed=1)
            (-crf.log_likelihood(problem.emissions, tags, problem.mask).sum()).backward()
            for name, weight in crf.named_parameters():
                assert (weight.grad[~buffers[f"allowed_{name}"]] == 0).all()
            optimizer.step()
        for name, value in crf.named_buffers():
            assert torch.equal(value, buffers[name])
        for name, weight in crf.named_parameters():
            allowed = buffers[f"allowed_{name}"]
            assert not allowed.all()
            assert torch.equal(weight[~allowed], weights[name][~allowed])
            assert not torch.equal(weight[allowed], weights[name][allowed])

    def test_likelihood_rises_in_training(self):
        problem = make_problem(6, 4, seed=8)
        optimizer = torch.optim.Adam(problem.crf.parameters(), lr=0.1)
        losses = []
        for _ in range(30):
            optimizer.zero_grad()
            loss = -problem.crf.log_likelihood(problem.emissions, problem.tags, problem.mask).sum()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0] - 1

    @pytest.mark.parametrize("seed", range(5))
    def test_viterbi_obeys_whatever_the_emissions_want(self, seed):
        problem = make_problem(30, 5, seed=seed, spread=50.0)
        paths, _ = problem.crf.viterbi(problem.emissions, problem.mask)
        assert problem.crf.violations([p[m] for p, m in zip(paths, problem.mask)]) == []

    def test_state_dict_round_trip_carries_the_constraints(self):
        problem = make_problem(6, 4, seed=9)
        copy = LinearChainCRF(4).double()
        copy.load_state_dict(problem.crf.state_dict())
        torch.testing.assert_close(
            copy.log_likelihood(problem.emissions, problem.tags, problem.mask),
            problem.crf.log_likelihood(problem.emissions, problem.tags, problem.mask),
            rtol=0,
            atol=0,
        )

    def test_inferred_from_tags(self):
        tags = [np.array([0, 0, 1], dtype=np.int8), np.array([0, -1, 2]), np.array([-1, 1, -1])]
        tags[0].setflags(write=False)
        transitions, starts, ends = constraints_from_tags(tags, 3)
        assert transitions.nonzero().tolist() == [[0, 0], [0, 1]]
        assert starts.tolist() == [True, False, False]
        assert ends.tolist() == [False, True, True]

    @pytest.mark.parametrize("seed", range(20))
    def test_violations_are_those_rows_that_fit_no_path(self, seed):
        rng = np.random.default_rng(seed)
        crf = make_problem(5, 3, seed=seed).crf
        tags = [rng.integers(-1, 3, size=rng.integers(1, 6)) for _ in range(20)]
        impossible = [
            i
            for i, row in enumerate(tags)
            if not ((all_paths(crf, len(row)) == torch.from_numpy(row)) | torch.from_numpy(row == -1))
            .all(1)
            .any()
        ]
        assert sorted({row for row, _ in crf.violations(tags)}) == impossible

    def test_violations_name_the_residue(self):
        crf = LinearChainCRF(
            3,
            allowed_transitions=[[1, 1, 0], [0, 1, 1], [0, 0, 1]],
            allowed_starts=[1, 0, 0],
            allowed_ends=[0, 0, 1],
        )
        rows = [[0, 1, 2], [1, 2], [0, 2, 2], [0, 1, 1], [0, -1, 0, 1, 0, 2], [1], [0, -1, -1]]
        assert crf.violations(rows) == [(1, 0), (2, 1), (3, 2), (4, 4), (4, 5), (5, 0)]


class TestErrors:
    def test_constraints_without_a_path(self):
        with pytest.raises(ValueError, match=r"none of the allowed_starts \[\] to any"):
            LinearChainCRF(2, allowed_starts=[False, False])
        with pytest.raises(ValueError, match=r"allowed_starts \[0\] to any of the allowed_ends \[1\]"):
            LinearChainCRF(
                2, allowed_transitions=[[1, 0], [1, 1]], allowed_starts=[1, 0], allowed_ends=[0, 1]
            )

    def test_constraints_of_the_wrong_shape(self):
        with pytest.raises(ValueError, match=r"allowed_ends has shape \(3,\); expected \(2,\)"):
            LinearChainCRF(2, allowed_ends=[True] * 3)

    @pytest.mark.parametrize("method", ["log_partition", "marginals", "viterbi"])
    def test_lengths_without_a_path(self, method):
        """0 → 1 → 2 and nothing else: only three residues fit."""
        crf = LinearChainCRF(
            3,
            allowed_transitions=torch.eye(3).roll(1, 1).triu(),
            allowed_starts=[1, 0, 0],
            allowed_ends=[0, 0, 1],
        )
        mask = torch.arange(4) < torch.tensor([[3], [2], [4]])
        with pytest.raises(ValueError, match=r"rows \[1, 2\] of 3, of length \[2, 4\]"):
            getattr(crf, method)(torch.zeros(3, 4, 3), mask)

    @pytest.mark.parametrize("unknown", [False, True])
    def test_labels_that_break_the_constraints(self, unknown):
        crf = LinearChainCRF(2, allowed_transitions=[[1, 1], [0, 1]])
        tags = torch.tensor([[0, 1, 1], [0, 1, 0], [1, 0, 9]])
        mask = torch.tensor([[True] * 3, [True] * 3, [True, True, False]])
        if unknown:
            tags[0, 0] = -1
        with pytest.raises(ValueError, match=r"2 rows .*\(row 1 at residue 2, row 2 at residue 1\)"):
            crf.log_likelihood(torch.zeros(3, 3, 2), tags, mask)
        assert crf.score(torch.zeros(3, 3, 2), tags.abs(), mask).tolist()[1:] == [-math.inf, -math.inf]

    def test_tags_outside_the_labels(self):
        crf, emissions, mask = LinearChainCRF(2), torch.zeros(2, 3, 2), torch.ones(2, 3, dtype=torch.bool)
        tags = torch.tensor([[0, 1, 1], [0, 2, 0]])
        with pytest.raises(ValueError, match=r"Rows \[1\] of 2 have tags outside -1 … 1"):
            crf.log_likelihood(emissions, tags, mask)
        with pytest.raises(
            ValueError, match=r"Rows \[0\] of 2 have tags outside 0 … 1\. Only log_likelihood"
        ):
            crf.score(emissions, -tags.clamp_max(1) * torch.tensor([[1], [0]]), mask)
        with pytest.raises(ValueError, match=r"tags have shape \(2, 2\); expected \(2, 3\)"):
            crf.score(emissions, tags[:, :2], mask)
        with pytest.raises(ValueError, match=r"Rows \[1\] of 2 have tags outside -1 … 1"):
            constraints_from_tags([[0, 1], [2]], 2)
        with pytest.raises(ValueError, match=r"rows \[1\] of 2 are not 1-D arrays"):
            crf.violations([[0, 1], []])

    @pytest.mark.parametrize("row", [[False, True, True], [True, False, True], [False, False, False]])
    def test_masks_that_are_not_residues_then_padding(self, row):
        mask = torch.tensor([[True, True, True], row])
        with pytest.raises(ValueError, match=r"Rows \[1\] of 2 have no residue, or padding before one"):
            LinearChainCRF(2).log_partition(torch.zeros(2, 3, 2), mask)

    def test_wrong_shapes(self):
        crf, mask = LinearChainCRF(2), torch.ones(1, 3, dtype=torch.bool)
        with pytest.raises(ValueError, match=r"emissions have shape \(1, 3, 4\); expected \(B, L, 2\)"):
            crf.log_partition(torch.zeros(1, 3, 4), mask)
        with pytest.raises(ValueError, match=r"mask is torch.float32 of shape \(1, 3\); expected torch.bool"):
            crf.log_partition(torch.zeros(1, 3, 2), mask.float())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_cpu():
    problem = make_problem(70, 37, rows=8)
    tags = hidden(problem.tags, seed=0)
    value = problem.crf.log_likelihood(problem.emissions, tags, problem.mask)
    expected = [value.detach(), *gradients(value.sum(), problem)]
    paths = problem.crf.viterbi(problem.emissions, problem.mask)[0]
    moved = problem._replace(
        crf=problem.crf.cuda(),
        emissions=problem.emissions.detach().cuda().requires_grad_(),
        mask=problem.mask.cuda(),
    )
    value = moved.crf.log_likelihood(moved.emissions, tags.cuda(), moved.mask)
    for ours, theirs in zip([value.detach(), *gradients(value.sum(), moved)], expected):
        torch.testing.assert_close(ours.cpu(), theirs)
    torch.testing.assert_close(moved.crf.viterbi(moved.emissions, moved.mask)[0].cpu(), paths)


# -- labels known in part, other constraints, possible lengths ----------------------------------


@pytest.mark.parametrize("length, n_states", [(1, 1), (2, 3), (4, 3), (6, 2), (5, 4)])
def test_probability_of_allowed_labels_equals_enumeration_with_gradients(length, n_states):
    problem = make_problem(length, n_states, seed=7)
    rng = torch.Generator().manual_seed(length)
    allowed = torch.rand(*problem.mask.shape, n_states, generator=rng) < 0.6
    allowed |= torch.nn.functional.one_hot(problem.tags.clamp(max=n_states - 1), n_states).bool()
    brute = []
    for emissions, row, mask in zip(problem.emissions, allowed, problem.mask):
        paths, scores = enumerate_paths(problem.crf, emissions[mask])
        within = row[mask].gather(1, paths.T).all(0)
        brute.append(scores[within].logsumexp(0) - scores.logsumexp(0))
    expected = torch.stack(brute)
    found = problem.crf.log_probability(problem.emissions, allowed, problem.mask)
    torch.testing.assert_close(found, expected, **TOLERANCE)
    parameters = [problem.emissions, *problem.crf.parameters()]
    for ours, theirs in zip(
        torch.autograd.grad(found.sum(), parameters, retain_graph=True),
        torch.autograd.grad(expected.sum(), parameters, allow_unused=True, materialize_grads=True),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, **TOLERANCE)


def test_labels_that_no_path_has_are_of_probability_zero():
    crf = LinearChainCRF(2, allowed_transitions=[[True, True], [False, True]])
    allowed = torch.tensor([[[False, True], [True, False]]])
    found = crf.log_probability(torch.zeros(1, 2, 2), allowed, torch.ones(1, 2, dtype=torch.bool))
    assert found.tolist() == [-math.inf]


@pytest.mark.parametrize("seed", range(4))
def test_possible_lengths_equal_those_of_enumeration(seed):
    rng = torch.Generator().manual_seed(seed)
    crf = LinearChainCRF(3)
    for allowed in (crf.allowed_transitions, crf.allowed_starts, crf.allowed_ends):
        allowed.copy_(torch.rand(allowed.shape, generator=rng) < 0.4)
    impossible = [i for i in range(6) if not len(all_paths(crf, i + 1))]
    if not impossible:
        crf.require_paths(range(1, 7))
        return
    with pytest.raises(ValueError, match=rf"rows \[{', '.join(map(str, impossible))}\] of 6"):
        crf.require_paths(range(1, 7))


def test_constraints_can_be_replaced_and_go_into_the_state():
    crf = LinearChainCRF(2)
    crf.constrain([[True, True], [False, True]], [True, False], [True, True])
    other = LinearChainCRF(2)
    other.load_state_dict(crf.state_dict())
    assert other.violations([[1, 0]]) == [(0, 0), (0, 1)]
    with pytest.raises(ValueError, match="No allowed path"):
        crf.constrain([[True, False], [False, True]], [True, False], [False, True])
