"""Objects and values as JSON, with their arrays beside it, and back; nothing is executed on the way."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from os import PathLike, fspath
from typing import Any

import numpy as np
import peft
from sklearn.base import BaseEstimator

from .classes import SAVED
from .folder import ARRAYS
from .peft_configs import make_config, settings_of
from .rules import SavedModelError, shown

# State that only a fit needs, that is rebuilt, or that says what `fit` is to be passed.
_LEFT_OUT = {"_loaded", "_optimizer", "_random_state", "_skl_callbacks", "_metadata_request", "estimator"}
_SCALARS = bool | int | float | str | None
_MOST_LETTERS = 2**28  # in an array of text, padding included

Arrays = dict[str, np.ndarray]


def encode(value: Any, path: str, arrays: Arrays) -> Any:
    """A value as JSON; its arrays go to ``arrays``, by ``path`` and what follows it.

    Raises
    ------
    TypeError
        A value that only a pickle can hold.
    SavedModelError
        One that :func:`decode` would refuse.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, PathLike):
        value = fspath(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return {"bytes": _put(np.frombuffer(value, dtype=np.uint8), path, arrays)}
    if isinstance(value, np.ndarray):
        return _encode_array(value, path, arrays)
    if isinstance(value, list | tuple):
        items = [encode(item, f"{path}.{i}", arrays) for i, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, dict):
        items = [[encode(k, path, arrays), encode(v, f"{path}.{k}", arrays)] for k, v in value.items()]
        return {"dict": items}
    if isinstance(value, peft.PeftConfig):
        return {"peft": encode(settings_of(value, path), path, arrays)}
    saved = SAVED.get(type(value).__name__)
    if saved is not None and type(value) is saved.cls:
        state = value.__getstate__() if isinstance(value, BaseEstimator) else vars(value)
        kept = {name: part for name, part in state.items() if name not in _LEFT_OUT}
        kept = {name: fspath(part) if isinstance(part, PathLike) else part for name, part in kept.items()}
        saved.check_state(kept, path)
        parts = {name: encode(part, f"{path}.{name}", arrays) for name, part in kept.items()}
        return {"object": type(value).__name__, "state": parts}
    raise TypeError(
        f"{path} is a {type(value).__name__}, which a folder without pickle cannot hold. Set that parameter "
        "to None with set_params before saving, or use pickle."
    )


def _encode_array(array: np.ndarray, path: str, arrays: Arrays) -> Any:
    shape = list(array.shape)
    if array.dtype.kind in "biuf":
        # What is contiguous has one axis at least, hence the shape.
        return {"array": _put(np.ascontiguousarray(array), path, arrays), "shape": shape}
    items = array.ravel().tolist()
    if array.dtype.kind not in "UO" or not all(isinstance(item, _SCALARS) for item in items):
        raise TypeError(f"{path} is {shown(array)}, which a folder without pickle cannot hold; use pickle.")
    return {"items": items, "dtype": array.dtype.str, "shape": shape}


def _put(array: np.ndarray, path: str, arrays: Arrays) -> str:
    """Keep an array, and return the name that it has from now on."""
    name = path if path not in arrays else f"{path} {len(arrays)}"
    arrays[name] = array
    return name


def decode(value: Any, path: str, arrays: Arrays) -> Any:
    """The value that :func:`encode` was given.

    Raises
    ------
    SavedModelError
        JSON that ``encode`` does not write, or that stands for an object that could not be used.
    """
    if isinstance(value, list):
        return [decode(item, f"{path}.{i}", arrays) for i, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    for key, read in _READERS.items():
        if key in value:
            return read(value, path, arrays)
    raise SavedModelError(f"{path} is {shown(value)}, which stands for nothing.")


def _array(name: Any, path: str, arrays: Arrays) -> np.ndarray:
    if not isinstance(name, str) or name not in arrays:
        raise SavedModelError(f"{path} names the array {shown(name)}, which {ARRAYS} lacks.")
    return arrays[name]


def _read_bytes(value: dict, path: str, arrays: Arrays) -> bytes:
    array = _array(value["bytes"], path, arrays)
    if array.dtype != np.uint8:
        raise SavedModelError(f"{path} is {shown(array)}; expected bytes.")
    return array.tobytes()


def _read_array(value: dict, path: str, arrays: Arrays) -> np.ndarray:
    return _shaped(_array(value["array"], path, arrays), value.get("shape"), path)


def _read_items(value: dict, path: str, arrays: Arrays) -> np.ndarray:
    items, dtype = value["items"], value.get("dtype")
    text = re.fullmatch(r"[<>]U(\d{1,4})", dtype) if isinstance(dtype, str) else None
    longest = int(text[1]) if text else 0
    fits = isinstance(items, list) and all(
        isinstance(item, str) and len(item) <= longest if text else isinstance(item, _SCALARS)
        for item in items
    )
    if not fits or not (text or dtype == "|O") or len(items) * longest > _MOST_LETTERS:
        raise SavedModelError(f"{path} is {shown(value)}; expected the items of an array of text or objects.")
    array = np.array(items, dtype=dtype)
    return _shaped(array, value.get("shape", [len(items)]), path)


def _shaped(array: np.ndarray, shape: Any, path: str) -> np.ndarray:
    whole = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)
    if not whole or len(shape) > 8 or math.prod(shape) != array.size:
        raise SavedModelError(f"{path} is {shown(array)}; expected the shape {shown(shape)}.")
    return array.reshape(shape)


def _read_tuple(value: dict, path: str, arrays: Arrays) -> tuple:
    if not isinstance(value["tuple"], list):
        raise SavedModelError(f"{path} is {shown(value)}; expected the items of a tuple.")
    return tuple(decode(value["tuple"], path, arrays))


def _read_dict(value: dict, path: str, arrays: Arrays) -> dict:
    pairs, found = value["dict"], {}
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise SavedModelError(f"{path} is {shown(value)}; expected the pairs of a dict.")
    for key, item in pairs:
        key = decode(key, path, arrays)
        try:
            found[key] = decode(item, f"{path}.{key}", arrays)
        except TypeError:
            raise SavedModelError(f"{path} has key {shown(key)}; expected one that can be hashed.") from None
    return found


def _read_peft(value: dict, path: str, arrays: Arrays) -> peft.PeftConfig:
    return make_config(decode(value["peft"], path, arrays), path)


def _read_object(value: dict, path: str, arrays: Arrays) -> Any:
    name, parts = value["object"], value.get("state")
    saved = SAVED.get(name) if isinstance(name, str) else None
    if saved is None:
        raise SavedModelError(f"{path}: {shown(name)} is no class that plmlearn builds from files.")
    if not isinstance(parts, dict):
        raise SavedModelError(f"{path} is {shown(value)}; expected the state of a {name}.")
    state = {name: decode(part, f"{path}.{name}", arrays) for name, part in parts.items()}
    saved.check_state(state, path)
    if "compile" in state:
        state["compile"] = False  # it starts a compiler: for the one who loads to decide, not for a file
    made: Any = object.__new__(saved.cls)
    if isinstance(made, BaseEstimator):
        made.__setstate__(state)
    else:
        vars(made).update(state)
    if "_trained" in saved.needed:
        made._loaded = None
    return made


# By the key that a JSON object has for it.
_READERS: dict[str, Callable[[dict, str, Arrays], Any]] = {
    "bytes": _read_bytes,
    "array": _read_array,
    "items": _read_items,
    "tuple": _read_tuple,
    "dict": _read_dict,
    "peft": _read_peft,
    "object": _read_object,
}
