"""What each residue contributes to a prediction: ``attributions`` by three methods, and their picture."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import fill
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ..estimators.protein import ProteinEstimator
from ..estimators.residue import ResidueEstimator
from ..estimators.targets import ClassTarget
from ..messages import warn
from ..nn.packing import Ragged
from ..sequences.checked import COUNT, checked, one_of
from ..sequences.clean import object_array
from ..training.batching import TokenizedSequences
from ..training.devices import auto_max_tokens, autocast
from .attention import fitted_model, read_one, require_whole
from .probes import attention_of, outputs_from
from .style import BLUE, ORANGE, axes, mark_residues, width_of

Method = Literal["integrated_gradients", "occlusion", "attention_rollout"]

_UNKNOWN = "X"  # the residue that tells nothing


@checked(method=one_of(get_args(Method)), residue=[*COUNT, None], n_steps=COUNT)
def attributions(
    estimator: Any,
    X: Any,
    method: Method = "integrated_gradients",
    *,
    target: Any = None,
    residue: int | None = None,
    n_steps: int = 32,
) -> np.ndarray:
    """What each residue of each protein contributes to its prediction.

    A contribution is measured against unknown residues, X. It has the unit of the prediction: that of ``y``
    for values; for labels the model's score before softmax or sigmoid, which for two classes is the log-odds.

    Parameters
    ----------
    estimator : fitted estimator
        A tuned one with a prediction per protein, or per residue.
    X : list, array or Series of str, shape (n_proteins,)
    method : {"integrated_gradients", "occlusion", "attention_rollout"}, default="integrated_gradients"
        "integrated_gradients": gradients by the token embeddings, integrated from those of X to those of the
        residues. Contributions add up to the difference between the two predictions. "occlusion": by how much
        the prediction falls where one residue alone becomes X. "attention_rollout": how much attention passes
        from the residue through all layers to what the head reads; never negative, and the same for all
        targets.
    target : label or int, default=None
        The class to explain; None takes the one predicted for each protein. Of several labels or values: the
        column.
    residue : int, default=None
        The residue, from 1, whose prediction is to be explained; for estimators of residues alone.
    n_steps : int, default=32
        Points of the integral.

    Returns
    -------
    ndarray of shape (n_proteins,), dtype object
        One array (L,) of float for the residues read of each protein.

    Raises
    ------
    ValueError
        The estimator is of another kind; there is no such target or residue.

    Warns
    -----
    UserWarning
        Integrated gradients miss the difference of predictions by more than 5 % in some proteins: increase
        ``n_steps``.

    See Also
    --------
    AttributionDisplay : Their picture.

    Notes
    -----
    Cost for a protein of L residues: ``n_steps`` + 2 forward and backward passes; L + 1 forward passes; one
    forward pass. Memory is that of one training batch, and L² numbers per layer for attention.

    References
    ----------
    Sundararajan et al. (2017), arXiv:1703.01365. Zeiler and Fergus (2014), arXiv:1311.2901. Abnar and Zuidema
    (2020), doi:10.18653/v1/2020.acl-main.385

    Examples
    --------
    >>> from plmlearn import PLMLoRAClassifier
    >>> from plmlearn.datasets import make_protein_classification
    >>> from plmlearn.plotting import attributions
    >>> X, y = make_protein_classification(12, median_length=20, max_length=30, random_state=0)
    >>> clf = PLMLoRAClassifier("mini", epochs=1, random_state=0, verbose=0).fit(X, y)
    >>> [values.shape for values in attributions(clf, ["MKTAYIAKQR", "GSHMLEDP"])]
    [(10,), (8,)]
    """
    if not isinstance(estimator, ProteinEstimator | ResidueEstimator):
        raise ValueError(
            f"Got {type(estimator).__name__}; expected a tuned estimator with a prediction per protein, such "
            "as PLMLoRAClassifier, or per residue. Pass the last step of a pipeline."
        )
    if (residue is None) == isinstance(estimator, ResidueEstimator):
        raise ValueError(f"residue={residue!r}; expected a number for estimators of residues, else None.")
    model = fitted_model(estimator)
    sequences = estimator._clean(X)[0].tolist()
    explained = [_Explained(estimator, model, sequence, target, residue) for sequence in sequences]
    if method == "occlusion":
        return object_array([_occlusion(one) for one in explained])
    for sequence in sequences:
        require_whole(estimator, sequence)
    if method == "attention_rollout":
        return object_array([_attention_rollout(one) for one in explained])
    found, missed = zip(*(_integrated_gradients(one, n_steps) for one in explained))
    if off := [row for row, share in enumerate(missed) if share > 0.05]:
        warn(
            f"Integrated gradients of {len(off)} of {len(found)} proteins (rows {off[:10]}) miss the "
            f"difference of predictions by up to {max(missed):.0%}. Increase n_steps={n_steps}."
        )
    return object_array(list(found))


@dataclass(frozen=True)
class _Explained:
    """One protein, and which number among the outputs is explained."""

    estimator: Any
    model: Any
    sequence: str
    target: Any
    residue: int | None

    def __post_init__(self):
        if self.residue is not None and not 1 <= self.residue <= len(self.sequence):
            raise ValueError(f"residue={self.residue}, but a protein has residues 1 to {len(self.sequence)}.")

    def tokens(self, n: int) -> Any:
        """The protein n times, as a batch."""
        tokenized = TokenizedSequences(self.model.backbone, [self.sequence])
        return tokenized.pack([0] * n, self.model.config.device)

    def of_outputs(self, outputs: Any) -> Tensor:
        """The outputs of N variants of the protein that matter, (N, C)."""
        if self.residue is None:
            return torch.as_tensor(outputs)
        rows: Ragged = outputs
        return torch.stack([row[self.residue - 1] for row in rows.rows])

    def predict(self, variants: list[str]) -> Tensor:
        """Outputs of variants of the protein, (N, C); the cache is for other proteins."""
        inputs = self.model.tokens(object_array(variants), self.estimator._window)
        return self.of_outputs(self.model.outputs(inputs))

    def choice(self, outputs: Tensor) -> tuple[int, float]:
        """Column of the outputs, and the factor to its unit; ``outputs`` (C,) are those of the protein."""
        target, fitted = self.target, self.estimator._target
        classes = getattr(fitted, "classes", None)
        if classes is None:  # values
            n = len(outputs)
            if target is None and n > 1:
                raise ValueError(f"y has {n} columns; pass target, a column from 0 to {n - 1}.")
            column = _checked(target or 0, range(n))
            return column, float(np.ravel(fitted.scale)[column])
        binary = len(outputs) == 1 and len(classes) == 2
        if target is None:
            column = int(outputs[0] > 0) if binary else int(outputs.argmax())
        else:
            column = _checked(target, classes.tolist())
        return (0, 2.0 * column - 1) if binary else (column, 1.0)


def _checked(target: Any, known: Any) -> int:
    if target not in known:
        shown = ", ".join(map(repr, list(known)[:20]))
        raise ValueError(f"target={target!r} is not among what was fitted: {shown}.")
    return list(known).index(target)


def _occlusion(one: _Explained) -> np.ndarray:
    """Fall of the prediction where a residue becomes X."""
    s = one.sequence
    variants = [s] + [s[:i] + _UNKNOWN + s[i + 1 :] for i in range(len(s))]
    outputs = one.predict(variants)
    column, factor = one.choice(outputs[0])
    values = factor * outputs[:, column].double().numpy()
    return values[0] - values[1:]


@torch.inference_mode(False)
@torch.enable_grad()
def _integrated_gradients(one: _Explained, n_steps: int) -> tuple[np.ndarray, float]:
    """Contributions, and by which share of it they miss the difference of predictions.

    Gauss-Legendre points; both ends of the path are added with weight 0 to know the difference.
    """
    module, config, backbone = one.model.module.eval(), one.model.config, one.model.backbone
    tokens = one.tokens(1)
    unknown = TokenizedSequences(backbone, [_UNKNOWN * len(one.sequence)]).pack([0], config.device)
    with torch.no_grad():
        start, end = module.encoder.embed(unknown), module.encoder.embed(tokens)
    points, weights = np.polynomial.legendre.leggauss(n_steps)
    path = torch.tensor([1.0, 0.0, *(points + 1) / 2], dtype=end.dtype, device=config.device)
    weight = torch.tensor([0.0, 0.0, *weights / 2], dtype=end.dtype, device=config.device)
    limit = auto_max_tokens(config.device, backbone.dtype, module.encoder.width, backbone.n_layers)
    at_once = max(1, min(config.max_tokens, limit) // len(end))
    total, values, choice = torch.zeros_like(end), [], None
    for steps, weights_of in zip(path.split(at_once), weight.split(at_once), strict=True):
        hidden = (start + steps[:, None, None] * (end - start)).flatten(0, 1).requires_grad_()
        with autocast(config.device, config.dtype):
            outputs = one.of_outputs(outputs_from(module, hidden, one.tokens(len(steps))))
        choice = choice or one.choice(outputs[0].detach().cpu())
        scores = choice[1] * outputs[:, choice[0]].float()
        (gradient,) = torch.autograd.grad(scores.sum(), hidden)
        total += torch.einsum("s,std->td", weights_of, gradient.view(len(steps), *end.shape))
        values.append(scores.detach())
    found = (total * (end - start)).sum(1)[tokens.residue_index].cpu().double().numpy()
    whole = torch.cat(values).double().cpu().numpy()
    difference, scale = whole[0] - whole[1], np.abs(found).sum()
    return found, float(abs(found.sum() - difference) / scale) if scale else 0.0


def _attention_rollout(one: _Explained) -> np.ndarray:
    """Products over layers of attention (the mean over heads) and the residual stream, half each."""
    module, tokens = one.model.module, one.tokens(1)
    maps = attention_of(module.encoder, tokens, one.model.config)
    maps = maps / maps.sum(-1, keepdim=True)
    flow = torch.eye(maps.shape[-1], dtype=maps.dtype, device=maps.device)
    for attention in maps:
        flow = (attention @ flow + flow) / 2
    residues = tokens.residue_index.cpu()
    if one.residue is not None:
        read = residues[one.residue - 1 : one.residue]
    else:
        read = torch.tensor([0]) if one.estimator.pooling == "cls" else residues
    return flow[read].mean(0)[residues].double().numpy()


class AttributionDisplay:
    """What each residue contributes to a prediction, as bars along the sequence.

    Parameters
    ----------
    sequence : str
        L residues.
    values : array of shape (L,)
        Of :func:`attributions`.
    unit : str, default="contribution"
        Label of the vertical axis.
    name : str, default="attribution"
        Of the method, for the title.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    bars_ : matplotlib BarContainer

    See Also
    --------
    attributions : The numbers.
    AttentionDisplay : Where layers look.

    Examples
    --------
    >>> from plmlearn.plotting import AttributionDisplay
    >>> display = AttributionDisplay("MKTAY", [0.5, -0.1, 0.0, 0.2, 0.3]).plot()
    >>> display.ax_.get_ylabel()
    'contribution'
    """

    def __init__(self, sequence: str, values: Any, *, unit: str = "contribution", name: str = "attribution"):
        self.sequence = sequence
        self.values = np.asarray(values, dtype=float)
        self.unit = unit
        self.name = name
        if self.values.shape != (len(sequence),):
            raise ValueError(f"values have shape {self.values.shape}; expected ({len(sequence)},).")

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        sequence: str,
        method: Method = "integrated_gradients",
        *,
        target: Any = None,
        residue: int | None = None,
        n_steps: int = 32,
        ax: Any = None,
        **kwargs: Any,
    ) -> AttributionDisplay:
        """Compute the contributions of a protein's residues and draw them.

        Parameters
        ----------
        estimator, method, target, residue, n_steps
            As for :func:`attributions`.
        sequence : str
            One protein.
        ax : matplotlib Axes, default=None
        **kwargs
            For ``Axes.bar``.

        Returns
        -------
        AttributionDisplay
        """
        options = {"target": target, "residue": residue, "n_steps": n_steps}
        [values] = attributions(estimator, [sequence], method, **options)
        sequence = read_one(estimator, sequence)
        one = _Explained(estimator, fitted_model(estimator), sequence, target, residue)
        unit = "share of attention" if method == "attention_rollout" else _unit(one)
        name = method.replace("_", " ")
        return cls(sequence, values, unit=unit, name=name).plot(ax=ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> AttributionDisplay:
        """Draw on ``ax`` or on new axes. Needs matplotlib (``pip install "plmlearn[plot]"``).

        Parameters
        ----------
        ax : matplotlib Axes, default=None
        **kwargs
            For ``Axes.bar``.

        Returns
        -------
        AttributionDisplay
            Itself.
        """
        self.ax_ = ax = axes(ax, width_of(self.sequence), 2.8)
        self.figure_ = ax.figure
        options = {"width": 0.9, "color": np.where(self.values < 0, ORANGE, BLUE)} | kwargs
        self.bars_ = ax.bar(np.arange(1, len(self.values) + 1), self.values, **options)
        ax.axhline(0, color="0.4", linewidth=0.8)
        ax.set(ylabel=self.unit, title=self.name.capitalize())
        mark_residues(ax, self.sequence)
        return self


def _unit(one: _Explained) -> str:
    """The label of the axis: the value or class that residues contribute to."""
    where = "" if one.residue is None else f", residue {one.residue}"
    classes = getattr(one.estimator._target, "classes", None)
    if classes is None:
        return f"contribution to the value{where}"
    outputs = one.predict([one.sequence])[0]
    column, factor = one.choice(outputs)
    if len(outputs) == 1 and isinstance(one.estimator._target, ClassTarget):
        return f"contribution to the log-odds\n{fill(f'of class {classes[int(factor > 0)]!s}{where}', 30)}"
    return f"contribution to the score\n{fill(f'of class {classes[column]!s}{where}', 30)}"
