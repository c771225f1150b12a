"""Saved folders with damage and with lies, and a judgement of what ``load`` and ``predict`` make of them."""

from __future__ import annotations

import contextlib
import copy
import importlib
import json
import os
import pickle
import shutil
import signal
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from models import MAKERS, fit, results
from saved_folders import MANIFEST, nodes, peft_blocks, read_document, write_document
from sklearn.utils._param_validation import InvalidParameterError

import plmlearn
from plmlearn import SavedModelError

Rng = np.random.Generator

HOSTILE_PEFT: tuple[tuple[tuple[str, Any], ...], ...] = (
    (("megatron_config", {"dict": [["x", 1]]}), ("megatron_core", "megatron.evil")),
    (("megatron_config", {"dict": [["x", 1]]}), ("megatron_core", "canary")),
    (("megatron_core", "canary"),),
    (("peft_type", "BOFT"),),
    (("peft_type", "XLORA"), ("adapters", {"dict": [["a", "canary"]]})),
    (("auto_mapping", {"dict": [["base_model_class", "canary"], ["parent_library", "canary"]]}),),
    (("init_lora_weights", "corda"), ("corda_config", {"dict": [["covariance_file", "canary.pt"]]})),
    (("lora_ga_config", {"dict": [["cache_file", "canary.pt"]]}),),
    (("init_lora_weights", "pissa_niter_99999999"),),
    (("layer_replication", [[0, 4]] * 500),),
    (("target_modules", r"(\w+\w*)+\.never"),),
    (("rank_pattern", {"dict": [[r"(\w+\w*)+\.never", 2]]}),),
    (("alpha_pattern", {"dict": [[r"(.*.*.*.*.*.*)*x", 2]]}),),
    (("exclude_modules", r"(\w+\w*)+\.never"),),
    (("modules_to_save", [r"(\w+\w*)+\.never"]),),
    (
        ("target_modules", ["attention.self.key"]),
        ("layers_pattern", r"(\w+\w*)+\.never"),
        ("layers_to_transform", [1]),
    ),
    (("r", 10**12),),
    (("base_model_name_or_path", "canary"), ("revision", "canary")),
    (("runtime_config", {"dict": [["ephemeral_gpu_offload", True]]}),),
    (("trainable_token_indices", [0, 1, 2]),),
    (("modules_to_save", ["attention.self.key"]),),
    (("target_modules", "all-linear"),),
    (("layers_to_transform", [99]),),
    (("r", 0),),
    (("block_size", 7),),
    (("oft_block_size", 7),),
    (("inference_mode", True),),
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    7,
    2**31,
    2**63,
    10**30,
    1.5,
    -0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "auto",
    "canary",
    "megatron.evil",
    "os.system",
    "../../etc/passwd",
    "LoRA",
    "\ud800",
    "a" * 20_000,
    [],
    [[]],
    [1, "x", None],
    {},
    {"dict": []},
    {"dict": [["x", 1]]},
    {"tuple": []},
    {"tuple": [1, 2]},
    {"tuple": [{"tuple": [{"tuple": []}]}]},
    {"bytes": "estimator._trained"},
    {"bytes": "nowhere"},
    {"array": "estimator._trained", "shape": [-1]},
    {"array": "estimator._target.classes", "shape": [2]},
    {"array": 3, "shape": "x"},
    {"items": ["a", "b"], "dtype": "<U1", "shape": [2]},
    {"items": [1, 2], "dtype": "|O", "shape": [2]},
    {"items": ["a"], "dtype": "<U999999999", "shape": [1]},
    {"items": ["a"] * 9, "dtype": "O,O", "shape": [9]},
    {"object": "LoRA", "state": {}},
    {"object": "Frozen", "state": {}},
    {"object": "PeftAdapter", "state": {}},
    {"object": "PLMClassifier", "state": {}},
    {"object": "PLMEmbedder", "state": {"backbone": "mini"}},
    {"object": "StandardScaler", "state": {}},
    {"object": "os.system", "state": {"command": "touch canary"}},
    {"peft": {"dict": [["peft_type", "LORA"], ["target_modules", ["attention.self.key"]]]}},
    {"peft": {"dict": [["peft_type", "BOFT"]]}},
)


# -- damage: checksums are left as they were ------------------------------------------------------


def _some_file(folder: Path, rng: Rng) -> Path:
    return sorted(folder.iterdir())[rng.integers(len(list(folder.iterdir())))]


def flip_bits(folder: Path, rng: Rng, others: Path) -> None:
    path = _some_file(folder, rng)
    data = bytearray(path.read_bytes())
    for _ in range(rng.integers(1, 4)):
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    path.write_bytes(data)


def cut(folder: Path, rng: Rng, others: Path) -> None:
    path = _some_file(folder, rng)
    os.truncate(path, rng.integers(path.stat().st_size))


def lengthen(folder: Path, rng: Rng, others: Path) -> None:
    with open(_some_file(folder, rng), "ab") as file:
        file.write(rng.bytes(rng.integers(1, 100)))


def zero(folder: Path, rng: Rng, others: Path) -> None:
    path = _some_file(folder, rng)
    data = bytearray(path.read_bytes())
    start = rng.integers(len(data))
    block = slice(start, start + 512)
    data[block] = bytes(byte ^ 1 if not any(data[block]) else 0 for byte in data[block])
    path.write_bytes(data)


def swap(folder: Path, rng: Rng, others: Path) -> None:
    """A file of another save in place of one's own; of the same kind of model at best."""
    path = _some_file(folder, rng)
    same = [other / path.name for other in sorted(others.iterdir()) if (other / path.name).is_file()]
    different = [other for other in same if other.read_bytes() != path.read_bytes()]
    if path.name == MANIFEST:  # with the same files it would be the other model, whole
        different = [other for other in different if not _fits(other, folder)]
    path.write_bytes(different[rng.integers(len(different))].read_bytes() if different else b"")


def _fits(manifest: Path, folder: Path) -> bool:
    files = json.loads(manifest.read_text())["files"]
    return files == read_document(folder)["files"]


def remove(folder: Path, rng: Rng, others: Path) -> None:
    _some_file(folder, rng).unlink()


def replace_by_something_else(folder: Path, rng: Rng, others: Path) -> None:
    path = _some_file(folder, rng)
    path.unlink()
    makers: tuple[Callable[[Path], Any], ...] = (
        os.mkfifo,
        os.mkdir,
        lambda place: os.symlink("/dev/zero", place),
        lambda place: os.symlink(folder / "nowhere", place),
        lambda place: place.touch(),
    )
    makers[rng.integers(len(makers))](path)


def edit_without_seal(folder: Path, rng: Rng, others: Path) -> None:
    document = read_document(folder)
    _set_some_value(document, rng)
    changed = json.dumps(document, indent=1)
    if json.loads(changed) == read_document(folder):
        changed += " "
    (folder / MANIFEST).write_text(changed)


DAMAGE = (flip_bits, cut, lengthen, zero, swap, remove, replace_by_something_else, edit_without_seal)


# -- lies: checksums fit --------------------------------------------------------------------------


def _places(document: dict, rng: Rng) -> tuple[Any, Any]:
    found = [(holder, key) for holder, key in nodes(document) if key != "sha256"]
    return found[rng.integers(len(found))]


def _set_some_value(document: dict, rng: Rng) -> None:
    holder, key = _places(document, rng)
    holder[key] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])


def set_values(document: dict, folder: Path, rng: Rng) -> None:
    for _ in range(rng.integers(1, 4)):
        _set_some_value(document, rng)


def set_state(document: dict, folder: Path, rng: Rng) -> None:
    """A value inside of the estimator, where most of what can be said is."""
    inside = {"estimator": document["estimator"]}
    _set_some_value(inside, rng)
    document.update(inside)


def delete_something(document: dict, folder: Path, rng: Rng) -> None:
    holder, key = _places(document, rng)
    del holder[key]


def rename_something(document: dict, folder: Path, rng: Rng) -> None:
    named = [(holder, key) for holder, key in nodes(document) if isinstance(holder, dict)]
    holder, key = named[rng.integers(len(named))]
    name = ("x", "predict", "_live", "__class__", "__dict__", "classes_", "object", "dict", "")
    holder[name[rng.integers(len(name))]] = holder.pop(key)


def exchange(document: dict, folder: Path, rng: Rng) -> None:
    """One part in the place of another."""
    one, other = _places(document, rng), _places(document, rng)
    part = copy.deepcopy(other[0][other[1]])
    one[0][one[1]] = part


def change_peft(document: dict, folder: Path, rng: Rng) -> None:
    blocks = peft_blocks(document)
    if not blocks:
        document["estimator"]["state"]["adapter"] = {"object": "PeftAdapter", "state": _peft_state(document)}
        blocks = peft_blocks(document)
    fields = HOSTILE_PEFT[rng.integers(len(HOSTILE_PEFT))]
    for block in blocks:
        names = {name for name, _ in fields}
        block[:] = [pair for pair in block if pair[0] not in names] + [list(pair) for pair in fields]


def _peft_state(document: dict) -> dict:
    config = {"peft": {"dict": [["peft_type", "LORA"], ["target_modules", ["attention.self.key"]]]}}
    state = {"config": config, "target_modules": None, "last_n_layers": None}
    architecture = document["estimator"]["state"].get("_architecture", {"dict": []})
    for pair in architecture["dict"]:
        if pair[0] == "adapter":
            pair[1] = {"object": "PeftAdapter", "state": copy.deepcopy(state)}
    return state


def change_arrays(document: dict, folder: Path, rng: Rng) -> None:
    path = folder / "arrays.safetensors"
    arrays = safetensors.numpy.load_file(path)
    if "estimator._trained" in arrays and rng.random() < 0.7:
        tensors = safetensors.numpy.load(arrays["estimator._trained"].tobytes())
        trained = safetensors.numpy.save(_changed(tensors, rng))
        arrays["estimator._trained"] = np.frombuffer(trained, np.uint8)
    else:
        arrays = _changed(arrays, rng)
    safetensors.numpy.save_file(arrays, path)


def change_adapter(document: dict, folder: Path, rng: Rng) -> None:
    path = folder / "adapter_model.safetensors"
    if not path.exists():
        return change_arrays(document, folder, rng)
    safetensors.numpy.save_file(_changed(safetensors.numpy.load_file(path), rng), path)


def _changed(tensors: dict[str, np.ndarray], rng: Rng) -> dict[str, np.ndarray]:
    if not tensors:
        return {"more": np.ones(3)}
    name = sorted(tensors)[rng.integers(len(tensors))]
    tensor = tensors.pop(name)
    changes: tuple[Callable[[], np.ndarray], ...] = (
        lambda: tensor.reshape(-1)[:1],
        lambda: tensor.reshape(1, -1),
        lambda: np.resize(tensor, (*tensor.shape, 2)),
        lambda: np.zeros((0,), tensor.dtype),
        lambda: tensor.astype(np.float64),
        lambda: tensor.astype(np.float16),
        lambda: tensor.astype(np.int64),
        lambda: tensor.astype(bool),
        lambda: np.full(tensor.shape, np.nan, np.float32),
        lambda: np.full(tensor.shape, np.inf, np.float64),
        lambda: np.zeros_like(tensor),
        lambda: rng.integers(0, 256, tensor.nbytes).astype(np.uint8),
    )
    which = rng.integers(len(changes) + 2)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if which < len(changes):
            tensors[name] = np.ascontiguousarray(changes[which]())
    if which == len(changes):
        tensors[name + "x"] = tensor
    return tensors


LIES = (
    set_values,
    set_state,
    delete_something,
    rename_something,
    exchange,
    change_peft,
    change_arrays,
    change_adapter,
)


# -- judgement ------------------------------------------------------------------------------------

executions: list[str] = []
_watched = False
CANARIES = ("canary", "megatron/evil")
_EVENTS = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "pickle.find_class",
    "socket.connect",
)


def _watch(event: str, arguments: tuple) -> None:
    if not _watched:
        return
    code = getattr(arguments[0], "co_filename", "") if event == "exec" else ""
    opened = str(arguments[0]) if event == "open" else ""
    if event in _EVENTS or any(name in text for name in CANARIES for text in (code, opened)):
        executions.append(f"{event} {arguments!r:.200}")


@contextlib.contextmanager
def watch(seconds: float = 60) -> Iterator[None]:
    """Note every canary that is opened or run, every process, pickle and connection; end what hangs."""
    global _watched

    def give_up(*_: Any) -> None:
        raise TimeoutError("took too long")

    signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    _watched = True
    try:
        yield
    finally:
        _watched = False
        signal.setitimer(signal.ITIMER_REAL, 0)


def judge(folder: Path, name: str) -> str:
    """What became of a folder: "refused", "refused by predict", "used", or "raw: …" for any other error."""
    try:
        with watch():
            estimator = plmlearn.load(folder)
    except (SavedModelError, FileNotFoundError) as error:
        return "refused" if str(folder) in str(error) else raw(error)
    except BaseException as error:
        return raw(error)
    try:
        with watch():
            results(name, estimator)
    except (ValueError, OSError) as error:
        return "refused by predict" if _is_ours(error) else raw(error)
    except BaseException as error:
        return raw(error)
    return "used"


def _is_ours(error: BaseException) -> bool:
    """Whether the package raised the error itself, in words."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    home = str(Path(plmlearn.__file__).parent)
    return home in last.filename or isinstance(error, InvalidParameterError)


def raw(error: BaseException) -> str:
    """An error that is not the package's own, in words."""
    if isinstance(error, KeyboardInterrupt):
        raise error
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"raw: {type(error).__name__} at {Path(last.filename).name}:{last.lineno}: {str(error)[:200]}"


def prepare(home: Path, names: list[str]) -> Path:
    """Whole folders of several estimators, twice each with other seeds, and canaries to import."""
    (home / "megatron").mkdir()
    for path in (home / "megatron" / "evil.py", home / "canary.py"):
        path.write_text(f"open({str(home / 'executed')!r}, 'w').close()")
    whole = home / "whole"
    for name in names:
        estimator = fit(name)
        plmlearn.save(estimator, whole / name)
        results(name, plmlearn.load(whole / name))
    return whole


def prove_that_canaries_are_noticed(home: Path) -> None:
    (home / "canary_to_import.py").touch()
    sys.path.insert(0, str(home))
    with watch():
        importlib.import_module("canary_to_import")
        with contextlib.suppress(AttributeError):
            pickle.loads(b"cos\nnothing\n.")
    assert {line.split()[0] for line in executions} == {"open", "exec", "pickle.find_class"}
    executions.clear()


def tamper(home: Path, n_folders: int, seed: int = 0) -> tuple[Counter, list[str]]:
    """Judge as many folders; returns how often each outcome was, and a line for each fault."""
    sys.addaudithook(_watch)
    prove_that_canaries_are_noticed(home)
    names = list(MAKERS) if n_folders > 200 else ["lora", "peft-lora", "mlp", "residues"]
    whole, outcomes, faults = prepare(home, names), Counter(), []
    for trial in range(n_folders):
        rng = np.random.default_rng((seed, trial))
        name, lies = names[rng.integers(len(names))], rng.random() < 0.6
        ways: tuple = LIES if lies else DAMAGE
        way, folder = ways[rng.integers(len(ways))], home / "tampered"
        shutil.copytree(whole / name, folder)
        if lies:
            document = read_document(folder)
            way(document, folder, rng)
            try:
                write_document(folder, document)
            except (TypeError, AttributeError, KeyError):  # a list of files that is none
                write_document(folder, document, refresh=False)
        else:
            way(folder, rng, whole)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = judge(folder, name)
        shutil.rmtree(folder)
        if not lies and outcome != "refused":
            outcome = outcome if outcome.startswith("raw") else "silent"
        outcomes[f"{'lie' if lies else 'damage'}: {outcome.partition(':')[0]}"] += 1
        if outcome == "silent" or outcome.startswith("raw"):
            faults.append(f"trial {trial}: {name}, {way.__name__}: {outcome}")
    if (home / "executed").exists():
        executions.append("a canary ran")
    outcomes["executions"] = len(executions)
    return outcomes, faults + executions
