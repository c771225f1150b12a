"""With every fast path off, the same predictions: transformers, peft and NumPy, one protein at a time.

No packing, no forward pass of ours, no store, no lookup table, no bfloat16: what remains are the trained
tensors, read back from a saved folder.
"""

import numpy as np
import peft
import pytest
import safetensors.torch
import torch
from scipy.stats import spearmanr
from transformers import AutoTokenizer, EsmModel

import plmlearn
from plmlearn import PLMLoRARegressor

DEPTHS = [None, 1]
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def X():
    return plmlearn.datasets.make_proteins(
        40, median_length=90, min_length=30, max_length=250, random_state=0
    )


@pytest.fixture(scope="module", params=DEPTHS, ids=["all layers", "last layer"])
def fitted(request, esm_folder, X):
    y = np.array([sequence.count("L") / len(sequence) for sequence in X])
    regressor = PLMLoRARegressor(
        str(esm_folder), target_modules=("key", "value"), last_n_layers=request.param, epochs=2, lr=3e-3,
        precision="fp32", random_state=0, verbose=0,
    )  # fmt: skip
    return regressor.fit(X, y)


def slow_predictions(fitted, backbone, X, folder) -> np.ndarray:
    plmlearn.save(fitted, folder)
    model = peft.PeftModel.from_pretrained(
        EsmModel.from_pretrained(backbone, add_pooling_layer=False), folder
    )
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    arrays = safetensors.torch.load_file(folder / "arrays.safetensors")
    head = safetensors.torch.load(arrays["estimator._trained"].numpy().tobytes())
    head = {name: tensor.numpy() for name, tensor in head.items() if not name.startswith("encoder.")}
    target = fitted._target
    outputs = []
    for sequence in X:
        with torch.no_grad():
            state = model.eval()(**tokenizer(sequence, return_tensors="pt")).last_hidden_state[0, 1:-1]
        features = (state.mean(0).numpy() - head["scaler.mean"]) / head["scaler.scale"]
        hidden = np.tanh(head["head.1.weight"] @ features + head["head.1.bias"])
        outputs.append((head["head.4.weight"] @ hidden + head["head.4.bias"])[0])
    return np.array(outputs) * target.scale[0] + target.mean[0]


@pytest.fixture
def slow(fitted, esm_folder, X, tmp_path):
    return slow_predictions(fitted, esm_folder, X, tmp_path)


def test_float32_predictions_are_those_of_the_slow_road(fitted, X, slow, empty_cache):
    assert np.ptp(slow) > 0.01
    np.testing.assert_allclose(fitted.predict(X), slow, atol=1e-5)
    np.testing.assert_allclose(fitted.predict(X), slow, atol=1e-5)  # once more, from the store
    with plmlearn.cache.disabled():
        np.testing.assert_allclose(fitted.set_params(max_tokens=300).predict(X), slow, atol=1e-5)


def test_bfloat16_ranks_proteins_alike(fitted, X, slow, empty_cache):
    in_bfloat16 = fitted.set_params(precision="bf16").predict(X)
    assert not np.array_equal(in_bfloat16, slow)
    assert spearmanr(in_bfloat16, slow).statistic >= 0.999
    fitted.set_params(precision="fp32")
