"""A linear-chain conditional random field over the residues of a protein.

- `LinearChainCRF`: learned weights, hard constraints, likelihood, marginals, best path
- `constraints_from_tags`: the constraints that training labels obey
- below them, checks of their input; `chain_scores.ChainScores` sums over paths

Shapes: B proteins, L residues of the longest, S labels.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .chain_scores import UNKNOWN, ChainScores, at_last
from .packing import Ragged

_CONSTRAINTS = ("allowed_transitions", "allowed_starts", "allowed_ends")


class LinearChainCRF(nn.Module):
    """Linear-chain CRF: the labels of neighbouring residues are scored together.

    A path of labels scores the sum of its emissions (one per residue, from an encoder's head), of a
    learned weight per transition, and of learned weights for its first and last label. Hard constraints
    say which transitions, starts and ends are possible: in a signal peptide the h-region never precedes
    the n-region, so such a path has probability exactly 0. Constraints are kept apart from the weights
    and hold at every call.

    All methods take `emissions` (B, L, S) of any floating type and `mask` (B, L), bool, True = residue.
    Each row holds its residues first, then padding. Values in padding are ignored, nan included. Sums
    run in float64 (float32 on MPS, which has no float64), also under autocast. Results are float32, or
    float64 for float64 input.

    Parameters
    ----------
    n_states : int
        Number of labels S, at least 1.
    allowed_transitions : array-like of bool, shape (S, S), optional
        `[i, j]` is True where label j may follow label i. All may, by default.
    allowed_starts, allowed_ends : array-like of bool, shape (S,), optional
        Labels that the first and the last residue may have. All, by default.

    Attributes
    ----------
    transitions : Parameter, shape (S, S)
    starts, ends : Parameter, shape (S,)
        Weights, initially 0. Those at forbidden entries are never read and get no gradient.

    Raises
    ------
    ValueError
        If a constraint has the wrong shape, or leaves no path from a start to an end.

    Notes
    -----
    Time is O(B L S²) and memory O(B L S). Where the residues before and after some residue contradict each
    other by hundreds of nats, the batch is summed in log space instead: the same numbers, slower, with
    O(B L S²) memory for a gradient. The gradient of the log-partition is its marginals and expected
    transition counts, in closed form [1]_. SignalP 6.0 puts such a CRF, constrained to the regions of
    signal peptides, on a language model [2]_.

    References
    ----------
    .. [1] Rabiner (1989), Proceedings of the IEEE 77:257. https://doi.org/10.1109/5.18626
    .. [2] Teufel et al. (2022), Nature Biotechnology 40:1023. https://doi.org/10.1038/s41587-021-01156-3

    Examples
    --------
    Two labels, signal (0) and mature (1); signal never follows mature.

    >>> import torch
    >>> from plmlearn.nn.crf import LinearChainCRF
    >>> crf = LinearChainCRF(2, allowed_transitions=[[True, True], [False, True]])
    >>> emissions = torch.tensor([[[3.0, 0.0], [0.0, 1.0], [2.0, 0.0]]])
    >>> mask = torch.ones(1, 3, dtype=torch.bool)
    >>> crf.viterbi(emissions, mask)[0].tolist()
    [[0, 0, 0]]
    >>> crf.marginals(emissions, mask).shape
    torch.Size([1, 3, 2])
    """

    allowed_transitions: Tensor
    allowed_starts: Tensor
    allowed_ends: Tensor

    def __init__(
        self,
        n_states: int,
        *,
        allowed_transitions: Any = None,
        allowed_starts: Any = None,
        allowed_ends: Any = None,
    ):
        super().__init__()
        self.n_states = n_states
        self.transitions = nn.Parameter(torch.zeros(n_states, n_states))
        self.starts = nn.Parameter(torch.zeros(n_states))
        self.ends = nn.Parameter(torch.zeros(n_states))
        self.constrain(allowed_transitions, allowed_starts, allowed_ends)

    def extra_repr(self) -> str:
        return f"{self.n_states}"

    def log_partition(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Log of the summed exp-scores of all allowed paths, shape (B,).

        Raises
        ------
        ValueError
            If a row has no allowed path of its length; the message names the rows.
        """
        chain = self._chain(emissions, mask)
        return _narrow(_require_paths(chain.log_partition(), mask), emissions)

    def score(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Score of the labels `tags` (B, L), shape (B,); -inf where they break a constraint.

        Raises
        ------
        ValueError
            If a tag is outside 0 … S - 1. Unknown labels have a likelihood, but no score.
        """
        chain = self._chain(emissions, mask)
        return _narrow(chain.path_scores(self._check_tags(tags, mask, lowest=0)), emissions)

    def log_likelihood(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Log-probability of the labels `tags` (B, L), shape (B,).

        A tag of -1 at a residue means "label unknown": the likelihood sums over all labels it may have.

        Raises
        ------
        ValueError
            If tags are outside -1 … S - 1 or break a constraint; the message names rows and residues.
        """
        chain, tags = self._chain(emissions, mask), self._check_tags(tags, mask, lowest=UNKNOWN)
        if bool((tags == UNKNOWN).any()):
            labelled, total = chain.clamped(tags).stacked(chain).log_partition().chunk(2)
        else:
            labelled, total = chain.path_scores(tags), chain.log_partition()
        self._require_obedience(labelled, tags, mask)
        return _narrow(labelled - _require_paths(total, mask), emissions)

    def log_probability(self, emissions: Tensor, allowed: Tensor, mask: Tensor) -> Tensor:
        """Log-probability that each residue has one of its `allowed` (B, L, S) labels, shape (B,).

        It is -inf where no path within the constraints has such labels. This is the likelihood of labels
        that are known in part, such as "one of the states of this region".
        """
        chain = self._chain(emissions, mask)
        within, total = chain.restricted(allowed.bool()).stacked(chain).log_partition().chunk(2)
        return _narrow(within - _require_paths(total, mask), emissions)

    def marginals(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Probability of each label at each residue, shape (B, L, S), 0 in padding; differentiable.

        Raises
        ------
        ValueError
            If a row has no allowed path of its length; the message names the rows.
        """
        chain = self._chain(emissions, mask)
        found = chain.marginals()
        if bool(found.isnan().any()):
            _require_paths(chain.log_partition(), mask)
        return _narrow(found, emissions)

    @torch.no_grad()
    def viterbi(self, emissions: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The most probable path of each row and its score.

        Returns
        -------
        paths : Tensor of int64, shape (B, L)
            Labels; -1 in padding.
        scores : Tensor, shape (B,)

        Raises
        ------
        ValueError
            If a row has no allowed path of its length; the message names the rows.
        """
        paths, scores = self._chain(emissions, mask).best_paths()
        return paths.masked_fill(~mask, UNKNOWN), _narrow(_require_paths(scores, mask), emissions)

    def require_paths(self, lengths: Sequence[int]) -> None:
        """Check that the constraints leave a path through proteins of these lengths.

        Raises
        ------
        ValueError
            If some lengths have no path; the message names the rows.
        """
        possible = [False, *self._has_path(min(max(lengths), self.n_states**2 + 1))]
        rows = [row for row, n in enumerate(lengths) if n < len(possible) and not possible[n]]
        if rows:
            raise _no_path(rows, lengths, "Leave those proteins out, or relax the constraints.")

    def constrain(self, transitions: Any, starts: Any, ends: Any) -> None:
        """Replace the constraints; parameters as in the constructor."""
        weights = (self.transitions, self.starts, self.ends)
        for name, allowed, weight in zip(_CONSTRAINTS, (transitions, starts, ends), weights):
            found = torch.ones_like(weight).bool() if allowed is None else _tensor(allowed).bool()
            if found.shape != weight.shape:
                shapes = f"{tuple(found.shape)}; expected {tuple(weight.shape)}"
                raise ValueError(f"{name} has shape {shapes}, one entry per label.")
            self.register_buffer(name, found.to(weight.device))
        self._require_connection()

    def violations(self, tags: Sequence[Any]) -> list[tuple[int, int]]:
        """Find where labels break the constraints.

        Parameters
        ----------
        tags : sequence of 1-D int arrays
            One per protein, one label per residue; -1 = unknown.

        Returns
        -------
        list of (int, int)
            Row and residue, from 0, sorted. The residue is 0 for a forbidden start, the last one for a
            forbidden end, and otherwise the first one that no allowed path reaches from the labels before it.
        """
        padded, mask = _pad(tags, self.n_states, self.allowed_starts.device)
        broken, states = torch.zeros_like(mask), torch.arange(self.n_states, device=mask.device)
        is_last = mask & ~nn.functional.pad(mask[:, 1:], (0, 1))
        reached = self.allowed_starts.expand(len(padded), -1)
        for t in range(padded.shape[1]):
            may_have = (padded[:, t, None] == states) | (padded[:, t, None] == UNKNOWN)
            lost = ~(reached & may_have).any(1)
            reached = torch.where(lost.unsqueeze(1), may_have, reached & may_have)  # lost: start anew
            broken[:, t] = mask[:, t] & (lost | (is_last[:, t] & ~(reached & self.allowed_ends).any(1)))
            reached = (reached.float() @ self.allowed_transitions.float()) > 0
        return [(row, residue) for row, residue in broken.nonzero().tolist()]

    def _require_connection(self) -> None:
        if not any(self._has_path(self.n_states)):
            raise ValueError(
                "No allowed path: allowed_transitions lead from none of the allowed_starts "
                f"{self.allowed_starts.nonzero()[:, 0].tolist()} to any of the allowed_ends "
                f"{self.allowed_ends.nonzero()[:, 0].tolist()}. Allow missing transitions, starts or ends."
            )

    def _has_path(self, longest: int) -> list[bool]:
        """Whether the constraints leave a path through 1, 2, … ``longest`` residues."""
        found, reached = [], self.allowed_starts.float()
        for _ in range(longest):
            found.append(bool((reached * self.allowed_ends).any()))
            reached = (reached @ self.allowed_transitions.float() > 0).float()
        return found

    def _chain(self, emissions: Tensor, mask: Tensor) -> ChainScores:
        """Checked input and constrained weights, in the type that the sums run in."""
        _check_emissions(emissions, mask, self.n_states)
        dtype = torch.float32 if emissions.device.type == "mps" else torch.float64
        weights = (self.transitions, self.starts, self.ends)
        transitions, starts, ends = (
            weight.to(dtype).masked_fill(~getattr(self, name), -math.inf)
            for weight, name in zip(weights, _CONSTRAINTS)
        )
        return ChainScores(
            emissions.masked_fill(~mask.unsqueeze(2), 0).to(dtype), transitions, starts, ends, mask
        )

    def _check_tags(self, tags: Tensor, mask: Tensor, lowest: int) -> Tensor:
        """Tags (B, L) as int64 with label 0 in padding."""
        if tags.shape != mask.shape:
            raise ValueError(
                f"tags have shape {tuple(tags.shape)}; expected {tuple(mask.shape)}, as the mask."
            )
        return _require_tags(tags.long().masked_fill(~mask, 0), lowest, self.n_states)

    def _require_obedience(self, labelled: Tensor, tags: Tensor, mask: Tensor) -> None:
        rows = (labelled == -math.inf).nonzero()[:, 0].tolist()
        if not rows:
            return
        broken = self.violations([tags[row][mask[row]] for row in rows])
        where = _list([f"row {rows[row]} at residue {residue}" for row, residue in broken])
        raise ValueError(
            f"The labels of {len(rows)} rows have probability 0 ({where or 'their emissions are -inf'}): "
            "they break allowed_transitions, allowed_starts or allowed_ends. Correct them, mark them as "
            "unknown (-1) or infer the constraints with constraints_from_tags."
        )


def constraints_from_tags(tags: Sequence[Any], n_states: int) -> tuple[Tensor, Tensor, Tensor]:
    """Allow exactly the transitions, starts and ends that occur in `tags`.

    Parameters
    ----------
    tags : sequence of 1-D int arrays
        One per protein, one label per residue, 0 … n_states - 1; -1 = unknown, which shows nothing.
    n_states : int
        Number of labels S.

    Returns
    -------
    transitions : Tensor of bool, shape (S, S)
    starts, ends : Tensor of bool, shape (S,)

    Raises
    ------
    ValueError
        If a protein has no residues or a label outside -1 … n_states - 1.

    Examples
    --------
    >>> transitions, starts, ends = constraints_from_tags([[0, 0, 1], [0, 1, 1]], n_states=2)
    >>> transitions.tolist(), starts.tolist(), ends.tolist()
    ([[True, True], [False, True]], [True, False], [False, True])
    """
    padded, mask = _pad(tags, n_states, torch.device("cpu"))
    known = mask & (padded != UNKNOWN)
    pairs = known[:, :-1] & known[:, 1:]
    transitions = torch.zeros(n_states, n_states, dtype=torch.bool)
    transitions[padded[:, :-1][pairs], padded[:, 1:][pairs]] = True
    states = torch.arange(n_states)
    return transitions, torch.isin(states, padded[:, 0]), torch.isin(states, at_last(padded, mask))


def _tensor(values: Any) -> Tensor:
    """A copy; torch.as_tensor would warn of read-only numpy arrays."""
    return values.detach().clone() if isinstance(values, Tensor) else torch.tensor(values)


def _pad(tags: Sequence[Any], n_states: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Tags of N proteins as (N, L), with label 0 in padding, and their mask (N, L), True = residue."""
    rows = [_tensor(row).long().to(device) for row in tags]
    wrong = [i for i, row in enumerate(rows) if row.ndim != 1 or len(row) == 0]
    if wrong or not rows:
        raise ValueError(
            f"tags: rows [{_list(wrong)}] of {len(rows)} are not 1-D arrays of at least one label."
        )
    padded, mask = Ragged.of(rows).padded()
    return _require_tags(padded, UNKNOWN, n_states), mask


def _check_emissions(emissions: Tensor, mask: Tensor, n_states: int) -> None:
    if emissions.ndim != 3 or emissions.shape[2] != n_states:
        raise ValueError(f"emissions have shape {tuple(emissions.shape)}; expected (B, L, {n_states}).")
    if mask.dtype != torch.bool or mask.shape != emissions.shape[:2]:
        raise ValueError(
            f"mask is {mask.dtype} of shape {tuple(mask.shape)}; "
            f"expected torch.bool of shape {tuple(emissions.shape[:2])}, True = residue."
        )
    gaps = torch.cat([~mask[:, :1], mask[:, 1:] & ~mask[:, :-1]], 1)
    _require_no_row(gaps, "no residue, or padding before one. Strip special tokens; pad at the end.")


def _require_tags(tags: Tensor, lowest: int, n_states: int) -> Tensor:
    outside = (tags < lowest) | (tags >= n_states)
    remedy = "Only log_likelihood takes -1, an unknown label." if lowest == 0 else "-1 is an unknown label."
    _require_no_row(outside, f"tags outside {lowest} … {n_states - 1}. {remedy}")
    return tags


def _require_no_row(wrong: Tensor, what: str) -> None:
    """Raise one error that names all rows of `wrong` (B, L) that hold a True."""
    rows = wrong.any(1).nonzero()[:, 0].tolist()
    if rows:
        raise ValueError(f"Rows [{_list(rows)}] of {len(wrong)} have {what}")


def _require_paths(log_z: Tensor, mask: Tensor) -> Tensor:
    rows = (log_z.detach() == -math.inf).nonzero()[:, 0].tolist()
    if rows:
        remedy = f"Relax {', '.join(_CONSTRAINTS[:2])} or {_CONSTRAINTS[2]}, or look for emissions of -inf."
        raise _no_path(rows, mask.sum(1).tolist(), remedy)
    return log_z


def _no_path(rows: list[int], lengths: Sequence[int], remedy: str) -> ValueError:
    return ValueError(
        f"No allowed path: the constraints leave no path of labels for rows [{_list(rows)}] of "
        f"{len(lengths)}, of length [{_list([lengths[row] for row in rows])}]. {remedy}"
    )


def _list(items: Sequence[Any], most: int = 10) -> str:
    shown = ", ".join(map(str, items[:most]))
    return f"{shown} and {len(items) - most} more" if len(items) > most else shown


def _narrow(result: Tensor, emissions: Tensor) -> Tensor:
    return result.to(torch.promote_types(emissions.dtype, torch.float32))
