"""Two processes that fit together, as ``accelerate launch`` and ``torchrun`` start them, against one."""

import os

import numpy as np
import pytest
import torch
from safetensors.torch import load

from plmlearn import (
    PLMClassifier,
    PLMEmbedder,
    PLMFrozenMLPRegressor,
    PLMPairClassifier,
    PLMRegressor,
    PLMResidueClassifier,
    save,
)
from plmlearn.adapters import AdaLoRA, Frozen, FullFineTuning, LoRA
from plmlearn.training.devices import resolve_device

RNG = np.random.default_rng(0)
X = ["".join(RNG.choice(list("ACDEFGHIKLMNPQRSTVWY"), size=n)) for n in RNG.integers(8, 60, 13)]
PAIRS = [[X[i], X[j]] for i, j in zip(range(11), RNG.permutation(11))]
LABELS = ["ab"[i % 2] for i in range(13)]
VALUES = list(RNG.normal(size=13))
STATES = ["".join(RNG.choice(list("HEC"), size=len(x))) for x in X]
SETTINGS = {
    "epochs": 1,
    "batch_size": 5,
    "head_dropout": 0.0,
    "lr": 1e-4,
    "head_lr": 1e-4,
    "precision": "fp32",
    "random_state": 0,
    "verbose": 0,
}


def cases() -> dict:
    """An estimator of each kind, with data; the last step of an epoch has fewer samples than processes."""
    lora = LoRA(last_n_layers=2)
    return {
        "LoRA": (PLMClassifier("mini", early_stopping=True, **SETTINGS), X, LABELS),
        "penalty": (
            PLMClassifier("mini", adapter=AdaLoRA(), **(SETTINGS | {"batch_size": 1, "epochs": 2})),
            X,
            LABELS,
        ),
        "full": (PLMRegressor("mini", adapter=FullFineTuning(), **(SETTINGS | {"lr": 1e-5})), X, VALUES),
        "frozen": (PLMRegressor("mini", adapter=Frozen(), **SETTINGS), X, VALUES),
        "residues": (PLMResidueClassifier("mini", adapter=lora, **SETTINGS), X, STATES),
        "pairs": (PLMPairClassifier("mini", adapter=lora, **SETTINGS), PAIRS, LABELS[:11]),
    }


def fit_as_one_of_two(rank, port, folder, connection):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "CUDA_VISIBLE_DEVICES": ""}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    found = {}
    for name, (estimator, inputs, y) in cases().items():
        fitted = estimator.fit(inputs, y)
        found[name] = fitted._trained, fitted.history_[0]["train_loss"], fitted.best_score_
    save(fitted, folder / f"of-{rank}")
    found["embedder"] = PLMEmbedder("mini").fit_transform(X)
    found["perceptron"] = PLMFrozenMLPRegressor("mini", max_iter=5, random_state=0).fit(X, VALUES).predict(X)
    if rank == 0:  # alone: the other does not wait for it, nor this one for the other
        fitted.predict(PAIRS)
    for name, changed in {"sequences": ([*X[:12], X[0]], 0), "random_state": (X, rank)}.items():
        inputs, seed = changed if rank else (X, 0)
        with pytest.raises(ValueError, match=f"process 1 was given other {name} than process 0"):
            PLMClassifier("mini", **{**SETTINGS, "random_state": seed}).fit(inputs, LABELS)
    unseeded = PLMClassifier("mini", adapter=Frozen(), **{**SETTINGS, "random_state": None}).fit(X, LABELS)
    found["unseeded"] = unseeded._trained
    connection.send(found)


@pytest.fixture(scope="module")
def both(tmp_path_factory, fresh_processes):
    """What each of two processes found, and the folder in which they saved."""
    folder = tmp_path_factory.mktemp("together")
    port, results, workers = 20_000 + (os.getpid() + 7919) % 20_000, [], []
    for rank in range(2):
        receiver, sender = fresh_processes.Pipe(duplex=False)
        workers.append(
            fresh_processes.Process(target=fit_as_one_of_two, args=(rank, port, folder, sender), daemon=True)
        )
        workers[-1].start()
        sender.close()
        results.append(receiver)
    found = [receiver.recv() for receiver in results]
    for worker in workers:
        worker.join(60)
    return found, folder


@pytest.mark.parametrize("kind", cases())
def test_two_processes_fit_one_model(both, kind):
    (first, second), _ = both
    assert first[kind] == second[kind]
    estimator, inputs, y = cases()[kind]
    alone = estimator.fit(inputs, y)
    tensors, loss, score = first[kind]
    assert loss == pytest.approx(alone.history_[0]["train_loss"], abs=1e-6)
    assert score == (None if score is None else pytest.approx(alone.best_score_, abs=1e-6))
    ours = load(alone._trained)
    for name, tensor in load(tensors).items():
        atol = 1e-5 if kind == "penalty" else 1e-6  # 26 steps of Adam, or up to 3
        np.testing.assert_allclose(tensor, ours[name], atol=atol, err_msg=name)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_two_processes_embed_as_one(both):
    (first, second), _ = both
    np.testing.assert_array_equal(first["embedder"], second["embedder"])
    np.testing.assert_allclose(first["embedder"], PLMEmbedder("mini").fit(X).transform(X), atol=1e-6)
    alone = PLMFrozenMLPRegressor("mini", max_iter=5, random_state=0).fit(X, VALUES).predict(X)
    np.testing.assert_allclose(first["perceptron"], alone, atol=1e-5)


def test_a_seed_is_agreed_upon_where_none_was_given(both):
    (first, second), _ = both
    assert first["unseeded"] == second["unseeded"]


def test_only_the_first_process_writes(both):
    _, folder = both
    assert [path.name for path in folder.iterdir()] == ["of-0"]


def device_of_worker(connection):
    torch.cuda.is_available, torch.cuda.device_count = lambda: True, lambda: 2
    connection.send(str(resolve_device("auto")))


def test_workers_take_the_gpus_in_turn(fresh_processes):
    devices = []
    for _ in range(2):
        receiver, sender = fresh_processes.Pipe(duplex=False)
        worker = fresh_processes.Process(target=device_of_worker, args=(sender,))
        worker.start()
        devices.append(receiver.recv())
        worker.join()
    assert sorted(devices) == ["cuda:0", "cuda:1"]
