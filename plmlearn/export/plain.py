"""A fitted estimator as two plain modules: a transformers encoder with merged weights, and a head.

``PlainModel.of``   the encoder, the steps of the head, and what its outputs mean
``folded``          the head as linear layers alone, where it is that
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from ..backbones import Backbone
from ..backbones.checkpoints import merged
from ..estimators.embedder import PLMEmbedder
from ..estimators.frozen import FrozenPerceptron
from ..estimators.loaded import LoadedModel
from ..estimators.targets import ClassTarget, MultilabelTarget
from ..estimators.tuned import HeadedEstimator
from ..nn import models, residue_heads
from ..nn.models import FeatureScaler, ProteinModel, ResidueModel
from .head import Head

Step = tuple[list[Any], dict[str, Tensor]]
"""A step of a head with its arguments, and its tensors by name."""

_POOLINGS: dict[type, str] = {
    models.MeanPooling: "mean",
    models.MaxPooling: "max",
    models.ClsPooling: "first",
    models.AttentionPooling: "attention",
}
_ACTIVATIONS: dict[type, str] = {nn.ReLU: "relu", nn.Tanh: "tanh"}


@dataclass
class PlainModel:
    """Encoder and head of a fitted estimator, in float32 on the CPU.

    Parameters
    ----------
    encoder : nn.Module
        A transformers model; adapters are merged into its weights.
    head : Head
    steps : list of list
        What ``head`` is made of.
    backbone : Backbone
        How sequences are read.
    per_residue : bool
    problem_type : str
        As transformers names it: "regression", "single_label_classification" or
        "multi_label_classification". Two classes have two outputs, numbers are in the units of ``y``.
    labels : list of str
        Name of each output.
    """

    encoder: Any
    head: Head
    steps: list[list[Any]]
    backbone: Backbone
    per_residue: bool
    problem_type: str
    labels: list[str]

    @classmethod
    def of(cls, estimator: Any) -> PlainModel:
        """From a fitted estimator, or an error that says why it has no such form."""
        if not isinstance(estimator, HeadedEstimator | FrozenPerceptron | PLMEmbedder):
            raise TypeError(
                f"{type(estimator).__name__} is not exported; expected an estimator of proteins or residues. "
                "PLMMaskedLM has save_pretrained, and plmlearn.save keeps every estimator."
            )
        check_is_fitted(estimator)
        model = _restored(estimator)
        _require_plain(estimator, model)
        parts = list(_steps(model.module))
        parts += _perceptron(estimator) if isinstance(estimator, FrozenPerceptron) else []
        problem_type, labels = _outputs(estimator)
        if labels and not isinstance(estimator, FrozenPerceptron):
            _fold_target(parts, estimator._target)
        elif problem_type == "single_label_classification" and len(labels) == 2:
            _to_two_classes(parts)
        head = _head_of(parts, model.backbone)
        encoder = _encoder(model)
        steps = [step for step, _ in parts]
        per_residue = isinstance(model.module, ResidueModel)
        return cls(encoder, head, steps, model.backbone, per_residue, problem_type, labels)

    def logits(self, sequences: list[str]) -> Tensor:
        """Outputs of clean sequences, (n, C) or (n, T, C): what the exported files give."""
        ids, mask = self.batch(sequences)
        with torch.no_grad():
            return self.head(self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state, mask)

    def batch(self, sequences: list[str]) -> tuple[Tensor, Tensor]:
        """Token ids (B, T) and their mask of clean sequences, padded on the right."""
        ids, lengths = self.backbone.tokenize(sequences)
        rows = torch.from_numpy(ids.astype("int64")).split(lengths.tolist())
        fill = self.encoder.config.pad_token_id or 0
        padded = nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=fill)
        return padded, (torch.arange(padded.shape[1]) < torch.from_numpy(lengths)[:, None]).long()


# -- the model --------------------------------------------------------------------------------


def _restored(estimator: Any) -> LoadedModel:
    """The fitted model in single precision on the CPU, whatever the estimator runs in."""
    single = {"precision": "fp32", "device": "cpu", "compile": False}
    if isinstance(estimator, HeadedEstimator):
        copied: Any = copy.copy(estimator)
        vars(copied).update(single, _loaded=None)
        return copied._restored()
    embedder: Any = copy.copy(getattr(estimator, "embedder_", estimator))
    vars(embedder).update(single, backbone=estimator.backbone)
    return embedder._load()


def _require_plain(estimator: Any, model: LoadedModel) -> None:
    """Refuse what neither transformers nor a head over its hidden states can compute."""
    module, why = model.module, ""
    if model.backbone.quantization is not None:
        why = f"quantization={model.backbone.quantization!r} has rounded the weights; fit without it"
    elif not isinstance(module, ProteinModel | ResidueModel):
        why = "its head reads pairs of proteins"
    elif getattr(module, "crf", None) is not None:
        why = "a CRF chooses paths of labels; fit with another head"
    elif module.encoder.mixing is not None:
        why = "layer_mixing=True reads every layer; fit without it"
    elif not model.backbone.final_norm:
        why = "final_norm=False leaves out a norm that transformers applies"
    if why:
        raise ValueError(
            f"{type(estimator).__name__} cannot be exported: {why}. plmlearn.save keeps the estimator as it "
            "is."
        )


def _encoder(model: LoadedModel) -> nn.Module:
    try:
        encoder: Any = merged(model.module.encoder.backbone, model.backbone.model).eval()
    except ValueError as error:
        raise ValueError(f"The encoder cannot be exported. {error}") from error
    encoder.config = copy.deepcopy(encoder.config)
    if model.backbone.n_layers < encoder.config.num_hidden_layers:
        encoder.config.num_hidden_layers = model.backbone.n_layers
        _reshape_unused(encoder, model.backbone)
    return encoder.requires_grad_(False)


def _reshape_unused(encoder: Any, backbone: Backbone) -> None:
    """Put zeros into what the encoder does not use where its shape depends on the number of layers."""
    with torch.device("meta"):
        shapes = dict(type(encoder)(encoder.config, **backbone.architecture.load_options).named_parameters())
    for name, tensor in encoder.named_parameters():
        if tensor.shape != shapes[name].shape:
            tensor.data = torch.zeros(shapes[name].shape)


# -- the head ---------------------------------------------------------------------------------


def _steps(module: Any) -> Iterator[Step]:
    """Steps of a model's pooling, scaler and head, in their order."""
    if isinstance(module, ProteinModel):
        yield _pooling(module.pooling)
    yield _step(module.scaler)
    if isinstance(module.head, residue_heads.ResidueCnn):
        yield _step(module.head.first)
        yield ["tanh"], {}
        yield _step(module.head.second)
    elif isinstance(module.head, residue_heads.ResidueLightAttention):
        yield _light_attention(module.head.values, module.head.scores, module.head.out)
    else:
        yield from (_step(part) for part in module.head.children() if not isinstance(part, nn.Dropout))


def _pooling(pooling: nn.Module) -> Step:
    if isinstance(pooling, models.LightAttentionPooling):
        return _light_attention(pooling.value, pooling.score)
    name, tensors = _POOLINGS[type(pooling)], pooling.state_dict()
    return [name, pooling.width] if tensors else [name], tensors


def _light_attention(value: nn.Conv1d, score: nn.Conv1d, out: nn.Linear | None = None) -> Step:
    convs = {"value.conv": value, "score.conv": score} | ({} if out is None else {"out": out})
    tensors = {f"{at}.{name}": x for at, part in convs.items() for name, x in part.state_dict().items()}
    sizes = [value.in_channels, value.out_channels, value.kernel_size[0]]
    return ["light_attention", *sizes, *([] if out is None else [out.out_features])], tensors


def _step(part: nn.Module) -> Step:
    tensors = part.state_dict()
    if isinstance(part, nn.Linear):
        return ["linear", part.in_features, part.out_features], tensors
    if isinstance(part, nn.Conv1d):
        sizes = [part.in_channels, part.out_channels, part.kernel_size[0]]
        return ["conv", *sizes], {f"conv.{name}": tensor for name, tensor in tensors.items()}
    if isinstance(part, nn.LayerNorm):
        return ["norm", part.normalized_shape[0]], tensors
    if isinstance(part, FeatureScaler):
        return ["scale", len(part.mean)], tensors
    return [_ACTIVATIONS[type(part)]], tensors


def _perceptron(estimator: FrozenPerceptron) -> list[Step]:
    """scikit-learn's scaler and perceptron."""
    scaler, mlp = estimator.scaler_, estimator.mlp_
    scale = {"mean": torch.from_numpy(scaler.mean_), "scale": torch.from_numpy(scaler.scale_)}
    parts: list[Step] = [(["scale", len(scaler.mean_)], scale)]
    for number, (weight, bias) in enumerate(zip(mlp.coefs_, mlp.intercepts_)):
        if number and mlp.activation != "identity":
            parts.append(([mlp.activation], {}))
        tensors = {"weight": torch.from_numpy(weight.T), "bias": torch.from_numpy(bias)}
        parts.append((["linear", *weight.shape], tensors))
    return parts


def _outputs(estimator: Any) -> tuple[str, list[str]]:
    """Problem type and the name of each output; of embeddings none."""
    if isinstance(estimator, PLMEmbedder):
        return "feature_extraction", []
    if isinstance(estimator, FrozenPerceptron):
        several = estimator.mlp_.out_activation_ == "logistic" and estimator.mlp_.n_outputs_ > 1
        classes = getattr(estimator.mlp_, "classes_", None)
        n_outputs = estimator.mlp_.n_outputs_
    else:
        target = estimator._target
        several, classes = isinstance(target, MultilabelTarget), getattr(target, "classes", None)
        n_outputs = target.n_outputs
    if classes is None:
        return "regression", [f"value_{i}" for i in range(n_outputs)]
    kind = "multi_label_classification" if several else "single_label_classification"
    return kind, [str(label) for label in classes.tolist()]


def _fold_target(parts: list[Step], target: Any) -> None:
    """Bring the last layer's outputs into the units of ``y``; two classes get an output each."""
    if isinstance(target, ClassTarget) and target.n_outputs == 1:
        _to_two_classes(parts)
    elif hasattr(target, "scale"):
        scale = torch.as_tensor(target.scale)
        _change_last(parts, lambda weight: (weight.double().mT * scale).mT, target.mean)


def _to_two_classes(parts: list[Step]) -> None:
    """One logit z as the two logits (0, z), whose softmax is the sigmoid."""
    _change_last(parts, lambda weight: torch.cat([torch.zeros_like(weight), weight]), 0.0)


def _change_last(parts: list[Step], change: Any, add: Any) -> None:
    (name, *sizes), tensors = parts[-1]
    where = {"linear": "", "conv": "conv.", "light_attention": "out."}[name]
    weight, bias = tensors[f"{where}weight"], tensors[f"{where}bias"]
    flat = change(torch.cat([weight.reshape(len(weight), -1), bias[:, None]], 1))
    weight, bias = flat[:, :-1].reshape(-1, *weight.shape[1:]), flat[:, -1] + torch.as_tensor(add)
    sizes[1 if name != "light_attention" else 3] = len(bias)
    parts[-1] = [name, *sizes], {**tensors, f"{where}weight": weight, f"{where}bias": bias}


def _head_of(parts: list[Step], backbone: Backbone) -> Head:
    token_format = backbone.token_format
    head = Head([step for step, _ in parts], len(token_format.prefix), len(token_format.suffix))
    tensors = {f"steps.{i}.{name}": x for i, (_, part) in enumerate(parts) for name, x in part.items()}
    head.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return head.eval().requires_grad_(False)


def folded(model: PlainModel, *shape: str) -> list[dict[str, Tensor]] | None:
    """Weights and biases of the head's linear layers, the scaling folded into the first one.

    Parameters
    ----------
    model : PlainModel
    *shape : str
        Names of the steps that the head must have after its scaling.

    Returns
    -------
    list of dict or None
        None where the head has other steps.
    """
    names = [name for name, *_ in model.steps]
    start = names.index("scale")
    if tuple(names[start + 1 :]) != shape:
        return None
    scale, *rest = list(model.head.steps)[start:]
    linears = [{name: x.double() for name, x in part.state_dict().items()} for part in rest]
    linears = [tensors for tensors in linears if tensors]
    first, mean = linears[0], scale.mean.double()
    first["weight"] = first["weight"] / scale.scale.double()
    first["bias"] = first["bias"] - first["weight"] @ mean
    return [{name: x.float() for name, x in tensors.items()} for tensors in linears]
