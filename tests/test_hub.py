"""Models that leave by the hub and come back, in another process."""

import json
import os
import subprocess
import sys

import huggingface_hub
import numpy as np
import pytest
import yaml
from hub_server import Hub
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from plmlearn import (
    PLMClassifier,
    PLMEnsemble,
    PLMLoRAClassifier,
    PLMMaskedLM,
    PLMResidueRegressor,
    hub,
    load,
    save,
)
from plmlearn.baselines import CompositionVectorizer, HomologyRegressor, compare

# huggingface_hub hands bytes to its HTTP client by an older name of the argument.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
FAST = {"epochs": 1, "batch_size": 8, "random_state": 0, "verbose": 0}
PULL = """
import json, sys
import numpy as np
from plmlearn import hub
asked, found = json.load(sys.stdin), {}
for name, (repo, revision) in asked["models"].items():
    try:
        found[name] = hub.load(repo, revision=revision).predict_proba(asked["X"]).tolist()
    except Exception as error:
        found[name] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def X(draw_proteins):
    return draw_proteins(12, seed=6)


@pytest.fixture(scope="module")
def y(X):
    return np.array(["nucleus", "membrane", "other"])[np.arange(len(X)) % 3]


@pytest.fixture(scope="module")
def fitted(X, y):
    return PLMLoRAClassifier("mini", **FAST).fit(X, y)


@pytest.fixture(scope="module")
def ensemble(X, y):
    return PLMEnsemble(PLMLoRAClassifier("mini", **FAST), n_members=2, random_state=0).fit(X, y)


@pytest.fixture(scope="module")
def online():
    """A hub on this machine, which huggingface_hub takes for the true one; no upload by Xet."""
    with Hub() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        patch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        yield server


def pull(server, home, X, **models):
    """What another process, with an empty cache, makes of repositories at revisions."""
    environment = os.environ | {
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "OMP_NUM_THREADS": "1",
    }
    asked = json.dumps({"models": models, "X": X})
    run = [sys.executable, "-c", PULL]
    return json.loads(subprocess.check_output(run, input=asked, text=True, env=environment))


def test_a_pushed_model_predicts_the_same_bits_elsewhere(online, fitted, ensemble, X, y, tmp_path):
    first = hub.push(fitted, "me/model", token="hf_of_a_test")
    assert online.private == {"me/model": True}
    assert set(online.files_at("me/model")[1]) - {".gitattributes"} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "arrays.safetensors",
        "estimator.json",
    }

    whole = PLMClassifier("mini", adapter="layer_norm_tuning", **FAST).fit(X, y)
    second = hub.push(whole, "me/model", card="# Mine", token="hf_of_a_test")
    files = online.files_at("me/model")[1]
    assert files["README.md"] == b"# Mine"
    assert len(online.repos["me/model"]) == 3  # made, and a commit each

    several = hub.push(ensemble, "me/several", token="hf_of_a_test")

    arrays = files["arrays.safetensors"]
    online.commit("me/damaged", files | {"arrays.safetensors": arrays[:-1] + bytes([arrays[-1] ^ 1])})
    online.commit("me/other", {"config.json": b"{}"})
    found = pull(
        online,
        tmp_path,
        X,
        first=("me/model", first),
        second=("me/model", second),
        latest=("me/model", None),
        several=("me/several", several),
        damaged=("me/damaged", None),
        other=("me/other", None),
        unknown=("me/nothing", None),
    )
    np.testing.assert_array_equal(found["first"], fitted.predict_proba(X))
    np.testing.assert_array_equal(found["second"], whole.predict_proba(X))
    np.testing.assert_array_equal(found["several"], ensemble.predict_proba(X))
    assert found["latest"] == found["second"]
    assert "SavedModelError" in found["damaged"]
    assert "checksum differs" in found["damaged"]
    assert "holds no model of plmlearn" in found["other"]
    assert found["unknown"].startswith("RepositoryNotFoundError")


def test_files_of_an_older_model_are_removed(online, fitted, X, y):
    hub.push(fitted, "me/changed", private=False, token="hf_of_a_test")
    assert not online.private["me/changed"]
    plain = PLMClassifier("mini", adapter="frozen", **FAST).fit(X, y)
    hub.push(plain, "me/changed", token="hf_of_a_test")
    files = online.files_at("me/changed")[1]
    assert {"estimator.json", "arrays.safetensors"} <= set(files)
    assert not {"adapter_config.json", "adapter_model.safetensors"} & set(files)


def test_a_backbone_of_this_machine_is_told(online, esm_folder, X, y):
    classifier = PLMLoRAClassifier(str(esm_folder), **FAST).fit(X, y)
    with pytest.warns(UserWarning, match="is a folder of this machine"):
        hub.push(classifier, "me/local", token="hf_of_a_test")
    card = online.files_at("me/local")[1]["README.md"].decode()
    assert "base_model" not in card
    with pytest.warns(UserWarning, match="is a folder of this machine"):
        hub.push(PLMEnsemble(classifier, n_members=2).fit(X, y), "me/local", token="hf_of_a_test")


def test_nothing_is_made_for_what_cannot_be_saved(online):
    with pytest.raises(NotFittedError):
        hub.push(PLMLoRAClassifier("mini"), "me/unfitted", token="hf_of_a_test")
    with pytest.raises(TypeError, match="estimator of plmlearn"):
        hub.push(HomologyRegressor(), "me/foreign", token="hf_of_a_test")
    assert not {"me/unfitted", "me/foreign"} & set(online.repos)


# -- cards ------------------------------------------------------------------------------------


def front_matter(card):
    _, front, text = card.split("---\n", 2)
    return yaml.safe_load(front), text


def test_a_card_says_what_the_estimator_and_the_caller_know(fitted, X):
    card = hub.model_card(
        fitted,
        name="me/model",
        X=X,
        data="Twelve random sequences.",
        split="clusters at 30 % identity",
        scores={"model": {"accuracy": 0.5}, "majority": {"accuracy": 1 / 3}},
        licence="cc-by-4.0",
    )
    front, text = front_matter(card)
    assert front["library_name"] == "plmlearn"
    assert front["license"] == "cc-by-4.0"
    assert front["metrics"] == ["accuracy"]
    assert front["pipeline_tag"] == "text-classification"
    lengths = [len(x) for x in X]
    for said in (
        'hub.load("me/model")',
        "- Proteins: 12",
        f"- Lengths: {min(lengths)} to {max(lengths)} residues, median {np.median(lengths):g}",
        "- Classes: membrane, nucleus, other",
        "- Split: clusters at 30 % identity",
        "| majority | 0.3333 |",
        "PLMLoRAClassifier(backbone='mini'",
        f"{fitted.n_trainable_parameters_:,} of {fitted.n_parameters_:,} parameters trained",
        "Backbone (mini): BSD-3-Clause",
    ):
        assert said in text


def test_a_card_says_what_is_not_known(fitted):
    front, text = front_matter(hub.model_card(fitted))
    assert text.count("not stated") == 2
    assert "## Scores\n\nNot stated." in text
    assert "metrics" not in front
    assert front["license"] == "bsd-3-clause"


def test_a_card_names_a_published_backbone_and_its_licence(fitted):
    published = PLMLoRAClassifier("mini", **FAST)
    vars(published).update(vars(fitted), _backbone_place="ankh-base")
    front, text = front_matter(hub.model_card(published))
    assert front["base_model"] == "ElnaggarLab/ankh-base"
    assert front["license"] == "cc-by-nc-sa-4.0"
    assert "CC BY-NC-SA 4.0" in text
    vars(published).update(_backbone_place="someone/their-model")
    front, text = front_matter(hub.model_card(published))
    assert front["base_model"] == "someone/their-model"
    assert "license" not in front
    assert "see its page" in text


def test_a_card_takes_a_comparison(fitted, X):
    models = {"counts": make_pipeline(CompositionVectorizer(), Ridge())}
    result = compare(models, X, np.arange(12.0), cv=3, scoring="r2")
    front, text = front_matter(hub.model_card(fitted, scores=result))
    assert front["metrics"] == ["r2"]
    assert f"| counts | r2 | {result.rows[0]['mean']:.4g} |" in text


@pytest.mark.parametrize(
    "make, tag",
    [
        (
            lambda X: PLMResidueRegressor("mini", **FAST).fit(X[:2], [np.ones(len(x)) for x in X[:2]]),
            "token-",
        ),
        (lambda X: PLMMaskedLM("mini", max_steps=1, random_state=0, verbose=0).fit(X), "fill-mask"),
    ],
)
def test_cards_name_the_task(make, tag, X):
    front, _ = front_matter(hub.model_card(make(X), X=X))
    assert front["pipeline_tag"].startswith(tag)


def test_a_card_of_an_ensemble_describes_its_fits(ensemble, X):
    front, text = front_matter(hub.model_card(ensemble, X=X))
    assert front["pipeline_tag"] == "text-classification"
    assert front["license"] == "bsd-3-clause"
    assert "PLMEnsemble" in front["tags"]
    for said in (
        "(2 fits of `PLMLoRAClassifier`) on mini",
        "parameters trained by each fit",
        "- Classes: membrane, nucleus, other",
        "- Proteins: 12",
        "return_std=True",
    ):
        assert said in text


def test_an_ensemble_of_others_has_no_card(X):
    others = make_pipeline(CompositionVectorizer(), Ridge())
    ensemble = PLMEnsemble(others, n_members=2, random_state=0)
    with pytest.raises(NotFittedError):
        hub.model_card(ensemble)
    with pytest.raises(TypeError, match="estimators of plmlearn, got Pipeline"):
        hub.model_card(ensemble.fit(X, np.arange(12.0)))


def test_a_card_lies_in_a_saved_folder(fitted, X, tmp_path):
    (save(fitted, tmp_path) / "README.md").write_text(hub.model_card(fitted))
    np.testing.assert_array_equal(load(tmp_path).predict(X), fitted.predict(X))
    save(fitted, tmp_path)
    assert (tmp_path / "README.md").exists()


def test_cards_are_of_fitted_estimators_of_the_package(fitted):
    with pytest.raises(NotFittedError):
        hub.model_card(PLMLoRAClassifier("mini"))
    with pytest.raises(TypeError, match="estimators of plmlearn"):
        hub.model_card(HomologyRegressor())
