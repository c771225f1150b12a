"""What every splitter is."""

from sklearn.model_selection import BaseCrossValidator


class Splitter(BaseCrossValidator):
    """A scikit-learn splitter; a class between theirs and ours lets type checkers see our parameters."""
