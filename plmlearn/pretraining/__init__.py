"""Masked-language-model training as an estimator.

``PLMMaskedLM``   learn from sequences alone; likelihoods, effects of mutations, embeddings, checkpoints
"""

from .estimator import PLMMaskedLM

__all__ = ["PLMMaskedLM"]
