"""What makes a model rank variants as they were measured: one loss per variant of a step, by name.

A step's loss is the mean of what each function returns. Shapes: N variants of a step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor


def ranking_loss(scores: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Bradley–Terry: each pair is a match that the variant with the higher y should win.

    -log sigmoid(score_i - score_j) over the pairs with y_i > y_j, weighted by the product of both weights;
    ties are no matches. Each variant gets its wins, so that the mean over N is the mean over pairs.
    """
    matches = (y[:, None] > y[None, :]) * weights[:, None] * weights[None, :]
    lost = F.softplus(scores[None, :] - scores[:, None])
    return (lost * matches).sum(1) * (len(y) / matches.sum().clamp(min=_TINY))


def listwise_loss(scores: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Plackett–Luce: each variant should be chosen from itself and all that are worse; ties do not compete.

    Without ties and weights it is the negative log-likelihood of the measured order, over N.
    """
    competes = (y[:, None] > y[None, :]) * weights[None, :] + torch.eye(len(y), device=y.device)
    chosen = torch.logsumexp(scores[None, :] + competes.log(), dim=1) - scores
    return chosen * weights * (len(y) / weights.sum().clamp(min=_TINY))


def squared_loss(scores: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Squared difference of scores and y, both scaled to mean 0 and deviation 1 before training."""
    return (scores - y).square() * weights * (len(y) / weights.sum().clamp(min=_TINY))


LOSSES: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "ranking": ranking_loss,
    "listwise": listwise_loss,
    "squared": squared_loss,
}
_TINY = 1e-12
