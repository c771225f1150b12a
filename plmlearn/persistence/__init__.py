"""A fitted estimator as a folder of JSON and safetensors: nothing in it is ever executed.

========================== ==================================================================
``estimator.json``         class, parameters, classes, history, versions, checksums
``arrays.safetensors``     every array, the trained tensors of head and pooling among them
``adapter_config.json``    the adapter as plain ``peft`` reads it (methods that peft has)
``adapter_model.safetensors``
========================== ==================================================================

Only listed classes are ever built from a file, with state that they could have after ``fit``; the checksums
tell damage and mixtures. They are no signature: whoever can write the folder can give it other predictions.
"""

from __future__ import annotations

from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ..estimators.parameters import keep_place
from ..estimators.tuned import TunedEstimator
from ..sequences.clean import local_path
from ..training.devices import is_first_process
from .adapter import TRAINED, merge_adapter, split_adapter
from .classes import SAVED, read_tensors
from .folder import ADAPTER_WEIGHTS, ARRAYS, MANIFEST, read_folder, write_folder
from .rules import SavedModelError
from .values import decode, encode

__all__ = ["SavedModelError", "load", "save"]

_PACKAGES = ("plmlearn", "torch", "transformers", "peft", "scikit-learn", "numpy")


def save(estimator: BaseEstimator, folder: str | PathLike[str]) -> Path:
    """Write a fitted estimator to a folder.

    The folder holds what was trained, not the backbone: a few MB for LoRA. The adapter in it
    loads in plain peft: ``PeftModel.from_pretrained(EsmModel.from_pretrained(...), folder)``.

    Parameters
    ----------
    estimator : estimator of plmlearn
        Fitted.
    folder : str or PathLike
        Made if need be, ``~`` expanded. A model that it holds is replaced in one step: a save that is
        killed, or finds the disk full, leaves the old model or the new one. Other files stay.

    Returns
    -------
    Path
        The folder. Of several processes that ``accelerate launch`` or ``torchrun`` started, the first one
        writes it.

    Raises
    ------
    TypeError
        Not an estimator of plmlearn, or a parameter that only a pickle can hold.
    SavedModelError
        A parameter that ``fit`` would refuse, or a configuration of peft with fields that are not read
        from files.
    FileExistsError
        A file in the folder that another program wrote and that would be replaced.

    See Also
    --------
    load : Read a folder that :func:`save` wrote.

    Examples
    --------
    >>> import tempfile
    >>> from plmlearn import PLMEmbedder, load, save
    >>> embedder = PLMEmbedder("mini").fit(["MKTAYIAKQR"])
    >>> with tempfile.TemporaryDirectory() as home:
    ...     load(save(embedder, home))
    PLMEmbedder(backbone='mini')
    """
    known = SAVED.get(type(estimator).__name__)
    if known is None or not known.is_model or type(estimator) is not known.cls:
        raise TypeError(f"save takes an estimator of plmlearn, got {type(estimator).__name__}; use pickle.")
    check_is_fitted(estimator)
    folder = local_path(folder, "folder")
    arrays: dict[str, np.ndarray] = {}
    document: dict[str, Any] = {
        "versions": {package: version(package) for package in _PACKAGES},
        "estimator": encode(estimator, "estimator", arrays),
    }
    files: dict[str, bytes] = {}
    if isinstance(estimator, TunedEstimator):
        document["adapter_names"], files = split_adapter(estimator, arrays)
    if is_first_process():
        write_folder(folder, document, {ARRAYS: safetensors.numpy.save(arrays), **files})
    return folder


def load(folder: str | PathLike[str], *, backbone: str | PathLike[str] | None = None) -> Any:
    """Read an estimator that :func:`save` wrote; the backbone is found when it first predicts.

    Parameters
    ----------
    folder : str or PathLike
        ``~`` is expanded.
    backbone : str or PathLike, optional
        Where the backbone lies now, if it has moved since the fit. Another backbone is refused when the
        estimator first predicts: its fingerprint must be that of the fit.

    Returns
    -------
    estimator
        Fitted, with equal predictions. ``compile`` is False, whatever the folder says: it starts a compiler.
        Switch it on with ``set_params(compile=True)``.

    Raises
    ------
    FileNotFoundError
        No ``estimator.json`` in the folder.
    SavedModelError
        A file that is not, byte for byte, what was saved; a folder of a newer plmlearn; or one that holds
        anything but an estimator that can predict, with the file, the place and the reason.
    ValueError
        ``backbone`` is given, and the estimator has none.

    See Also
    --------
    save : Write a fitted estimator to a folder.

    Examples
    --------
    >>> import tempfile
    >>> from plmlearn import PLMLoRAClassifier, load, save
    >>> X, y = ["MKTAYIAK", "GSHMLEDP"], [0, 1]
    >>> fitted = PLMLoRAClassifier("mini", epochs=1, random_state=0, verbose=0).fit(X, y)
    >>> loaded = load(save(fitted, f"{tempfile.mkdtemp()}/model"))
    >>> bool((loaded.predict_proba(X) == fitted.predict_proba(X)).all())
    True
    """
    folder = local_path(folder, "folder")
    document, files = read_folder(folder)
    try:
        arrays = read_tensors(files.pop(ARRAYS), ARRAYS)
        if ADAPTER_WEIGHTS in files and TRAINED in arrays:
            merge_adapter(document.get("adapter_names"), files[ADAPTER_WEIGHTS], arrays)
        estimator = decode(document.get("estimator"), "estimator", arrays)
        known = SAVED.get(type(estimator).__name__)
        if known is None or not known.is_model:
            raise SavedModelError(f"estimator is a {type(estimator).__name__}; expected one of plmlearn.")
    except (SavedModelError, RecursionError) as error:
        raise SavedModelError(f"{folder / MANIFEST}: {error}") from error
    if backbone is not None:
        for model in vars(estimator).get("estimators_", [estimator]):
            if model.backbone is None:
                raise ValueError(
                    f"This {type(model).__name__} has no backbone: leave out backbone={backbone!r}."
                )
            parts = [part for part in (model, vars(model).get("embedder_")) if part is not None]
            for part in parts:
                keep_place(part.set_params(backbone=backbone))
    return estimator
