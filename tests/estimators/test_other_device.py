"""A fit and a prediction of every kind of estimator on a device that is not the CPU.

A tensor that is left behind on the CPU is an error here (``other_device.py``), as on a GPU.
"""

import traceback
import warnings
from contextlib import suppress

import numpy as np
import pytest
import torch
from other_device import other_device
from sklearn.exceptions import ConvergenceWarning

from plmlearn import (
    PLMClassifier,
    PLMEmbedder,
    PLMFrozenMLP,
    PLMLoRARegressor,
    PLMMaskedLM,
    PLMPairClassifier,
    PLMResidueClassifier,
    PLMResidueRegressor,
    PLMSignalPeptideClassifier,
)
from plmlearn.adapters import (
    IA3,
    AdaLoRA,
    Bottleneck,
    DoRA,
    Frozen,
    FullFineTuning,
    LayerNormTuning,
    LoRA,
    PrefixTuning,
    PromptTuning,
    VeRA,
)

RNG = np.random.default_rng(0)
X = ["".join(RNG.choice(list("ACDEFGHIKLMNPQRSTVWY"), size=n)) for n in RNG.integers(8, 40, 8)]
LABELS = ["ab"[i % 2] for i in range(8)]
VALUES = list(RNG.normal(size=8))
PAIRS = list(zip(X, [*X[1:], X[0]]))
STATES = ["".join(RNG.choice(list("HEC"), size=len(x))) for x in X]
SECRETED = [x[0] + "LLLLLLLLLLAAAA" + x for x in X]
TYPES = ["SP", "NO_SP"] * 4
NUMBERS = [RNG.normal(size=len(x)) for x in X]
SETTINGS = {
    "epochs": 1,
    "batch_size": 4,
    "head_dropout": 0.0,
    "lr": 1e-4,
    "head_lr": 1e-4,
    "precision": "fp32",
    "random_state": 0,
    "verbose": 0,
}
ADAPTERS = (
    LoRA,
    DoRA,
    AdaLoRA,
    VeRA,
    IA3,
    PrefixTuning,
    PromptTuning,
    Bottleneck,
    LayerNormTuning,
    FullFineTuning,
)


def cases() -> dict:
    last = LoRA(last_n_layers=2)
    found = {cls.__name__: (PLMClassifier("mini", adapter=cls(), **SETTINGS), X, LABELS) for cls in ADAPTERS}
    found["AdaLoRA"][0].set_params(adapter__last_n_layers=1, epochs=3, batch_size=1)  # needs ten steps
    return found | {
        "mixed layers": (
            PLMClassifier("mini", layer_mixing=True, pooling="attention", **SETTINGS),
            X,
            LABELS,
        ),
        "early stopping": (
            PLMClassifier("mini", adapter=last, early_stopping=True, validation_fraction=0.25, **SETTINGS),
            X,
            LABELS,
        ),
        "light attention": (
            PLMClassifier("mini", adapter=last, pooling="light_attention", **SETTINGS),
            X,
            LABELS,
        ),
        "windows": (PLMLoRARegressor("mini", max_length=16, long_sequences="window", **SETTINGS), X, VALUES),
        "pairs": (PLMPairClassifier("mini", adapter=last, **SETTINGS), PAIRS, LABELS),
        "frozen pairs": (PLMPairClassifier("mini", adapter=Frozen(), **SETTINGS), PAIRS, LABELS),
        "residues": (PLMResidueClassifier("mini", adapter=last, **SETTINGS), X, STATES),
        "CRF": (PLMResidueClassifier("mini", adapter=last, head="crf", **SETTINGS), X, STATES),
        "convolutions": (PLMResidueRegressor("mini", adapter=last, head="cnn", **SETTINGS), X, NUMBERS),
        "perceptron": (PLMFrozenMLP("mini", max_iter=2, precision="fp32", random_state=0), X, LABELS),
        "signal peptides": (PLMSignalPeptideClassifier("mini", adapter=last, **SETTINGS), SECRETED, TYPES),
        "language model": (
            PLMMaskedLM("mini", max_steps=2, batch_size=4, precision="fp32", random_state=0, verbose=0),
            X,
            None,
        ),
        "embedder of residues": (PLMEmbedder("mini", pooling=None, precision="fp32"), X, None),
    }


def results(estimator, inputs, y) -> dict[str, list[np.ndarray]]:
    """Numbers that a fitted estimator predicts."""
    estimator.fit(inputs, y)
    methods = ("predict", "predict_proba", "transform")
    found = {method: getattr(estimator, method)(inputs) for method in methods if hasattr(estimator, method)}
    rows = {method: [np.asarray(row) for row in values] for method, values in found.items()}
    return {method: values for method, values in rows.items() if values[0].dtype.kind == "f"}


def fit_elsewhere(connection) -> None:
    """Send what each case predicts on the other device, or its traceback."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    with other_device() as device, pytest.MonkeyPatch.context() as patch:
        for module in (
            "estimators.tuned",
            "estimators.embedder",
            "estimators.parameters",
            "pretraining.estimator",
        ):
            patch.setattr(f"plmlearn.{module}.resolve_device", lambda name: device)
        for kind, case in cases().items():
            try:
                connection.send((kind, results(*case)))
            except Exception:
                connection.send((kind, traceback.format_exc()))


@pytest.fixture(scope="module")
def elsewhere(fresh_processes) -> dict:
    """Of a new process: torch cannot get a device any more once it has computed a gradient."""
    receiver, sender = fresh_processes.Pipe(duplex=False)
    process = fresh_processes.Process(target=fit_elsewhere, args=(sender,))
    process.start()
    sender.close()
    found = {}
    with suppress(EOFError):  # the process has ended
        while True:
            kind, predicted = receiver.recv()
            found[kind] = predicted
    process.join()
    assert process.exitcode == 0, f"died after {list(found)}"
    return found


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", cases())
def test_fit_and_predict(kind, elsewhere, empty_cache):
    assert isinstance(elsewhere[kind], dict), elsewhere[kind]
    expected = results(*cases()[kind])
    assert expected.keys() == elsewhere[kind].keys() != set()
    for method, rows in elsewhere[kind].items():
        for row, other in zip(rows, expected[method], strict=True):
            np.testing.assert_allclose(row, other, atol=2e-3, err_msg=method)


def use_both(connection) -> None:
    with other_device() as device:
        there = torch.ones(3, device=device)
        connection.send((there + torch.tensor(1.0)).tolist())
        for fails in (lambda: there + torch.ones(3), there.numpy):
            try:
                connection.send(fails())
            except RuntimeError as error:
                connection.send(str(error))


def test_a_tensor_left_on_the_cpu_is_an_error(fresh_processes):
    receiver, sender = fresh_processes.Pipe(duplex=False)
    process = fresh_processes.Process(target=use_both, args=(sender,))
    process.start()
    assert receiver.recv() == [2.0, 2.0, 2.0]
    assert receiver.recv().startswith("aten::add: expected all tensors to be on the same device")
    assert receiver.recv().startswith(".numpy() is not supported")
    process.join()
