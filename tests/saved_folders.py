"""What tests do to folders that ``plmlearn.save`` wrote: read them, change them, seal them again."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MANIFEST = "estimator.json"


def read_document(folder: Path) -> dict:
    return json.loads((folder / MANIFEST).read_text())


def write_document(folder: Path, document: dict, *, refresh: bool = True) -> Path:
    """Write ``estimator.json`` with checksums that fit, as someone would who wants to be believed."""
    document = {name: part for name, part in document.items() if name != "sha256"}
    for name, entry in document["files"].items() if refresh else ():
        if (folder / name).is_file():
            data = (folder / name).read_bytes()
            entry.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    body = json.dumps(document, indent=1)[2:]
    digest = hashlib.sha256(body.encode()).hexdigest()
    (folder / MANIFEST).write_text(f'{{\n "sha256": "{digest}",\n{body}')
    return folder


def edited(folder: Path, change: Callable[[dict], Any]) -> Path:
    """A folder whose document ``change`` has changed in place."""
    document = read_document(folder)
    change(document)
    return write_document(folder, document)


def as_format_1(folder: Path) -> Path:
    """The folder as early versions wrote it: without checksums."""
    document = {
        name: part for name, part in read_document(folder).items() if name in ("versions", "estimator")
    }
    names = read_document(folder).get("adapter_names", {})
    (folder / MANIFEST).write_text(json.dumps({"format": 1, **document, "adapter_names": names}, indent=1))
    return folder


def nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON value: the list or dict that holds it, and its index or key."""
    for key in (
        list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    ):
        yield value, key
        yield from nodes(value[key])


def peft_blocks(document: dict) -> list[list]:
    """The pairs of each peft configuration in a document."""
    return [
        holder[key]["dict"]
        for holder, key in nodes(document)
        if key == "peft" and isinstance(holder[key], dict)
    ]
