"""What a tuned language model has to beat, as scikit-learn estimators, and a fair comparison with it.

``HomologyClassifier``, ``HomologyRegressor``            the nearest training protein
``AdditiveMutationRegressor``                            effects of mutations, and of pairs of them
``CompositionVectorizer``                                amino acids, words, one-hot, BLOSUM62
``PairDegreeClassifier``, ``PairSimilarityClassifier``   pairs by counting, or by interacting relatives
``compare``                                              all on the same folds, with corrected tests
"""

from .comparison import Comparison, compare
from .composition import CompositionVectorizer
from .homology import HomologyClassifier, HomologyRegressor
from .interactions import PairDegreeClassifier, PairSimilarityClassifier
from .mutations import AdditiveMutationRegressor

__all__ = [
    "AdditiveMutationRegressor",
    "Comparison",
    "CompositionVectorizer",
    "HomologyClassifier",
    "HomologyRegressor",
    "PairDegreeClassifier",
    "PairSimilarityClassifier",
    "compare",
]
