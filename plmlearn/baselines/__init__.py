"""What a tuned language model has to beat, as scikit-learn estimators, and a fair comparison with it.

``HomologyClassifier``, ``HomologyRegressor``            the nearest training protein
``AdditiveMutationRegressor``                            effects of mutations, and of pairs of them
``AugmentedRidge``                                       residues at the sites, and zero-shot scores
``PositionMeanRegressor``                                the site alone
``gaussian_process``                                     a Gaussian process on any features
``CompositionVectorizer``                                amino acids, words, one-hot, BLOSUM62, z-scales
``ResiduePropensityClassifier``, ...                     residues by their amino acid
``PairDegreeClassifier``, ``PairSimilarityClassifier``   pairs by counting, or by interacting relatives
``floors``                                               those that suit a task
``compare``                                              all on the same folds, with corrected tests
"""

from .augmented import AugmentedRidge
from .comparison import Comparison, compare
from .composition import CompositionVectorizer
from .floors import floors
from .gaussian import gaussian_process
from .homology import HomologyClassifier, HomologyRegressor
from .interactions import PairDegreeClassifier, PairSimilarityClassifier
from .mutations import AdditiveMutationRegressor
from .positions import PositionMeanRegressor
from .propensities import ResiduePropensityClassifier, ResiduePropensityRegressor

__all__ = [
    "AdditiveMutationRegressor",
    "AugmentedRidge",
    "Comparison",
    "CompositionVectorizer",
    "HomologyClassifier",
    "HomologyRegressor",
    "PairDegreeClassifier",
    "PairSimilarityClassifier",
    "PositionMeanRegressor",
    "ResiduePropensityClassifier",
    "ResiduePropensityRegressor",
    "compare",
    "floors",
    "gaussian_process",
]
