"""One ONNX file: token ids in, logits out."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..sequences.checked import require_package
from ..sequences.clean import local_path
from .plain import PlainModel, letters_of

_EXTERNAL_FROM = 1_800_000_000  # bytes; a file of protobuf holds 2 GB
_CLOSE = 1e-4
# Of three lengths, so that padding matters.
_TRIED = ["MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVK", "GSHMLEDPVDALK", "MKV"]


class Served(nn.Module):
    """Encoder and head in one."""

    def __init__(self, model: PlainModel):
        super().__init__()
        self.encoder, self.head = model.encoder, model.head

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.head(hidden, attention_mask)


def export_onnx(estimator: Any, file: str | PathLike[str]) -> Path:
    """Write a fitted estimator as an ONNX file, encoder and head in one, for serving.

    Inputs are ``input_ids`` and ``attention_mask``, both int64 of shape (batch, tokens), padded on the right;
    any batch and any length. The output ``logits`` is float32 of shape (batch, C), of residues
    (batch, tokens, C). The file's metadata say the rest, as JSON: ``letters`` (residue to token id),
    ``prefix`` and ``suffix`` (special tokens around the residues), ``vocabulary`` (token to id),
    ``pad_token_id``, ``labels`` and ``problem_type``.

    Parameters
    ----------
    estimator : fitted estimator
        As for :func:`export_transformers`, on ESM, ESM-C or BERT.
    file : str or PathLike
        Name of the file, ``~`` expanded; replaced if it exists. Weights of 1.8 GB and more go to a second
        file, with ``.data`` after the name.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ImportError
        onnx, onnxscript or onnxruntime is missing: ``pip install "plmlearn[onnx]"``.
    IsADirectoryError
        A folder has this name.
    NotFittedError
    TypeError, ValueError
        As for :func:`export_transformers`; or pairs, a CRF, or a backbone that is a T5.
    RuntimeError
        ONNX Runtime gives other logits than torch, by more than 1e-4 of the largest. The file is removed.

    See Also
    --------
    export_transformers : A folder for transformers.

    Notes
    -----
    Classes go through a softmax (of several labels per protein a sigmoid), as after
    :func:`export_transformers`. Computed in single precision.

    Cost: a minute for ESM2-650M, and three times the memory of its weights.

    Examples
    --------
    >>> from plmlearn import PLMLoRARegressor, export_onnx
    >>> X, y = ["MKTAYIAKQR", "GSHMLEDPVD"], [0.1, 2.3]
    >>> regressor = PLMLoRARegressor("mini", epochs=1, verbose=0).fit(X, y)
    >>> export_onnx(regressor, "regressor.onnx")  # doctest: +SKIP
    PosixPath('regressor.onnx')
    """
    for name in ("onnx", "onnxruntime", "onnxscript"):
        message = f'export_onnx needs {name}, which is not installed: pip install "plmlearn[onnx]".'
        require_package(name, message)
    model = PlainModel.of(estimator)
    if model.backbone.architecture.model_class == "T5EncoderModel":
        raise ValueError(
            f"{model.backbone.name!r} is a T5, which export_onnx does not write. Use export_transformers."
        )
    if model.reads_pairs or model.has_paths:
        what = "pairs of proteins" if model.reads_pairs else "paths of a CRF"
        raise ValueError(f"export_onnx does not write {what}. Use export_transformers.")
    file = local_path(file, "file")
    if file.is_dir():
        raise IsADirectoryError(f"file={str(file)!r} is a folder; expected the name of a file in it.")
    file.parent.mkdir(parents=True, exist_ok=True)
    program = _traced(model)
    program.model.metadata_props.update(_metadata(model))
    n_bytes = sum(tensor.nbytes for tensor in Served(model).state_dict().values())
    program.save(file, external_data=n_bytes >= _EXTERNAL_FROM)
    _check(model, file)
    return file


def _traced(model: PlainModel) -> Any:
    ids, mask = model.batch(_TRIED)
    axes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    with _quiet():
        return torch.onnx.export(
            Served(model).eval(),
            (),
            kwargs={"input_ids": ids, "attention_mask": mask},
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_shapes={"input_ids": axes, "attention_mask": axes},
            dynamo=True,
            verbose=False,
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what the exporter says of itself and of packages that are not needed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)


def _metadata(model: PlainModel) -> dict[str, str]:
    token_format = model.backbone.token_format
    said = {
        "vocabulary": model.backbone.vocabulary,
        "letters": letters_of(model.backbone),
        "prefix": token_format.prefix,
        "suffix": token_format.suffix,
        "pad_token_id": model.encoder.config.pad_token_id or 0,
        "labels": model.labels,
        "problem_type": model.problem_type,
    }
    return {name: json.dumps(value) for name, value in said.items()}


def _check(model: PlainModel, file: Path) -> None:
    """Compare with torch, on another batch and another length than were traced."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for sequences in (_TRIED, [_TRIED[0] * 2, _TRIED[1]], _TRIED[1:2]):
        ids, mask = model.batch(sequences)
        feeds = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
        [found] = session.run(["logits"], feeds)
        expected = model.logits(sequences).numpy()
        read = mask.numpy().astype(bool)  # where nothing was read, anything may stand
        if model.per_residue:
            found, expected = found[read], expected[read]
        apart = float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))
        if not apart <= _CLOSE:
            del session
            file.unlink()
            file.with_name(f"{file.name}.data").unlink(missing_ok=True)
            raise RuntimeError(
                f"ONNX Runtime gives logits that are {apart:.1e} from torch's; at most {_CLOSE:.0e} was "
                f"expected, so {file} was removed. Try other versions of torch and onnxruntime, or use "
                "export_transformers."
            )
