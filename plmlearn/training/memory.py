"""How much memory a run takes, and how many tokens fit at once.

The figures are counts of what the passes keep; ``tests/training/test_memory.py`` holds them against
what autograd really keeps, ``benchmarks/memory.py`` against the peak of a process.

Shapes: T tokens, D width of the encoder, L tokens of the longest sequence.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from ..backbones import Backbone
from ..cache import default_cache
from ..nn.encoders import PackedEncoder
from ..nn.encoders.base import learned_part
from ..nn.models import EncoderModel
from .batching import Inputs, TokenizedSequences
from .config import TrainingConfig
from .features import reusable_stage

_LONGEST = 10_000  # residues: the largest max_length
_ALL_PARTS = ("query", "key", "value", "output", "ffn_in", "ffn_out", "norms")


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that training takes at its peak, by what they are for; ``print`` shows a table.

    Three things come on top: what Python and torch take before anything is loaded (0.3-0.5 GiB on a
    CPU), the kernels that a CPU's library makes for bfloat16 (0.1 GiB and more), and the copy of the
    best epoch's tensors that a validation set asks for. glibc's allocator gives little back and may
    hold nearly twice of what it was asked for.

    Parameters
    ----------
    frozen_weights : int
        The pretrained backbone, shared by all estimators on it.
    trained_tensors : int
        Adapters, tuned weights and head in float32, with the copies in which products read them.
    gradients, optimizer_state : int
        One and two float32 numbers per trained one (AdamW).
    activations : int
        What the largest micro-batch under the token budget keeps for the backward pass, and
        temporaries.
    attention_workspace : int
        Scores of the longest sequence that are held at once.
    reused : int
        Embeddings or activations of these sequences that are computed once and kept in memory.
    bytes_per_token : int
        Of the activations.
    n_special, n_learned : int
        Special tokens of each sequence, and learned vectors beside it (prompts or prefixes).
    bytes_per_learned : int
        Of the activations, per learned vector of a sequence.
    workspace_bytes : int
        Of the attention workspace, per squared token.
    """

    frozen_weights: int
    trained_tensors: int
    gradients: int
    optimizer_state: int
    activations: int
    attention_workspace: int
    reused: int
    bytes_per_token: int
    n_special: int
    n_learned: int
    bytes_per_learned: int
    workspace_bytes: int

    @property
    def total(self) -> int:
        """All of it, in bytes."""
        return sum(self._parts().values())

    def longest_sequence(self, memory_bytes: float) -> int:
        """Residues of the longest sequence that can be trained on within a given memory.

        The sequence is alone in its micro-batch: pass a ``max_tokens`` no larger than it.

        Parameters
        ----------
        memory_bytes : float
            Bytes, without what Python and torch take themselves.

        Returns
        -------
        int
            At most 10,000, the largest ``max_length``; 0 where the weights alone do not fit.
        """
        left = memory_bytes - (self.total - self.activations - self.attention_workspace)

        def needed(n_residues: int) -> int:
            n_tokens = n_residues + self.n_special
            return (
                n_tokens * self.bytes_per_token
                + self.n_learned * self.bytes_per_learned
                + (n_tokens + self.n_learned) ** 2 * self.workspace_bytes
            )

        return max(0, bisect_right(range(_LONGEST + 1), left, key=needed) - 1)

    def _parts(self) -> dict[str, int]:
        rates = ("bytes_per_token", "n_special", "n_learned", "bytes_per_learned", "workspace_bytes")
        return {name: n_bytes for name, n_bytes in asdict(self).items() if name not in rates}

    def __str__(self) -> str:
        rows = [*self._parts().items(), ("total", self.total)]
        return "\n".join(f"{name.replace('_', ' '):<20}{size / 2**20:>12,.1f} MiB" for name, size in rows)


def estimate_memory(
    model: EncoderModel, backbone: Backbone, inputs: Inputs, config: TrainingConfig
) -> MemoryEstimate:
    """What training ``model`` on ``inputs`` takes; nothing is run.

    Parameters
    ----------
    model : EncoderModel
        Not yet trained, over the backbone's tensors.
    backbone : Backbone
    inputs : Inputs
        Over tokens.
    config : TrainingConfig
    """
    encoder, item, tokens = model.encoder, backbone.dtype.itemsize, inputs.sequences
    n_trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    per_token = activation_bytes_per_token(
        backbone,
        _n_differentiated(model),
        checkpointing=encoder.checkpointing,
        trained=_trained_parts(encoder, backbone),
    )
    forward = activation_bytes_per_token(backbone, 0, checkpointing=False)
    if encoder.mixing is not None:  # every hidden state, and what it is after its norm and its weight
        per_token += 3 * 4 * encoder.width * (encoder.n_layers + 1)
        forward += 3 * 4 * encoder.width * (encoder.n_layers + 1)
    n_learned, per_learned = _learned(encoder, backbone, per_token)
    of_samples = tokens.lengths[inputs.index]  # a protein for each sample, or two
    step = _largest_batch(of_samples.ravel(), config.max_tokens, config.batch_size * of_samples[0].size)
    beside_step = n_learned * _most_sequences(
        of_samples.ravel(), step, config.batch_size * of_samples[0].size
    )
    pass_without_gradients = _largest_batch(tokens.lengths, config.max_tokens)
    beside_pass = n_learned * _most_sequences(tokens.lengths, pass_without_gradients)
    workspace = 2 * item if _n_differentiated(model) and config.device.type == "cpu" else 0
    return MemoryEstimate(
        frozen_weights=_storage_bytes(backbone.tensors()),
        trained_tensors=n_trained * (4 if item == 4 else 4 + item),
        gradients=4 * n_trained,
        optimizer_state=8 * n_trained,
        activations=max(
            step * per_token + beside_step * per_learned, (pass_without_gradients + beside_pass) * forward
        ),
        attention_workspace=(tokens.longest_window + n_learned) ** 2 * workspace,
        reused=_reused_bytes(model, tokens),
        bytes_per_token=per_token,
        n_special=tokens.n_prefix + tokens.n_suffix,
        n_learned=n_learned,
        bytes_per_learned=per_learned,
        workspace_bytes=workspace,
    )


def activation_bytes_per_token(
    backbone: Backbone,
    n_trained_layers: int,
    *,
    checkpointing: bool,
    trained: Collection[str] = _ALL_PARTS,
) -> int:
    """Bytes per token that the backward pass keeps, temporaries of the layer at work included.

    Parameters
    ----------
    backbone : Backbone
    n_trained_layers : int
        Layers from the lowest trained one to the top; 0 gives those of a pass without gradients.
    checkpointing : bool
        Each layer keeps its input alone; one layer at a time is recomputed.
    trained : collection of str, default=all
        plmlearn's names of the matrices that are trained or carry an adapter, and "norms" where those
        are trained: all these keep their input.
    """
    layer = next(backbone.model.get_submodule(backbone.architecture.layers).children())
    matrices: dict[str, list[Any]] = {
        name: [layer.get_submodule(path) for path in paths] for name, paths in backbone.targets.items()
    }
    first = {name: found[0] for name, found in matrices.items()}
    width, inner = first["query"].in_features, first["ffn_in"].out_features
    item = backbone.dtype.itemsize
    # Query, key, value, what attention makes of them, and the feed-forward layer before its activation;
    # a gated one also keeps what the activation made of its gate.
    kept = sum(m.out_features for name in ("query", "key", "value", "ffn_in") for m in matrices[name])
    kept += first["output"].in_features + inner * (len(matrices["ffn_in"]) - 1)
    # Inputs of trained matrices: query, key and value share theirs; the output's is counted already.
    kept += width * bool({"query", "key", "value"} & set(trained))
    kept += sum(first[name].in_features for name in ("ffn_in", "ffn_out") if name in trained)
    norms = [module for module in layer.modules() if _is_norm(module)]
    # They keep their float32 input; RMS norms also what their weights multiply, where these are trained.
    n_results = sum("norms" in trained and not isinstance(norm, nn.LayerNorm) for norm in norms)
    layer_bytes = kept * item + (len(norms) + n_results) * 4 * width
    # Position tables, final norm and pooling; then the stream, a layer norm, GELU and its gradient.
    working = 4 * 4 * width + 2 * (width + inner) * item
    if checkpointing and n_trained_layers:
        return 4 * width * n_trained_layers + layer_bytes + working
    return layer_bytes * n_trained_layers + working


def _storage_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors, what two of them share counted once."""
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def _n_differentiated(model: EncoderModel) -> int:
    """Layers that the backward pass goes through."""
    return model.encoder.n_layers - model.encoder.trunk_depth


def _trained_parts(encoder: PackedEncoder, backbone: Backbone) -> set[str]:
    """plmlearn's names of the matrices of the top layer in which something is trained, and "norms"."""
    *_, layer = encoder.backbone.get_submodule(backbone.architecture.layers).children()

    def is_trained(module: nn.Module) -> bool:
        return any(p.requires_grad for p in module.parameters())

    names = {
        name
        for name, paths in backbone.targets.items()
        if any(is_trained(layer.get_submodule(path)) for path in paths)
    }
    norms = (module for module in layer.modules() if _is_norm(module))
    return names | ({"norms"} if any(map(is_trained, norms)) else set())


def _is_norm(module: nn.Module) -> bool:
    return type(module).__name__.endswith("LayerNorm")


def _learned(encoder: PackedEncoder, backbone: Backbone, per_token: int) -> tuple[int, int]:
    """Learned vectors beside each sequence, and bytes that each takes where a token takes ``per_token``."""
    prompts, prefixes = (
        [part for part in (learned_part(block, name) for block in encoder.blocks) if part is not None]
        for name in ("prompt", "prefix")
    )
    if prompts:  # tokens among the others, from the lowest trained layer to the top
        return len(prompts[0].vectors), per_token
    if not prefixes:
        return 0, 0
    layer: Any = next(encoder.blocks.children())
    width = sum(layer.get_submodule(backbone.targets[name][0]).out_features for name in ("key", "value"))
    n_kept = 1 if encoder.checkpointing else len(prefixes)
    return len(prefixes[0].vectors), n_kept * width * backbone.dtype.itemsize


def _most_sequences(lengths: np.ndarray, n_tokens: int, n_rows: int | None = None) -> int:
    """Sequences that a batch of so many tokens may have at most."""
    return int((np.cumsum(np.sort(lengths)[:n_rows]) <= n_tokens).sum())


def _largest_batch(lengths: np.ndarray, max_tokens: int, n_rows: int | None = None) -> int:
    """Tokens of the largest batch that may come up when steps of ``n_rows`` are cut by the budget.

    A step is cut into batches of like size, so none is full unless a step may just fill it.
    """
    ascending = np.sort(lengths)
    longest = int(ascending[-1])
    fewest, most = int(ascending[:n_rows].sum()), int(ascending[::-1][:n_rows].sum())
    n_batches = -(-most // max_tokens)
    is_always_cut = -(-fewest // max_tokens) == n_batches > 1
    fullest = -(-most // n_batches) + longest // 2 if is_always_cut else most
    return max(longest, min(max_tokens, fullest))


def _reused_bytes(model: EncoderModel, tokens: TokenizedSequences) -> int:
    """Bytes of what is computed once for these sequences; what outgrows memory goes to disk."""
    encoder = model.encoder
    vector_bytes = {
        None: 0,
        "pooled": len(tokens) * 4,
        "residues": int(tokens.lengths.sum()) * 4,
        "trunk": int(tokens.lengths.sum()) * encoder.compute_dtype.itemsize,
    }
    n_bytes = encoder.width * vector_bytes[reusable_stage(model)]
    return n_bytes if n_bytes <= default_cache().memory_limit else 0
