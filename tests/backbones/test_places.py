"""Where a backbone lies: paths of every form, folders that have moved, and repositories in a cache."""

import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from plmlearn import (
    PLMEmbedder,
    PLMEnsemble,
    PLMFrozenMLP,
    PLMLoRAClassifier,
    PLMMaskedLM,
    cache,
    load,
    save,
)
from plmlearn.backbones import (
    BackboneNotFoundError,
    BackboneWeightsError,
    download_backbone,
    load_backbone,
    unload_backbones,
)
from plmlearn.datasets import get_data_home
from plmlearn.sequences import read_csv, read_fasta

X = ["MKTAYIAKQR", "GSHMLEDPAA", "MKVLAAGIVG", "WWYFPLKDEE"]
Y = ["a", "b", "a", "b"]
QUICK = {"epochs": 1, "precision": "fp32", "random_state": 0, "verbose": 0}

ESTIMATORS = {
    "lora": (lambda folder: PLMLoRAClassifier(folder, **QUICK), "predict_proba"),
    "ensemble": (
        lambda folder: PLMEnsemble(PLMLoRAClassifier(folder, **QUICK), n_members=2),
        "predict_proba",
    ),
    "frozen": (lambda folder: PLMFrozenMLP(folder, max_iter=2, precision="fp32"), "predict_proba"),
    "embedder": (lambda folder: PLMEmbedder(folder, precision="fp32"), "transform"),
}
estimators = pytest.mark.parametrize("make, method", ESTIMATORS.values(), ids=ESTIMATORS)
quick_to_end = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(autouse=True)
def _fresh(fresh):
    pass


def backbone_of(estimator) -> str:
    """The name of the parameter."""
    return "estimator__backbone" if isinstance(estimator, PLMEnsemble) else "backbone"


@estimators
@quick_to_end
def test_a_relative_path_means_the_folder_of_the_fit(make, method, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder.parent)
    fitted = make(folder.name).fit(X, Y)
    expected = getattr(fitted, method)(X)
    assert fitted.get_params()[backbone_of(fitted)] == folder.name
    kept, saved = pickle.dumps(fitted), save(fitted, tmp_path / "saved")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    unload_backbones()
    for again in (pickle.loads(kept), load(saved)):
        np.testing.assert_array_equal(getattr(again, method)(X), expected)


@estimators
@quick_to_end
def test_a_backbone_that_has_moved_is_told_and_found(make, method, folder, make_esm, tmp_path):
    fitted = make(folder).fit(X, Y)
    expected = getattr(fitted, method)(X)
    kept, saved = pickle.dumps(fitted), save(fitted, tmp_path / "saved")
    moved = folder.rename(tmp_path / "moved")
    unload_backbones()
    calls = (
        'load(folder, backbone="...")',
        'set_params(backbone="...")',
        'set_params(estimator__backbone="...")',
    )
    told = ".*".join(["moved since the fit", *map(re.escape, calls)])
    for lost in (pickle.loads(kept), load(saved)):
        with pytest.raises(BackboneNotFoundError, match=f"(?s)Unknown backbone.*{told}"):
            getattr(lost, method)(X)
        lost.set_params(**{backbone_of(lost): moved})
        np.testing.assert_array_equal(getattr(lost, method)(X), expected)
    np.testing.assert_array_equal(getattr(load(saved, backbone=moved), method)(X), expected)
    other = make_esm(tmp_path / "other", seed=5)
    for wrong in (load(saved, backbone=other), pickle.loads(kept).set_params(**{backbone_of(fitted): other})):
        with pytest.raises(BackboneWeightsError, match=f"(?s)fingerprint.*{told}"):
            getattr(wrong, method)(X)


@pytest.mark.parametrize("kind", ["lora", "frozen"])
@quick_to_end
def test_a_warm_start_goes_on_from_the_backbone_of_the_fit(kind, folder, make_esm, tmp_path, monkeypatch):
    monkeypatch.chdir(folder.parent)
    options = {"warm_start": True, "random_state": 0}
    fitted = ESTIMATORS[kind][0](folder.name).set_params(**options).fit(X, Y)
    kept, other = pickle.dumps(fitted), make_esm(tmp_path / "other", seed=5)
    expected = fitted.fit(X, Y).predict_proba(X)
    for place in ("elsewhere", "another"):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        unload_backbones()
        again = pickle.loads(kept)
        if place == "elsewhere":
            kept = pickle.dumps(again.fit(X, Y))
        np.testing.assert_array_equal(again.predict_proba(X), expected)
    shutil.rmtree(folder)
    unload_backbones()
    with pytest.raises(BackboneWeightsError, match="fingerprint"):
        pickle.loads(kept).set_params(backbone=other).fit(X, Y)


def test_the_relative_name_is_tried_where_the_place_of_the_fit_is_gone(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder.parent)
    fitted = PLMEmbedder(folder.name).fit(X)
    (tmp_path / "elsewhere").mkdir()
    folder.rename(tmp_path / "elsewhere" / folder.name)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert fitted.transform(X).shape == (4, 32)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(Path(tmp_path.parent))
    return tmp_path


def test_every_path_may_begin_at_the_home_folder(home, monkeypatch):
    before = cache.info()["folder"]
    (home / "x.fasta").write_text(">a\nMKV\n")
    (home / "x.csv").write_text("sequence\nMKV\n")
    assert read_fasta("~/x.fasta").sequences.tolist() == read_csv("~/x.csv").sequences.tolist() == ["MKV"]
    assert get_data_home("~/data") == home / "data"
    monkeypatch.setenv("PLMLEARN_DATA", "~/other")
    assert get_data_home() == home / "other"
    try:
        cache.limit(folder="~/kept")
        assert cache.info()["folder"] == str(home / "kept")
    finally:
        cache.limit(folder=before)
    embedder = PLMEmbedder("mini").fit(X)
    assert save(embedder, "~/model") == home / "model"
    assert load("~/model").backbone == "mini"
    assert download_backbone("mini", "~/backbone") == home / "backbone"
    assert load_backbone("~/backbone").n_layers == 4
    assert not (home / "~").exists()
    assert not Path("~").exists()


def test_pretraining_takes_home_folders_and_path_objects(home):
    shape = {"n_layers": 1, "width": 8, "n_heads": 2}
    model = PLMMaskedLM(**shape, epochs=1, checkpoint=Path("~/run"), random_state=0, verbose=0).fit(X)
    assert (home / "run" / "checkpoint.safetensors").exists()
    assert model.save_pretrained("~/written") == home / "written"
    assert load(save(model, "~/kept")).score(X) == pytest.approx(model.score(X))


# -- the cache of the hub ---------------------------------------------------------------------------


def write_repository(home: Path, revisions: dict[str, Path]) -> None:
    """A repository in the layout of the hub's cache: of each revision, the folder to copy."""
    repository = home / "hub" / "models--Rostlab--converted"
    for number, (revision, source) in enumerate(revisions.items()):
        commit = f"{number:040x}"
        (repository / "refs" / revision).parent.mkdir(parents=True, exist_ok=True)
        (repository / "refs" / revision).write_text(commit)
        shutil.copytree(source, repository / "snapshots" / commit)


LOAD = "from plmlearn.backbones import load_backbone as load; print(load('Rostlab/converted').fingerprint)"


def run_offline(home: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        environment.pop(name, None)
    return subprocess.run([sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True)


def test_converted_weights_of_a_pull_request_load_offline(miniature, tmp_path):
    """ProtT5's main branch has pickled weights alone, which are not downloaded where there are others."""
    whole = miniature("prott5")
    main = Path(shutil.copytree(whole, tmp_path / "main"))
    (main / "model.safetensors").unlink()
    write_repository(tmp_path / "one", {"main": main, "refs/pr/7": main, "refs/pr/4": whole})
    found = run_offline(tmp_path / "one")
    assert found.stdout.split() == [load_backbone(whole).fingerprint], found.stderr
    write_repository(tmp_path / "two", {"main": main, "refs/pr/4": whole, "refs/pr/5": whole})
    found = run_offline(tmp_path / "two")
    assert "several pull requests have: refs/pr/4, refs/pr/5. Pass the one" in found.stderr
