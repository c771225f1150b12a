"""Sums and maxima over all paths of labels along a chain of residues.

- `ChainScores`: a batch of emissions with transition, start and end scores, -inf where forbidden; it sums
  over paths (`log_partition`, `marginals`), finds the best (`best_paths`), scores one (`path_scores`)
- `_messages` sums in scaled probabilities and checks its own accuracy; `_LogPartition` is its gradient
- `_left_in_logs` is slower; it serves the rare batch where that check fails

Shapes: B proteins, L residues of the longest, S labels.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

UNKNOWN = -1  # the tag of a residue whose label was not measured


class ChainScores(NamedTuple):
    """A batch of chains that share their transitions. Each row has at least one residue, then padding."""

    emissions: Tensor  # (B, L, S), 0 in padding
    transitions: Tensor  # (S, S), from row to column
    starts: Tensor  # (S,)
    ends: Tensor  # (S,)
    mask: Tensor  # (B, L), True = residue

    def log_partition(self) -> Tensor:
        """Log of the summed exp-scores of all paths, (B,); -inf for a row without a path."""
        with torch.no_grad(), torch.autocast(self.mask.device.type, enabled=False):
            messages = _messages(self)
        if messages is None:
            return _logsumexp(at_last(_left_in_logs(self), self.mask) + self.ends, 1)
        return _LogPartition.apply(self.emissions, self.transitions, self.starts, self.ends, messages)

    def marginals(self) -> Tensor:
        """Probability of each label at each residue, (B, L, S), 0 in padding; nan in a row without a path."""
        with torch.autocast(self.mask.device.type, enabled=False):
            messages = _messages(self)
        return _marginals_in_logs(self) if messages is None else messages.marginals()

    def path_scores(self, tags: Tensor) -> Tensor:
        """Scores (B,) of the paths `tags` (B, L), which may hold any valid label in padding."""
        emitted = self.emissions.gather(2, tags.unsqueeze(2)).squeeze(2)
        moved = self.transitions[tags[:, :-1], tags[:, 1:]].masked_fill(~self.mask[:, 1:], 0)
        return self.starts[tags[:, 0]] + emitted.sum(1) + moved.sum(1) + self.ends[at_last(tags, self.mask)]

    def best_paths(self) -> tuple[Tensor, Tensor]:
        """The highest-scoring paths, (B, L), and their scores, (B,); padding repeats the last label."""
        stay = torch.arange(len(self.starts), device=self.mask.device)
        arrivals, state, sources = self.transitions.T.contiguous(), self.starts + self.emissions[:, 0], []
        for t in range(1, self.mask.shape[1]):
            best, source = (state.unsqueeze(1) + arrivals).max(2)
            live = self.mask[:, t, None]
            state = torch.where(live, best + self.emissions[:, t], state)
            sources.append(torch.where(live, source, stay))
        scores, last = (state + self.ends).max(1)
        path = [last.unsqueeze(1)]
        for source in reversed(sources):
            path.append(source.gather(1, path[-1]))
        return torch.cat(path[::-1], 1), scores

    def clamped(self, tags: Tensor) -> "ChainScores":
        """The chain in which each residue has its label in `tags` (B, L), or any label if that is unknown."""
        same = torch.arange(len(self.starts), device=tags.device) == tags.unsqueeze(2)
        return self.restricted(same | (tags == UNKNOWN).unsqueeze(2))

    def restricted(self, allowed: Tensor) -> "ChainScores":
        """The chain in which each residue has one of its `allowed` (B, L, S) labels."""
        ruled_out = self.mask.unsqueeze(2) & ~allowed
        return self._replace(emissions=self.emissions.masked_fill(ruled_out, -math.inf))

    def stacked(self, other: "ChainScores") -> "ChainScores":
        """The rows of both chains, (2 B, …)."""
        return self._replace(
            emissions=torch.cat([self.emissions, other.emissions]), mask=torch.cat([self.mask, other.mask])
        )

    def reversed(self) -> "ChainScores":
        """Each row read from its last residue to its first."""
        emissions = _take(self.emissions, _reversal(self.mask))
        return self._replace(
            emissions=emissions, transitions=self.transitions.T, starts=self.ends, ends=self.starts
        )


def at_last(values: Tensor, mask: Tensor) -> Tensor:
    """Value at the last residue of each row: (B, L, …) → (B, …)."""
    return values[torch.arange(len(mask), device=mask.device), mask.sum(1) - 1]


def _reversal(mask: Tensor) -> Tensor:
    """Positions (B, L) that reverse the residues of each row and leave padding where it is."""
    position = torch.arange(mask.shape[1], device=mask.device)
    return torch.where(mask, mask.sum(1, keepdim=True) - 1 - position, position)


def _take(values: Tensor, positions: Tensor) -> Tensor:
    """values (B, L, S) at `positions` (B, L) of each row."""
    first = torch.arange(len(values), device=values.device).unsqueeze(1) * values.shape[1]
    return values.flatten(0, 1).index_select(0, (first + positions).flatten()).view_as(values)


class _Messages(NamedTuple):
    """What the residues before and after each residue tell of its label, up to a factor per residue."""

    left: Tensor  # (B, L, S) mass of the prefixes that end here, this emission included
    right: Tensor  # (B, L, S) mass of the suffixes that begin here, this emission included
    onward: Tensor  # (B, L, S) the same without this emission
    overlap: Tensor  # (B, L) Σ left · onward, 1 in padding
    kernel: Tensor  # (S, S) exp(transitions)
    log_z: Tensor  # (B,)
    mask: Tensor  # (B, L)

    def marginals(self) -> Tensor:
        return self.left * (self.mask / self.overlap).unsqueeze(2) * self.onward

    def gradient(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Of Σ weights · log_z, weights (B,): marginals (B, L, S) and expected transition counts (S, S)."""
        departures = self.left * (self.mask * weights.unsqueeze(1) / self.overlap).unsqueeze(2)
        onto = (self.right * self.mask.unsqueeze(2))[:, 1:].flatten(0, 1)
        return departures * self.onward, departures[:, :-1].flatten(0, 1).T @ onto * self.kernel


class _LogPartition(torch.autograd.Function):
    """The log-partition (B,) in `messages`; its gradient is the marginals and expected transition counts."""

    @staticmethod
    def forward(
        ctx: Any, emissions: Tensor, transitions: Tensor, starts: Tensor, ends: Tensor, messages: _Messages
    ):
        ctx.messages = messages
        return messages.log_z.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor):
        marginals, counts = ctx.messages.gradient(grad)
        last = at_last(marginals, ctx.messages.mask)
        return marginals, counts, marginals[:, 0].sum(0), last.sum(0), None


def _messages(chain: ChainScores) -> _Messages | None:
    """Forward–backward in scaled probabilities; None where its accuracy cannot be shown.

    Each step is one small matrix product, made safe in three ways (figures for float64). First, all
    potentials must lie within 1e-49 … 1 after scaling. Second, every possible state gets a floor of 1e-203
    of the most probable one; a step from there stays above the smallest number, so 0 always means
    impossible. Third, the mass that the floors add is bounded: where left and right, both ≤ 1, overlap by
    at least δ at every residue, floors inflate the partition function by a factor of about
    1 + L S² floor/δ at most. δ is 1e16 floors.
    """
    mask, tiny = chain.mask, torch.finfo(chain.emissions.dtype).tiny
    floor, least = tiny**0.66, tiny**0.16
    emit, emit_top = _scaled(chain.emissions, (2,))
    kernel, kernel_top = _scaled(chain.transitions, (0, 1))
    first, first_top = _scaled(chain.starts, (0,))
    last, last_top = _scaled(chain.ends, (0,))
    states, scales = _scan(emit, kernel, first, last, mask, floor)
    left, right = states[0], _take(states[1], _reversal(mask))
    is_last = (mask & ~pad(mask[:, 1:], (0, 1))).unsqueeze(2)
    onward = torch.where(is_last, last, pad(right[:, 1:] @ kernel.T, (0, 0, 0, 1)))
    overlap = (left * onward).sum(2).masked_fill(~mask, 1)
    in_range = [
        ((scaled >= least) | (scores == -math.inf)).all()
        for scaled, scores in zip((emit, kernel, first, last), chain)
    ]
    if not bool(torch.stack([(overlap >= 1e16 * floor).all(), *in_range]).all()):
        return None
    tops = torch.where(mask, scales.log() + emit_top.squeeze(2) + kernel_top.squeeze(1), 0).sum(1)
    log_z = at_last(overlap, mask).log() + tops - kernel_top.squeeze() + first_top + last_top
    return _Messages(left, right, onward, overlap, kernel, log_z, mask)


def _scaled(scores: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """exp(scores) scaled to a maximum of 1, and the log of the scale."""
    top = scores.detach().amax(dims, keepdim=True)
    top = top.masked_fill(top == -math.inf, 0)
    return (scores - top).exp(), top


def _scan(
    emit: Tensor, kernel: Tensor, first: Tensor, last: Tensor, mask: Tensor, floor: float
) -> tuple[Tensor, Tensor]:
    """States of both directions, (2, B, L, S), and what the forward ones were divided by, (B, L)."""
    both = torch.stack([emit, _take(emit, _reversal(mask))])
    kernels, arriving = torch.stack([kernel, kernel.T]), torch.stack([first, last]).unsqueeze(1)
    tiny, states, scales = torch.finfo(emit.dtype).tiny, [], []
    for emission in both.unbind(2):
        state = arriving * emission
        scale = state.detach().amax(2, keepdim=True).clamp_min_(tiny)
        state = state / scale
        states.append(torch.add(state, state.detach().sign(), alpha=floor))
        scales.append(scale[0])
        arriving = torch.bmm(states[-1], kernels)
    return torch.stack(states, 2), torch.cat(scales, 1)


def _left_in_logs(chain: ChainScores) -> Tensor:
    """Log-mass of the prefixes that end at each residue and label, (B, L, S)."""
    states = [chain.starts + chain.emissions[:, 0]]
    for t in range(1, chain.mask.shape[1]):
        states.append(_logsumexp(states[-1].unsqueeze(2) + chain.transitions, 1) + chain.emissions[:, t])
    return torch.stack(states, 1)


def _marginals_in_logs(chain: ChainScores) -> Tensor:
    right = _take(_left_in_logs(chain.reversed()), _reversal(chain.mask))
    joint = _left_in_logs(chain) + right - chain.emissions.clamp_min(torch.finfo(right.dtype).min)
    padding = ~chain.mask.unsqueeze(2)
    return joint.masked_fill(padding, 0).softmax(2).masked_fill(padding, 0)


def _logsumexp(scores: Tensor, dim: int) -> Tensor:
    """torch.logsumexp with gradient 0, not nan, where all scores are -inf."""
    impossible = (scores == -math.inf).all(dim, keepdim=True)
    return scores.masked_fill(impossible, 0).logsumexp(dim).masked_fill(impossible.squeeze(dim), -math.inf)
