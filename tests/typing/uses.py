"""How users call the package. It is never run: ``test_typing.py`` compares what mypy says with the comments.

``# E:`` is an error that mypy must report in that line, ``# N:`` a type that it must reveal. On every other
line mypy must have nothing to say.
"""

from typing import reveal_type

import plmlearn
from plmlearn import (
    PLMClassifier,
    PLMEmbedder,
    PLMEnsemble,
    PLMFitnessRegressor,
    PLMFrozenMLP,
    PLMFrozenMLPRegressor,
    PLMLoRAClassifier,
    PLMLoRARegressor,
    PLMMaskedLM,
    PLMPairClassifier,
    PLMPairRegressor,
    PLMRegressor,
    PLMResidueClassifier,
    PLMResidueRegressor,
    PLMSignalPeptideClassifier,
    download_backbone,
    load,
    save,
)
from plmlearn.adapters import IA3, LoRA
from plmlearn.baselines import compare
from plmlearn.model_selection import ClusterKFold
from plmlearn.sequences import check_sequences

X = ["MKTAYIAKQR", "GSHMASMTGG"]
y = [0, 1]

# Names resolve to the classes themselves.
reveal_type(plmlearn.PLMLoRAClassifier("mini"))  # N: PLMLoRAClassifier
reveal_type(PLMEmbedder("mini"))  # N: PLMEmbedder
reveal_type(plmlearn.__version__)  # N: str
reveal_type(plmlearn.PLMClasifier)  # E: has no attribute "PLMClasifier"

# Parameters are seen, with their types.
PLMClassifier("mini", adapter=LoRA(rank=4), pooling="mean", epochs=2, lr=1e-4)
PLMClassifier("mini", adaptor=LoRA())  # E: Unexpected keyword argument "adaptor"
PLMRegressor(backbone="mini", adapter=IA3(), batch_size=16)
PLMRegressor(backbone="mini", batchsize=16)  # E: Unexpected keyword argument "batchsize"
PLMLoRAClassifier("mini", rank=4, pooling="mean")
PLMLoRAClassifier("mini", rank="four")  # E: Argument "rank"
PLMLoRARegressor("mini", rank=8, alpha=16, device="cpu", random_state=0)
PLMLoRARegressor("mini", ranks=8)  # E: Unexpected keyword argument "ranks"
PLMPairClassifier("mini", combine="mean", epoch_size=64)
PLMPairClassifier("mini", combination="mean")  # E: Unexpected keyword argument "combination"
PLMPairRegressor("mini", max_length=256)
PLMPairRegressor("mini", max_length="long")  # E: Argument "max_length"
PLMFrozenMLP("mini", hidden_layer_sizes=(32,), max_iter=100)
PLMFrozenMLP("mini", hidden=32)  # E: Unexpected keyword argument "hidden"
PLMFrozenMLPRegressor("mini", learning_rate="adaptive")
PLMFrozenMLPRegressor("mini", learning_rate=1e-2)  # E: Argument "learning_rate"
PLMResidueClassifier("mini", head="mlp", ignore_label="-")
PLMResidueClassifier("mini", ignored="-")  # E: Unexpected keyword argument "ignored"
PLMResidueRegressor("mini", head="linear", standardize=False)
PLMResidueRegressor("mini", constraints="BIO")  # E: Unexpected keyword argument "constraints"
PLMSignalPeptideClassifier("mini", epochs=1)
PLMSignalPeptideClassifier("mini", epoch=1)  # E: Unexpected keyword argument "epoch"
PLMEmbedder("mini", pooling="mean", n_layers=2, final_norm=False)
PLMEnsemble(PLMEmbedder("mini"), n_members=3, bootstrap=True)
PLMEnsemble(PLMEmbedder("mini"), n_member=3)  # E: Unexpected keyword argument "n_member"
PLMEmbedder("mini", layers=-1)  # E: Unexpected keyword argument "layers"
PLMFitnessRegressor("mini", wild_type=X[0], loss="ranking", kl=0.1)
PLMFitnessRegressor("mini", loss="rank")  # E: Argument "loss"
PLMMaskedLM(None, n_layers=2, width=64, epochs=1.5)
PLMMaskedLM("mini", epochs="1")  # E: Argument "epochs"

# Methods know their parameters and what they return.
reveal_type(PLMLoRAClassifier("mini").predict_proba(X))  # N: numpy.ndarray
reveal_type(PLMRegressor("mini").predict(X))  # N: numpy.ndarray
PLMLoRAClassifier("mini").fit(X, y, X_val=X, y_val=y)
PLMLoRAClassifier("mini").fit(X, y, X_test=X)  # E: Unexpected keyword argument "X_test"
PLMLoRAClassifier("mini").predict_probability(X)  # E: has no attribute "predict_probability"

# Functions, and classes of the packages.
reveal_type(save(PLMEmbedder("mini"), "folder"))  # N: Path
load("folder")
load(folder=3)  # E: Argument "folder"
download_backbone("mini", "folder")
check_sequences(X, invalid="replace")
check_sequences(X, invalids="replace")  # E: Unexpected keyword argument "invalids"
ClusterKFold(5, min_identity=0.3)
ClusterKFold(5, identity=0.3)  # E: Unexpected keyword argument "identity"
reveal_type(compare({"lora": PLMLoRAClassifier("mini")}, X, y, cv=5))  # N: Comparison
plmlearn.cache.limit(memory=2.0)
plmlearn.cache.limit(memory="2 GB")  # E: Argument "memory"
LoRA(rank=8, target_modules=("query", "value"))
LoRA(rank=8, targets=("query", "value"))  # E: Unexpected keyword argument "targets"

# Choices: a value that a parameter does not know is an error (extend with each parameter of a Literal type).
