"""What a tuned language model has to beat, as scikit-learn estimators, and a fair comparison with it.

``HomologyClassifier``, ``HomologyRegressor``            the nearest training protein
``AdditiveMutationRegressor``                            effects of mutations, and of pairs of them
``CompositionVectorizer``                                amino acids, words, one-hot, BLOSUM62
``ResiduePropensityClassifier``, ...                     residues by their amino acid
``PairDegreeClassifier``, ``PairSimilarityClassifier``   pairs by counting, or by interacting relatives
``floors``                                               those that suit a task
``compare``                                              all on the same folds, with corrected tests
"""

from .comparison import Comparison, compare
from .composition import CompositionVectorizer
from .floors import floors
from .homology import HomologyClassifier, HomologyRegressor
from .interactions import PairDegreeClassifier, PairSimilarityClassifier
from .mutations import AdditiveMutationRegressor
from .propensities import ResiduePropensityClassifier, ResiduePropensityRegressor

__all__ = [
    "AdditiveMutationRegressor",
    "Comparison",
    "CompositionVectorizer",
    "HomologyClassifier",
    "HomologyRegressor",
    "PairDegreeClassifier",
    "PairSimilarityClassifier",
    "ResiduePropensityClassifier",
    "ResiduePropensityRegressor",
    "compare",
    "floors",
]
