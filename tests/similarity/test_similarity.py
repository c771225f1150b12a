"""Similar proteins: exact alignment against a slow oracle, MMseqs2 against exact alignment."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plmlearn.baselines import HomologyClassifier, PairSimilarityClassifier
from plmlearn.model_selection import ClusterKFold, cluster_sequences, leakage_report
from plmlearn.similarity import alignment, find_mmseqs, find_nearest, find_similar, mmseqs
from plmlearn.similarity.blosum import BLOSUM62, RESIDUE_TYPES, encode

needs_mmseqs = pytest.mark.skipif(find_mmseqs() is None, reason="MMseqs2 is not installed")
proteins = st.text("ACDEFGHIKLMNPQRSTVWY", min_size=1, max_size=12)


def families(n_families=6, n_members=4, length=120, kept=0.6, seed=0):
    """Random proteins, and relatives of them with substitutions and one deletion."""
    random = np.random.default_rng(seed)
    letters, out = np.array(list("ACDEFGHIKLMNPQRSTVWY")), []
    for _ in range(n_families):
        parent = random.choice(letters, length)
        for _ in range(n_members):
            child = np.where(random.random(length) < kept, parent, random.choice(letters, length))
            cut = random.integers(10, length - 10)
            out.append("".join(np.delete(child, slice(cut, cut + random.integers(0, 6)))))
    return np.array(out, dtype=object)


def slow_score(a, b):
    """Smith-Waterman with affine gaps by Gotoh's three matrices, cell by cell."""
    rows, columns = len(a) + 1, len(b) + 1
    ended, right, down = (np.full((rows, columns), -1e9) for _ in range(3))
    ended[0], ended[:, 0] = 0, 0
    for i in range(1, rows):
        for j in range(1, columns):
            right[i, j] = max(ended[i, j - 1] - 11, right[i, j - 1] - 1)
            down[i, j] = max(ended[i - 1, j] - 11, down[i - 1, j] - 1)
            pair = BLOSUM62[RESIDUE_TYPES.index(a[i - 1]), RESIDUE_TYPES.index(b[j - 1])]
            ended[i, j] = max(0, ended[i - 1, j - 1] + pair, right[i, j], down[i, j])
    return ended.max()


@settings(max_examples=40, deadline=None)
@given(proteins, st.lists(proteins, min_size=1, max_size=4))
def test_scores_equal_gotohs(query, targets):
    profile = alignment._Profile([encode(target) for target in targets])
    scores = alignment._fill(encode(query), profile.scores, 1, 0, 0)
    assert scores.tolist() == [slow_score(query, target) for target in targets]


def test_scores_with_gaps_equal_gotohs():
    first = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ"
    others = [first[:12] + first[15:], first[:9] + "GGSGG" + first[9:], first[::-1]]
    profile = alignment._Profile([encode(target) for target in others])
    scores = alignment._fill(encode(first), profile.scores, 1, 0, 0)
    assert scores.tolist() == [slow_score(first, other) for other in others]


def test_counts_of_an_alignment_known_by_hand():
    query = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ"
    deletion, mutated = query[:12] + query[15:], query[:20] + "W" + query[21:]
    hits = find_similar([query], ["PPPP" + mutated, deletion], method="exact")
    assert hits.target.tolist() == [0, 1]
    assert hits.identity == pytest.approx([32 / 33, 30 / 33])
    assert hits.query_coverage.tolist() == [1, 1]
    assert hits.target_coverage == pytest.approx([33 / 37, 1])


def test_a_list_with_itself_equals_the_list_with_a_copy():
    X = families(4, 3, 60)
    itself, copy = find_similar(X, X, method="exact"), find_similar(X, X.copy(), method="exact")
    assert itself.query.tolist() == copy.query.tolist()
    assert itself.identity == pytest.approx(copy.identity)
    assert itself.target_coverage == pytest.approx(copy.target_coverage)


@pytest.mark.parametrize("min_identity, coverage", [(0.3, 0.8), (0.5, 0.5), (0.9, 0.0)])
def test_limits_hold(min_identity, coverage):
    X = families(4, 4, 80)
    everything = find_similar(X, X.copy(), method="exact")
    hits = find_similar(X, X, min_identity=min_identity, coverage=coverage, method="exact")
    enough = (everything.identity >= min_identity) & (everything.query_coverage >= coverage)
    enough &= everything.target_coverage >= coverage
    lengths = np.array([len(x) for x in X])
    lengths = lengths[everything.query] / lengths[everything.target]
    enough &= np.minimum(lengths, 1 / lengths) >= coverage
    assert set(zip(hits.query, hits.target)) == set(zip(everything.query[enough], everything.target[enough]))


def test_cost_counts_the_cells():
    X = families(3, 3, 50)
    pairs = [(len(a), len(b)) for a in X for b in X]
    cells = sum(a * b for a, b in pairs if min(a, b) >= 0.97 * max(a, b))
    assert alignment.alignment_cost(X, X, 0.97) == pytest.approx(cells)


@needs_mmseqs
def test_mmseqs_finds_what_exact_alignment_finds():
    # At 56 % identity its prefilter, which looks for similar words, misses nothing.
    X = families(kept=0.75)
    limits = {"min_identity": 0.3, "coverage": 0.8}
    exact = find_similar(X, X, method="exact", **limits)
    found = find_similar(X, X, method="mmseqs", **limits)
    identities = dict(zip(zip(exact.query, exact.target), exact.identity))
    close = dict(zip(zip(found.query, found.target), found.identity))
    assert len(identities) > len(X)
    assert identities.keys() == close.keys()
    assert max(abs(identities[pair] - close[pair]) for pair in close) < 0.05


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(0, 10**6))
def test_positions_by_hand(length, seed):
    random = np.random.default_rng(seed)
    X = ["".join(row) for row in random.choice(list("ACD"), (7, length))]
    identity, scores = alignment.compare_positions(X[:3], X[3:])
    for i, query in enumerate(X[:3]):
        for j, target in enumerate(X[3:]):
            assert identity[i, j] == pytest.approx(np.mean([a == b for a, b in zip(query, target)]))
            assert scores[i, j] == BLOSUM62[encode(query), encode(target)].sum()


def test_nearest_variant_and_its_ties():
    hits = find_nearest(["MKVLA", "AAAAA"], ["MKVLG", "MKVAA", "GGGGG", "GAAAA"], method="hamming")
    assert hits.query.tolist() == [0, 0, 1]
    assert hits.target.tolist() == [0, 1, 3]
    assert hits.identity == pytest.approx([0.8, 0.8, 0.8])


def test_nearest_variant_by_substitution_scores():
    variants = ["MKVLLL", "MKVLLD", "MKVLLE"]
    hits = find_nearest(["MKVLLI", "MKVLLN"], variants)
    assert hits.target.tolist() == [0, 1]
    assert hits.identity == pytest.approx([5 / 6, 5 / 6])


def test_the_nearest_of_a_protein_does_not_depend_on_the_other_queries():
    rng = np.random.default_rng(0)
    wild = rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 60)
    variants = [np.where(rng.random(60) < 0.1, rng.choice(list("ACDEFGHIKL"), 60), wild) for _ in range(40)]
    variants = ["".join(variant) for variant in variants]
    targets, queries = variants[:30], [*variants[30:], variants[0][:30] + variants[0][31:], variants[3][5:]]
    unrelated = "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 60))
    queries = [unrelated, *queries]
    together = find_nearest(queries, targets)
    assert (np.diff(together.query) >= 0).all()
    for row, query in enumerate(queries):
        alone = find_nearest([query], targets)
        hits = together.take(together.query == row)
        for name in ("target", "identity", "score", "query_coverage", "target_coverage"):
            np.testing.assert_array_equal(getattr(hits, name), getattr(alone, name))
        kind = "ungapped" if len(query) == 60 else "auto"
        assert hits.target.tolist() == find_nearest([query], targets, method=kind).target.tolist()


@pytest.mark.parametrize("n", [2, 3])
def test_few_unrelated_proteins_of_one_length_are_aligned(n):
    rng = np.random.default_rng(1)
    targets = ["".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 60)) for _ in range(n)]
    assert len(find_nearest(["".join(rng.choice(list("ACDEFGHIKL"), 60))], targets, method="auto")) == 0


@pytest.mark.parametrize("method", ["exact", "mmseqs"])
def test_identical_proteins_are_hits_however_short_or_simple(method):
    if method == "mmseqs" and find_mmseqs() is None:
        pytest.skip("MMseqs2 is not installed")
    X = ["MKV", "A" * 40, "MKV", "GHKLM"]
    hits = find_similar(X, X, method=method)
    pairs = set(zip(hits.query.tolist(), hits.target.tolist()))
    assert pairs == {(0, 0), (0, 2), (2, 0), (2, 2), (1, 1), (3, 3)}
    assert hits.identity.tolist() == [1] * 6


@needs_mmseqs
def test_no_limit_hides_targets_that_tie():
    """All of 350 hold the query; 300 were looked at once."""
    random = np.random.default_rng(0)
    query, *tails = ("".join(random.choice(list("ACDEFGHIKLMNPQRSTVWY"), n)) for n in [50, *[6] * 350])
    targets = [query + tail for tail in tails]
    nearest = find_nearest([query], targets, method="mmseqs")
    assert nearest.target.tolist() == list(range(350))
    assert len(find_similar([query], targets, method="mmseqs")) == 350
    with pytest.warns(UserWarning, match="1 of 1 queries have more than max_hits=300 candidates"):
        assert len(find_similar([query], targets, max_hits=300, method="mmseqs")) == 300


@needs_mmseqs
def test_mmseqs_finds_repeats():
    assert set(find_similar(["ACDT" * 30], ["ACDT" * 29], method="mmseqs").target) == {0}


def test_nearest_by_alignment_skips_strangers():
    X = families(3, 2, 80)
    hits = find_nearest(X[:4], X[[1, 5]], method="exact")
    assert hits.query.tolist() == [0, 1]
    assert hits.target.tolist() == [0, 0]


def test_hamming_wants_one_length():
    with pytest.raises(ValueError, match="5 to 6 residues"):
        find_nearest(["MKVLA"], ["MKVLAG"], method="hamming")


def test_exact_alignment_refuses_giants():
    with pytest.raises(ValueError, match="4000 residues; exact alignment takes up to"):
        find_similar(["A" * 4000], ["A" * 30], method="exact")


def test_unknown_method():
    with pytest.raises(ValueError, match=r"'method' parameter .* Got 'blast'"):
        find_similar(["MKV"], ["MKV"], method="blast")


@pytest.fixture
def no_mmseqs(monkeypatch):
    monkeypatch.setattr(mmseqs.shutil, "which", lambda name: None)
    monkeypatch.setattr(mmseqs.importlib.util, "find_spec", lambda name: None)


@pytest.mark.usefixtures("no_mmseqs")
def test_without_mmseqs_the_message_says_how_to_get_it(monkeypatch):
    with pytest.raises(ImportError, match=r'pip install "plmlearn\[cluster\]"'):
        find_similar(["MKV"], ["MKV"], method="mmseqs")
    X = families(1, 3, 60)
    assert len(find_similar(X, X)) == len(find_similar(X, X, method="exact")) > 0
    monkeypatch.setattr("plmlearn.similarity.search._MAX_CELLS", 10)
    with pytest.raises(ImportError, match="MMseqs2 was found neither"):
        find_similar(X, X)


def test_the_program_of_the_wheel_is_found(monkeypatch, tmp_path):
    program = tmp_path / "bin" / "mmseqs"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho out of luck >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(mmseqs.shutil, "which", lambda name: None)
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    monkeypatch.setattr(mmseqs.importlib.util, "find_spec", lambda name: spec)
    assert find_mmseqs() == str(program)
    with pytest.raises(RuntimeError, match=r"(?s)exit status 3 .*out of luck"):
        find_similar(["MKV"], ["MKV"], method="mmseqs")


@pytest.fixture
def fake_mmseqs(monkeypatch, tmp_path):
    """A function that puts a program named mmseqs, made of shell commands, first on PATH."""

    def put(commands):
        program = tmp_path / "mmseqs"
        program.write_text("#!/bin/sh\n" + commands)
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        return str(program)

    return put


USERS_OF_MMSEQS = {
    "find_similar": lambda X: find_similar(X, X),
    "find_nearest": lambda X: find_nearest(X, X),
    "cluster_sequences": cluster_sequences,
    "ClusterKFold": lambda X: list(ClusterKFold(2).split(X)),
    "leakage_report": lambda X: leakage_report(X, X),
    "HomologyClassifier": lambda X: HomologyClassifier().fit(X, range(len(X))).predict(X),
    "PairSimilarityClassifier": lambda X: (
        PairSimilarityClassifier().fit([X[:2]] * 2, [0, 1]).predict([X[:2]])
    ),
}


@pytest.mark.parametrize("use", USERS_OF_MMSEQS.values(), ids=USERS_OF_MMSEQS)
def test_a_failing_mmseqs_is_quoted_with_the_way_out(fake_mmseqs, use):
    program = fake_mmseqs(
        "for i in 1 2 3 4 5 6 7 8 9; do echo line $i >&2; done\necho disk full >&2\nexit 1\n"
    )
    assert find_mmseqs() == program
    with pytest.raises(RuntimeError) as error:
        use(families(2, 2, 40))
    lines = str(error.value).splitlines()
    assert lines[0].startswith("MMseqs2 failed with exit status 1")
    assert lines[1].strip().startswith(f"{program} createdb ")
    assert lines[2:] == [
        "and said",
        *(f"line {i}" for i in range(3, 10)),
        "disk full",
        'Pass method="exact" to do without it.',
    ]


def test_an_mmseqs_without_output_is_named(fake_mmseqs):
    program = fake_mmseqs("exit 0\n")
    with pytest.raises(RuntimeError, match=rf'{program} reported success but wrote no table.*"exact"'):
        find_similar(["MKV"], ["MKV"])


def test_an_mmseqs_that_cannot_be_started_is_named(fake_mmseqs, tmp_path):
    program = fake_mmseqs("")
    (tmp_path / "mmseqs").write_text("#!/no/such/shell\n")
    with pytest.raises(RuntimeError, match=rf"MMseqs2 at {program} could not be started: .* Reinstall it"):
        find_similar(["MKV"], ["MKV"])
