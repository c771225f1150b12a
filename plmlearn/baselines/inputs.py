"""``SequenceInput``: a mixin that tells scikit-learn that an estimator's X holds sequences."""

from typing import Any


class SequenceInput:
    """X holds one sequence per row: a list, array or Series of str."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.one_d_array, tags.input_tags.two_d_array, tags.input_tags.string = True, False, True
        return tags
