"""Share fitted estimators on the Hugging Face hub: one call up, one call down.

``push``         upload a model as :func:`plmlearn.save` writes it, with its card, in one commit
``load``         download a model, verify every file by its SHA-256, and read it; nothing is executed
``model_card``   the card alone
"""

from __future__ import annotations

import tempfile
from os import PathLike
from os.path import isabs
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, snapshot_download
from sklearn.base import BaseEstimator

from . import persistence
from .cards import model_card
from .messages import warn
from .persistence.folder import FILES
from .sequences.checked import FLAG, TEXT, checked

__all__ = ["load", "model_card", "push"]


@checked(repo_id=TEXT, card=[str, None], private=FLAG, message=TEXT, token=[str, None])
def push(
    estimator: BaseEstimator,
    repo_id: str,
    *,
    card: str | None = None,
    private: bool = True,
    message: str = "Upload a model of plmlearn",
    token: str | None = None,
) -> str:
    """Upload a fitted estimator to the Hugging Face hub.

    What is uploaded is what :func:`plmlearn.save` writes, without the backbone, and a model card as
    ``README.md``. It is one commit: nobody downloads half a model.

    Parameters
    ----------
    estimator : fitted estimator
    repo_id : str
        ``"owner/name"``. Made if need be.
    card : str, optional
        Of :func:`model_card`, with what you know of data and scores. None describes what the estimator knows.
    private : bool, default=True
        Whether a repository that is made here is for its owner alone.
    message : str, default="Upload a model of plmlearn"
        Of the commit.
    token : str, optional
        None takes that of ``hf auth login`` or of the environment variable ``HF_TOKEN``.

    Returns
    -------
    str
        The commit, for ``load(repo_id, revision=...)``.

    Raises
    ------
    NotFittedError
    TypeError
        Not an estimator that is saved.
    huggingface_hub.errors.HfHubHTTPError
        The hub refuses, or cannot be reached.

    Warns
    -----
    UserWarning
        The backbone is a folder of this machine: others must say where they have it.

    See Also
    --------
    plmlearn.export_transformers : A model for those who do not use plmlearn.

    Examples
    --------
    >>> from plmlearn import PLMLoRAClassifier, hub
    >>> clf = PLMLoRAClassifier("mini", epochs=1, verbose=0).fit(["MKTAYIAKQR", "GSHMLEDPVD"], ["a", "b"])
    >>> hub.push(clf, "me/my-model")  # doctest: +SKIP
    '0f3f8c7e1d2b4a5968776655443322110f0e0d0c'
    """
    with tempfile.TemporaryDirectory() as home:
        folder = persistence.save(estimator, home)
        _warn_of_local_backbone(estimator)
        (folder / "README.md").write_text(model_card(estimator, name=repo_id) if card is None else card)
        api = HfApi(token=token)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        new = sorted(path.name for path in folder.iterdir())
        gone = sorted((set(FILES) - set(new)) & set(api.list_repo_files(repo_id)))
        operations: list[Any] = [CommitOperationAdd(name, str(folder / name)) for name in new]
        operations += [CommitOperationDelete(name) for name in gone]
        return api.create_commit(repo_id, operations, commit_message=message).oid


@checked(repo_id=TEXT, revision=[str, None], backbone=[str, PathLike, None], token=[str, None])
def load(
    repo_id: str,
    *,
    revision: str | None = None,
    backbone: str | PathLike[str] | None = None,
    token: str | None = None,
) -> Any:
    """Download an estimator that :func:`push` uploaded, and read it.

    Only the files of a saved model are fetched, and their SHA-256 must be those that ``save`` wrote down.
    They hold data alone, no code. What the owner of a repository changes, changes predictions: pass the
    commit as ``revision`` to get the same model always.

    Parameters
    ----------
    repo_id : str
        ``"owner/name"``.
    revision : str, optional
        Commit, branch or tag; None takes the newest.
    backbone : str or PathLike, optional
        Where the backbone lies, as for :func:`plmlearn.load`.
    token : str, optional
        For private repositories; None as for :func:`push`.

    Returns
    -------
    estimator
        Fitted, with equal predictions.

    Raises
    ------
    FileNotFoundError
        The repository holds no model of plmlearn.
    SavedModelError
        As for :func:`plmlearn.load`.
    huggingface_hub.errors.HfHubHTTPError
        No such repository or revision, or no access.

    See Also
    --------
    plmlearn.load : Reads a folder.

    Notes
    -----
    Cost: one download; after it the files come from the cache of huggingface_hub, without network too. The
    backbone is looked for, and downloaded, at the first prediction.

    Examples
    --------
    >>> from plmlearn import hub
    >>> clf = hub.load("me/my-model", revision="main")  # doctest: +SKIP
    """
    files = list(FILES)
    folder = Path(snapshot_download(repo_id, revision=revision, allow_patterns=files, token=token))
    if not any((folder / name).exists() for name in files):
        at = f" at revision {revision!r}" if revision else ""
        raise FileNotFoundError(
            f"{repo_id!r}{at} holds no model of plmlearn: it has none of {', '.join(files)}. As a backbone, "
            f"pass its name to an estimator: PLMLoRAClassifier({repo_id!r})."
        )
    return persistence.load(folder, backbone=backbone)


def _warn_of_local_backbone(estimator: Any) -> None:
    model = getattr(estimator, "estimators_", [estimator])[0]  # the fits of an ensemble share theirs
    place = getattr(model, "_backbone_place", None)
    if place is not None and isabs(place):
        warn(
            f"The backbone is a folder of this machine, {place}, and is not uploaded; its path is. Whoever "
            "loads the model passes backbone= with the folder or the id where they have it."
        )
