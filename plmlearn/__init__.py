"""plmlearn: fine-tune protein language models with scikit-learn's ``fit`` and ``predict``.

Names load when they are first used, so importing the package costs nothing and imports no torch.
"""

from importlib import import_module

_HOMES = {
    "PLMClassifier": "estimators.protein",
    "PLMRegressor": "estimators.protein",
    "PLMLoRAClassifier": "estimators.protein",
    "PLMLoRARegressor": "estimators.protein",
    "PLMPairClassifier": "estimators.pair",
    "PLMPairRegressor": "estimators.pair",
    "PLMFrozenMLP": "estimators.frozen",
    "PLMFrozenMLPRegressor": "estimators.frozen",
    "PLMResidueClassifier": "estimators.residue",
    "PLMResidueRegressor": "estimators.residue",
    "PLMSignalPeptideClassifier": "estimators.signal_peptides",
    "PLMEmbedder": "estimators.embedder",
    "PLMMaskedLM": "pretraining",
    "download_backbone": "backbones",
    "save": "persistence",
    "load": "persistence",
    "SavedModelError": "persistence",
}
_MODULES = (
    "adapters",
    "backbones",
    "baselines",
    "cache",
    "datasets",
    "metrics",
    "model_selection",
    "pretraining",
    "presets",
    "sequences",
)

__version__ = "0.1.0"
__all__ = [*_HOMES, *_MODULES]


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
