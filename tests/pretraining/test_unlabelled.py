"""What is held out of sequences without targets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import ShuffleSplit

from plmlearn.model_selection.holdout import join_labels
from plmlearn.pretraining.unlabelled import Unlabelled


def unlabelled(sequences, groups=None):
    return Unlabelled(np.array(sequences, dtype=object), None if groups is None else np.array(groups))


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(st.tuples(st.sampled_from("ACDEFGHIK"), st.integers(0, 9)), min_size=6, max_size=40),
    seed=st.integers(0, 99),
)
def test_no_group_and_no_sequence_is_on_both_sides(rows, seed):
    """A sequence in two groups was once on both."""
    sequences, groups = zip(*rows)
    data = unlabelled(sequences, groups)
    if len(set(join_labels(groups, sequences))) == 1:
        with pytest.raises(ValueError, match="groups that share no sequence out, and there is 1 in all"):
            data.split(0.3, seed)
        return
    kept, out = data.split(0.3, seed)
    assert sorted([*kept, *out]) == list(range(len(rows)))
    assert len(kept) > 0
    assert len(out) > 0
    for labels in (data.sequences, data.groups):
        assert not set(labels[kept]) & set(labels[out])


@pytest.mark.parametrize("seed", range(10))
def test_the_share_is_of_rows_not_of_groups(seed):
    sequences = ["A" * (i + 1) for i in range(100)]
    _, out = unlabelled(sequences, [0] * 60 + list(range(1, 41))).split(0.1, seed)
    assert len(out) == 10


def test_distinct_sequences_are_drawn_as_by_scikit_learn():
    sequences = ["A" * (i + 1) for i in range(50)]
    kept, out = unlabelled(sequences).split(0.2, 3)
    expected = next(ShuffleSplit(1, test_size=0.2, random_state=3).split(sequences))
    assert [kept.tolist(), out.tolist()] == [sorted(side) for side in expected]
