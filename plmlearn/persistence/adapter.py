"""The adapter of a saved model in peft's own form: two files that plain ``peft`` reads."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import safetensors.numpy

from ..adapters.base import PeftMethod
from ..estimators.parameters import adapter_of
from .classes import trained_tensors
from .folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from .rules import SavedModelError, shown

TRAINED = "estimator._trained"

_OURS, _PEFTS = "encoder.backbone.", "base_model.model."


def split_adapter(estimator: Any, arrays: dict[str, np.ndarray]) -> tuple[dict[str, str], dict[str, bytes]]:
    """Take an adapter's tensors out of the arrays, where peft has the method.

    Returns
    -------
    names : dict of str to str
        plmlearn's names of the tensors by peft's.
    files : dict of str to bytes
        Configuration and weights as peft reads them.
    """
    fitted = estimator._as_fitted()
    adapter = adapter_of(fitted)
    if not isinstance(adapter, PeftMethod):
        return {}, {}
    config = adapter.peft_config(estimator._restored().backbone)
    config.base_model_name_or_path = estimator._restored().backbone.name
    config.inference_mode = True
    settings = {name: sorted(v) if isinstance(v, set) else v for name, v in config.to_dict().items()}
    tensors = safetensors.numpy.load(estimator._trained)
    names = {_peft_name(name): name for name in tensors if name.startswith(_OURS)}
    moved = {name: tensors.pop(ours) for name, ours in names.items()}
    arrays[TRAINED] = np.frombuffer(safetensors.numpy.save(tensors), dtype=np.uint8)
    return names, {
        ADAPTER_CONFIG: json.dumps(settings, indent=2, sort_keys=True).encode(),
        ADAPTER_WEIGHTS: safetensors.numpy.save(moved, metadata={"format": "pt"}),
    }


def merge_adapter(names: Any, weights: bytes, arrays: dict[str, np.ndarray]) -> None:
    """Put the tensors of an adapter's file back among the trained ones.

    Raises
    ------
    SavedModelError
        Tensors other than those that were taken out.
    """
    moved = trained_tensors(weights, ADAPTER_WEIGHTS)
    tensors = trained_tensors(arrays[TRAINED].tobytes(), TRAINED)
    fits = isinstance(names, dict) and all(isinstance(ours, str) for ours in names.values())
    if not fits or names.keys() != moved.keys() or tensors.keys() & set(names.values()):
        raise SavedModelError(
            f"{ADAPTER_WEIGHTS} has the tensors {shown(sorted(moved))}; expected those of adapter_names."
        )
    tensors.update({names[name]: tensor for name, tensor in moved.items()})
    arrays[TRAINED] = np.frombuffer(safetensors.numpy.save(tensors), dtype=np.uint8)


def _peft_name(name: str) -> str:
    name = _PEFTS + name.removeprefix(_OURS).replace(".default", "")
    return name.replace("lora_magnitude_vector.weight", "lora_magnitude_vector")  # DoRA's older form
