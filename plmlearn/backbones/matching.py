"""Which stored tensor is which parameter of an encoder.

People save encoders inside other modules, so that names begin with ``esm.``, ``module.``, ``model.esm.``
or ``base_model.model.``. The prefix is found, not known: it is the one under which every parameter of the
encoder is stored. Whatever else is stored (a task head, a language head, a pooler) is left alone.
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .weights import BackboneWeightsError

FREQUENCIES = "rotary_embeddings.inv_freq"  # stored once, or in each layer

_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


def match_tensors(
    name: str, stored: Mapping[str, Tensor], model: nn.Module, optional: tuple[str, ...]
) -> dict[str, Tensor]:
    """The tensors of a checkpoint by the names that the model has for them.

    Parameters
    ----------
    name : str
        Of the backbone, for messages.
    stored : dict of str to Tensor
        As :func:`plmlearn.backbones.weights.read_tensors` returns them.
    model : nn.Module
        Only names and shapes matter: it may be on the meta device.
    optional : tuple of str
        Prefixes of parameters that may be missing.

    Returns
    -------
    dict of str to Tensor
        Every parameter once, and :data:`FREQUENCIES` where they are stored.

    Raises
    ------
    BackboneWeightsError
        A parameter is missing or has another shape, or several whole encoders are stored.

    Warns
    -----
    UserWarning
        The prefix is not one that transformers itself writes.
    """
    found = _by_prefix(stored, model)
    needed = {parameter for parameter, _ in model.named_parameters() if not parameter.startswith(optional)}
    whole = [prefix for prefix, tensors in found.items() if needed <= tensors.keys()]
    if len(whole) > 1:
        raise BackboneWeightsError(
            f"Backbone {name!r}: its weights hold {len(whole)} whole encoders, under "
            f"{' and '.join(map(repr, whole))}. Save the one that you mean alone."
        )
    prefix = whole[0] if whole else max(found, key=lambda prefix: len(found[prefix]), default="")
    if missing := sorted(needed - found[prefix].keys()):
        raise BackboneWeightsError(
            f"Backbone {name!r}: {len(missing)} tensors of {type(model).__name__} are missing from its "
            f"weights or have another shape, among them {', '.join(missing[:3])}. They would be random; get "
            "the whole checkpoint, or pass backbone_init='random' if random weights are meant."
        )
    if prefix not in ("", f"{getattr(model, 'base_model_prefix', '')}."):
        warnings.warn(
            f"Backbone {name!r}: its tensors are stored under {prefix!r}; they are read without that prefix.",
            stacklevel=2,
        )
    return found[prefix] | _frequencies(name, stored, prefix, model)


def _by_prefix(stored: Mapping[str, Tensor], model: nn.Module) -> dict[str, dict[str, Tensor]]:
    """For each prefix of the stored names, the parameters that are under it. Tied ones have one name."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in stored.items():
        for old, new in _OLD_NAMES.items():
            key = key.replace(old, new)
        for start in (0, *(dot.end() for dot in re.finditer(r"\.", key))):
            parameter = parameters.get(key[start:])
            if parameter is None or tensor.shape != parameter.shape or tensor.dtype not in _FLOATS:
                continue
            name, tensors = names[id(parameter)], found[key[:start]]
            if name == key[start:] or name not in tensors:
                tensors[name] = tensor
    return found


def _frequencies(name: str, stored: Mapping[str, Tensor], prefix: str, model: nn.Module) -> dict[str, Tensor]:
    """Rotary frequencies, if the model has them and they are stored: they may be rounded on purpose."""
    expected = [buffer.shape for key, buffer in model.named_buffers() if key.endswith(FREQUENCIES)]
    found = [x for key, x in stored.items() if key.startswith(prefix) and key.endswith(FREQUENCIES)]
    if not (expected and found):
        return {}
    if any(x.shape != expected[0] or not x.equal(found[0]) for x in found):
        raise BackboneWeightsError(
            f"Backbone {name!r}: its rotary frequencies (*.{FREQUENCIES}) differ between layers or have "
            f"another shape than {tuple(expected[0])}."
        )
    return {FREQUENCIES: found[0]}
