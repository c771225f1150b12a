"""A fitted estimator as two plain modules: a transformers encoder with merged weights, and a head.

``PlainModel.of``   the encoder, the steps of the head, and what its outputs mean
``folded``          the head as linear layers alone, where it is that
``letters_of``      the token ids of the letters of sequences
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
from ..estimators.signal_peptides import PLMSignalPeptideClassifier
from ..estimators.signal_states import STATES
from ..estimators.targets import MultilabelTarget
from ..estimators.tuned import HeadedEstimator
from ..nn import combinations, models, residue_heads
from ..nn.combinations import PairModel
from ..nn.crf import LinearChainCRF
from ..nn.models import FeatureScaler, PooledModel, ResidueModel
from ..sequences.clean import LETTERS
from .head import outputs, steps_of

Step = tuple[str, dict[str, Tensor]]
"""A step of a head, by its name in ``head.STEPS``, and its tensors by name."""

_POOLINGS: dict[type, str] = {
    models.MeanPooling: "mean",
    models.MaxPooling: "max",
    models.ClsPooling: "first",
    models.AttentionPooling: "attention",
    combinations.ResidueProjection: "linear",
}
_COMBINATIONS: dict[type, str] = {made: f"pair_{name}" for name, made in combinations.COMBINATIONS.items()}
_MODULES: dict[type, str] = {
    FeatureScaler: "scale",
    nn.Linear: "linear",
    nn.LayerNorm: "norm",
    nn.Conv1d: "conv",
    nn.ReLU: "relu",
    nn.Tanh: "tanh",
}


class Head(nn.Module):
    """Pooling, scaling and head, one step after another, as a module for the exporter of ONNX.

    Parameters
    ----------
    steps : list of Step
        Their tensors are held in float32.
    prefix, suffix : int
        Special tokens before and after the residues.
    """

    def __init__(self, steps: list[Step], prefix: int, suffix: int):
        super().__init__()
        self.names = [name for name, _ in steps]
        self.prefix, self.suffix = prefix, suffix
        for number, (_, tensors) in enumerate(steps):
            for name, tensor in tensors.items():
                self.register_buffer(f"{number}_{name}", tensor.detach().float().contiguous())

    def steps(self) -> list[Step]:
        return steps_of(self.names, dict(self.named_buffers()))

    def forward(self, hidden: Tensor, attention_mask: Tensor) -> Tensor:
        """Hidden states (B, T, D) and the mask (B, T) of tokens to outputs."""
        return outputs(hidden, attention_mask, steps=self.steps(), prefix=self.prefix, suffix=self.suffix)


@dataclass
class PlainModel:
    """Encoder and head of a fitted estimator, in float32 on the CPU.

    Parameters
    ----------
    encoder : nn.Module
        A transformers model; adapters are merged into its weights.
    head : Head
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
    backbone: Backbone
    per_residue: bool
    problem_type: str
    labels: list[str]

    @property
    def steps(self) -> list[str]:
        """Names of the head's steps."""
        return self.head.names

    @property
    def reads_pairs(self) -> bool:
        return any(name.startswith("pair_") for name in self.steps)

    @property
    def has_paths(self) -> bool:
        return self.steps[-1] == "crf"

    @classmethod
    def of(cls, estimator: Any) -> PlainModel:
        """From a fitted estimator, or an error that says why it has no such form."""
        if not isinstance(estimator, HeadedEstimator | FrozenPerceptron | PLMEmbedder):
            raise TypeError(
                f"{type(estimator).__name__} is not exported; expected an estimator of proteins, pairs or "
                "residues. PLMMaskedLM has save_pretrained, and plmlearn.save keeps every estimator."
            )
        check_is_fitted(estimator)
        model = _restored(estimator)
        _require_plain(estimator, model)
        parts = list(_steps(model.module))
        parts += _perceptron(estimator) if isinstance(estimator, FrozenPerceptron) else []
        problem_type, labels = _outputs(estimator)
        if labels:
            _fold_target(parts, len(labels), getattr(estimator, "_target", None))
        if getattr(model.module, "crf", None) is not None:
            parts.append(_paths(model.module.crf))
        token_format = model.backbone.token_format
        head = Head(parts, len(token_format.prefix), len(token_format.suffix))
        encoder = _encoder(model)
        per_residue = isinstance(model.module, ResidueModel)
        return cls(encoder, head, model.backbone, per_residue, problem_type, labels)

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
    single: Any = copy.copy(getattr(estimator, "embedder_", estimator))
    vars(single).update(precision="fp32", device="cpu", compile=False, backbone=estimator.backbone)
    if not isinstance(estimator, HeadedEstimator):
        return single._load()
    single._loaded = None
    return single._restored()


def _require_plain(estimator: Any, model: LoadedModel) -> None:
    """Refuse what neither transformers nor a head over its hidden states can compute."""
    module, why = model.module, ""
    if model.backbone.quantization is not None:
        why = f"quantization={model.backbone.quantization!r} has rounded the weights; fit without it"
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
        _rescale_branches(encoder, model.backbone)
        encoder.config.num_hidden_layers = model.backbone.n_layers
        _reshape_unused(encoder, model.backbone)
    return encoder.requires_grad_(False)


def _rescale_branches(encoder: Any, backbone: Backbone) -> None:
    """Where layers divide by a number made of how many there are (ESM-C), scale what they divide."""
    factor = (backbone.n_layers / encoder.config.num_hidden_layers) ** 0.5
    for layer in encoder.get_submodule(backbone.architecture.layers):
        if hasattr(layer, "scaling_factor"):
            layer.scaling_factor *= factor
            for path in (*backbone.targets["output"], *backbone.targets["ffn_out"]):
                for tensor in layer.get_submodule(path).parameters():
                    tensor.data *= factor


def _reshape_unused(encoder: Any, backbone: Backbone) -> None:
    """Put zeros into what the encoder does not use where its shape depends on the number of layers."""
    with torch.device("meta"):
        shapes = dict(type(encoder)(encoder.config, **backbone.architecture.load_options).named_parameters())
    for name, tensor in encoder.named_parameters():
        if tensor.shape != shapes[name].shape:
            tensor.data = torch.zeros(shapes[name].shape, dtype=tensor.dtype, device=tensor.device)


# -- the head ---------------------------------------------------------------------------------


def _steps(module: Any) -> Iterator[Step]:
    """Steps of a model's pooling, scaler, combination and head, in their order."""
    if isinstance(module, PooledModel):
        yield _pooling(module.pooling)
    yield _step(module.scaler)
    if isinstance(module, PairModel):
        yield _COMBINATIONS[type(module.combination)], {}
    if isinstance(module.head, residue_heads.ResidueCnn):
        yield _step(module.head.first)
        yield "tanh", {}
        yield _step(module.head.second)
    elif isinstance(module.head, residue_heads.ResidueLightAttention):
        convs = {"value": module.head.values, "score": module.head.scores}
        yield "residue_light_attention", _tensors(**convs) | module.head.out.state_dict()
    else:
        yield from (_step(part) for part in module.head.children() if not isinstance(part, nn.Dropout))


def _pooling(pooling: nn.Module) -> Step:
    if isinstance(pooling, models.LightAttentionPooling):
        return "light_attention", _tensors(value=pooling.value, score=pooling.score)
    return _POOLINGS[type(pooling)], {
        name: x for part in pooling.children() for name, x in part.state_dict().items()
    }


def _tensors(**parts: nn.Module) -> dict[str, Tensor]:
    return {f"{at}_{name}": x for at, part in parts.items() for name, x in part.state_dict().items()}


def _step(part: nn.Module) -> Step:
    return _MODULES[type(part)], dict(part.state_dict())


def _paths(crf: LinearChainCRF) -> Step:
    """A random field; what its constraints forbid weighs -inf."""
    names = ("transitions", "starts", "ends")
    tensors = {
        name: getattr(crf, name).masked_fill(~getattr(crf, f"allowed_{name}"), -torch.inf) for name in names
    }
    return "crf", tensors


def _perceptron(estimator: FrozenPerceptron) -> list[Step]:
    """scikit-learn's scaler and perceptron."""
    scaler, mlp = estimator.scaler_, estimator.mlp_
    scale = {"mean": torch.from_numpy(scaler.mean_), "scale": torch.from_numpy(scaler.scale_)}
    parts: list[Step] = [("scale", scale)]
    for number, (weight, bias) in enumerate(zip(mlp.coefs_, mlp.intercepts_)):
        if number and mlp.activation != "identity":
            parts.append((mlp.activation, {}))
        parts.append(("linear", {"weight": torch.from_numpy(weight.T), "bias": torch.from_numpy(bias)}))
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
    if isinstance(estimator, PLMSignalPeptideClassifier):
        return kind, [" ".join(state) for state in STATES]
    return kind, [str(label) for label in classes.tolist()]


def _fold_target(parts: list[Step], n_labels: int, target: Any) -> None:
    """Bring the last layer's outputs into the units of ``y``; two classes get an output each."""
    name, tensors = parts[-1]
    weight, bias = tensors["weight"], tensors["bias"]
    if len(bias) < n_labels:  # one logit z as the two logits (0, z), whose softmax is the sigmoid
        weight, bias = (torch.cat([torch.zeros_like(x), x]) for x in (weight, bias))
    elif hasattr(target, "scale"):
        scale = torch.as_tensor(target.scale)
        weight = (weight.double().flatten(1) * scale[:, None]).view_as(weight)
        bias = bias.double() * scale + torch.as_tensor(target.mean)
    parts[-1] = name, {**tensors, "weight": weight, "bias": bias}


def letters_of(backbone: Backbone) -> dict[str, int]:
    """The token id of each letter of a clean sequence: of the rare ones that of what they are read as."""
    ids = backbone.tokenize([LETTERS])[0].tolist()
    return dict(zip(LETTERS, ids[len(backbone.token_format.prefix) :]))


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
    start = model.steps.index("scale")
    if tuple(model.steps[start + 1 :]) != shape:
        return None
    doubled = [{name: x.double() for name, x in tensors.items()} for _, tensors in model.head.steps()[start:]]
    scaling, first, *rest = [tensors for tensors in doubled if tensors]
    first["weight"] = first["weight"] / scaling["scale"]
    first["bias"] = first["bias"] - first["weight"] @ scaling["mean"]
    linears = [first, *rest]
    return [{name: x.float() for name, x in tensors.items()} for tensors in linears]
