"""A fitted estimator as a folder of JSON and safetensors: nothing in it is ever executed.

========================== ==================================================================
``estimator.json``         class, parameters, classes, history, versions
``arrays.safetensors``     every array, the trained tensors of head and pooling among them
``adapter_config.json``    the adapter as plain ``peft`` reads it (methods that peft has)
``adapter_model.safetensors``
========================== ==================================================================

Only the classes listed here are ever built from a file.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import peft
import safetensors.torch
from safetensors.numpy import load_file, save_file
from sklearn.base import BaseEstimator
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import LabelBinarizer, StandardScaler
from sklearn.utils.validation import check_is_fitted

from . import adapters
from .adapters.peft_methods import PeftMethod
from .estimators import (
    frozen,
    pair,
    protein,
    residue,
    residue_targets,
    signal_peptides,
    targets,
    tuned,
)
from .estimators.embedder import PLMEmbedder
from .estimators.parameters import adapter_of
from .pretraining import PLMMaskedLM

FORMAT = 1

_CLASSES: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        protein.PLMClassifier,
        protein.PLMRegressor,
        protein.PLMLoRAClassifier,
        protein.PLMLoRARegressor,
        pair.PLMPairClassifier,
        pair.PLMPairRegressor,
        frozen.PLMFrozenMLP,
        frozen.PLMFrozenMLPRegressor,
        residue.PLMResidueClassifier,
        residue.PLMResidueRegressor,
        signal_peptides.PLMSignalPeptideClassifier,
        signal_peptides.SignalPeptideTarget,
        residue_targets.ResidueClassTarget,
        residue_targets.ResidueValueTarget,
        PLMEmbedder,
        PLMMaskedLM,
        targets.ClassTarget,
        targets.MultilabelTarget,
        targets.ValueTarget,
        adapters.AdaLoRA,
        adapters.Bottleneck,
        adapters.DoRA,
        adapters.Frozen,
        adapters.FullFineTuning,
        adapters.IA3,
        adapters.LayerNormTuning,
        adapters.LoRA,
        adapters.PeftAdapter,
        adapters.PrefixTuning,
        adapters.PromptTuning,
        adapters.VeRA,
        MLPClassifier,
        MLPRegressor,
        StandardScaler,
        LabelBinarizer,
    )
}
# State that only continued training needs, or that is rebuilt.
_LEFT_OUT = {"_loaded", "_optimizer", "_random_state"}
_PACKAGES = ("plmlearn", "torch", "transformers", "peft", "scikit-learn", "numpy")


def save(estimator: BaseEstimator, folder: str | Path) -> Path:
    """Write a fitted estimator to a folder.

    The folder holds what was trained, not the backbone: some hundred kB for LoRA. The adapter in it
    loads in plain peft: ``PeftModel.from_pretrained(EsmModel.from_pretrained(...), folder)``.

    Parameters
    ----------
    estimator : estimator of plmlearn
        Fitted.
    folder : str or Path
        Made if need be; files of an earlier save are replaced.

    Returns
    -------
    Path
        The folder.

    Examples
    --------
    >>> import tempfile
    >>> from plmlearn import PLMEmbedder, load, save
    >>> embedder = PLMEmbedder("mini").fit(["MKTAYIAKQR"])
    >>> with tempfile.TemporaryDirectory() as home:
    ...     load(save(embedder, home))
    PLMEmbedder(backbone='mini')
    """
    if type(estimator) is not _CLASSES.get(type(estimator).__name__):
        raise TypeError(f"save takes an estimator of plmlearn, got {type(estimator).__name__}; use pickle.")
    check_is_fitted(estimator)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    state = _encode(estimator, "estimator", arrays)
    document: dict[str, Any] = {
        "format": FORMAT,
        "versions": {package: version(package) for package in _PACKAGES},
        "estimator": state,
    }
    for name in (_ADAPTER_CONFIG, _ADAPTER_WEIGHTS):  # of an earlier save
        (folder / name).unlink(missing_ok=True)
    if isinstance(estimator, tuned.TunedEstimator):
        document["adapter_names"] = _save_adapter(estimator, folder, arrays)
    save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, folder / "arrays.safetensors")
    (folder / "estimator.json").write_text(json.dumps(document, indent=1))
    return folder


def load(folder: str | Path) -> Any:
    """Read an estimator that :func:`save` wrote; the backbone is found when it first predicts.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    estimator
        Fitted, with equal predictions.

    Raises
    ------
    FileNotFoundError
        No ``estimator.json`` in the folder.
    ValueError
        Written by a newer plmlearn, or naming a class that is not plmlearn's.
    """
    folder = Path(folder)
    if not (folder / "estimator.json").exists():
        raise FileNotFoundError(
            f"{folder} has no estimator.json; expected a folder written by plmlearn.save."
        )
    document = json.loads((folder / "estimator.json").read_text())
    if document["format"] > FORMAT:
        raise ValueError(
            f"{folder} was written by plmlearn {document['versions']['plmlearn']} in format "
            f"{document['format']}; this version reads up to {FORMAT}. Update plmlearn."
        )
    arrays = load_file(folder / "arrays.safetensors")
    if (folder / _ADAPTER_WEIGHTS).exists() and _TRAINED in arrays:
        _merge_adapter(folder, arrays, document["adapter_names"])
    return _decode(document["estimator"], arrays)


# -- values as JSON ---------------------------------------------------------------------------


def _encode(value: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        arrays[path] = np.frombuffer(value, dtype=np.uint8)
        return {"bytes": path}
    if isinstance(value, np.ndarray):
        return _encode_array(value, path, arrays)
    if isinstance(value, list | tuple):
        items = [_encode(item, f"{path}.{i}", arrays) for i, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, dict):
        items = [[_encode(k, path, arrays), _encode(v, f"{path}.{k}", arrays)] for k, v in value.items()]
        return {"dict": items}
    if isinstance(value, peft.PeftConfig):
        settings = {k: sorted(v) if isinstance(v, set) else v for k, v in value.to_dict().items()}
        return {"peft": _encode(settings, path, arrays)}
    if type(value) is _CLASSES.get(type(value).__name__):
        state = value.__getstate__() if isinstance(value, BaseEstimator) else vars(value)
        kept = {k: _encode(v, f"{path}.{k}", arrays) for k, v in state.items() if k not in _LEFT_OUT}
        return {"object": type(value).__name__, "state": kept}
    raise TypeError(
        f"{path} is a {type(value).__name__}, which a folder without pickle cannot hold. Set that parameter "
        "to None with set_params before saving, or use pickle."
    )


def _encode_array(array: np.ndarray, path: str, arrays: dict[str, np.ndarray]) -> Any:
    if array.dtype.kind in "biuf":
        arrays[path] = np.atleast_1d(array)
        return {"array": path, "shape": list(array.shape)}
    return {"items": [_encode(item, path, arrays) for item in array.tolist()], "dtype": array.dtype.str}


def _decode(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if "bytes" in value:
        return arrays[value["bytes"]].tobytes()
    if "array" in value:
        return arrays[value["array"]].reshape(value["shape"])
    if "items" in value:
        return np.array([_decode(item, arrays) for item in value["items"]], dtype=value["dtype"])
    if "peft" in value:
        return peft.PeftConfig.from_peft_type(**_decode(value["peft"], arrays))
    if "tuple" in value:
        return tuple(_decode(item, arrays) for item in value["tuple"])
    if "dict" in value:
        return {_decode(k, arrays): _decode(v, arrays) for k, v in value["dict"]}
    return _decode_object(value, arrays)


def _decode_object(value: dict, arrays: dict[str, np.ndarray]) -> Any:
    cls = _CLASSES.get(value["object"])
    if cls is None:
        raise ValueError(f"{value['object']!r} is no class that plmlearn builds from files.")
    made: Any = object.__new__(cls)
    state = {name: _decode(item, arrays) for name, item in value["state"].items()}
    if hasattr(made, "__setstate__"):
        made.__setstate__(state)
    else:
        vars(made).update(state)
    if issubclass(cls, (tuned.TunedEstimator, PLMMaskedLM)):
        made._loaded = None
    return made


# -- the adapter in peft's own form -----------------------------------------------------------

_TRAINED = "estimator._trained"
_ADAPTER_CONFIG = "adapter_config.json"
_ADAPTER_WEIGHTS = "adapter_model.safetensors"
_OURS, _PEFTS = "encoder.backbone.", "base_model.model."


def _save_adapter(estimator: Any, folder: Path, arrays: dict[str, np.ndarray]) -> dict[str, str]:
    """Move adapter tensors from the arrays to the files that peft reads; our names by peft's."""
    fitted = estimator._as_fitted()
    adapter = adapter_of(fitted)
    tensors, ours = safetensors.torch.load(estimator._trained), {}
    if isinstance(adapter, PeftMethod):
        config = adapter.peft_config(estimator._restored().backbone)
        config.base_model_name_or_path = fitted.backbone
        config.inference_mode = True
        config.save_pretrained(folder)
        ours = {_peft_name(name): name for name in tensors if name.startswith(_OURS)}
        moved = {name: tensors.pop(ours[name]) for name in ours}
        safetensors.torch.save_file(moved, folder / _ADAPTER_WEIGHTS, metadata={"format": "pt"})
    arrays[_TRAINED] = np.frombuffer(safetensors.torch.save(tensors), dtype=np.uint8)
    return ours


def _merge_adapter(folder: Path, arrays: dict[str, np.ndarray], ours: dict[str, str]) -> None:
    tensors = safetensors.torch.load(arrays[_TRAINED].tobytes())
    for name, tensor in safetensors.torch.load_file(folder / _ADAPTER_WEIGHTS).items():
        tensors[ours[name]] = tensor
    arrays[_TRAINED] = np.frombuffer(safetensors.torch.save(tensors), dtype=np.uint8)


def _peft_name(name: str) -> str:
    name = _PEFTS + name.removeprefix(_OURS).replace(".default", "")
    return name.replace("lora_magnitude_vector.weight", "lora_magnitude_vector")  # DoRA's older form
