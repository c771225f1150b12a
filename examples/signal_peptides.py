"""Signal peptides
===============

Type, regions and cleavage site, and a figure of one protein."""

import numpy as np
from sklearn.model_selection import train_test_split

from plmlearn import PLMSignalPeptideClassifier
from plmlearn.adapters import LoRA
from plmlearn.datasets import fetch_signal_peptides
from plmlearn.metrics import cleavage_recall, signal_peptide_table
from plmlearn.plotting import ResidueDisplay


def draw_proteins(n: int) -> tuple[np.ndarray, ...]:
    """Textbook protein starts: positive charges, a hydrophobic stretch, AxA before the cleavage site."""
    rng = np.random.default_rng(0)
    endings = {"SP": ("ASAQA", "S"), "LIPO": ("LLAG", "L"), "NO_SP": ("", "")}
    kinds, X, regions = np.array(list(endings))[np.arange(n) % 3], [], []
    for ending, letter in map(endings.get, kinds):
        core = "".join(rng.choice(list("LLAVIF"), rng.integers(9, 14)))
        signal = "MK" + "".join(rng.choice(list("KRST"), 3)) + core + ending if ending else "M"
        tail = "".join(rng.choice(list("DEKNQSTGPYW"), 70))
        X.append((signal + "C" * (letter == "L") + tail)[:70])
        regions.append((letter * len(signal) + "O" * 70 if letter else "I" * 70)[:70])
    return np.array(X), kinds, np.array(regions)


# %%
# Real proteins if the data home has them (see plmlearn.datasets.get_data_home), otherwise generated ones.
try:
    data = fetch_signal_peptides(download_if_missing=False)
    rows = np.flatnonzero(data.kingdom == "NEGATIVE")[::7]
    source, X, y, regions = "SignalP 6", data.data[rows], data.type[rows], data.labels[rows]
except FileNotFoundError:
    source, (X, y, regions) = "generated", draw_proteins(150)
X, X_test, y, y_test, regions, regions_test = train_test_split(X, y, regions, random_state=0)
print(f"{len(X)} {source} proteins for training, {len(X_test)} for testing")

clf = PLMSignalPeptideClassifier("mini", adapter=LoRA(last_n_layers=2), epochs=8, random_state=0, verbose=0)
found = clf.fit(X, y, regions=regions).predict_regions(X_test)
for row in signal_peptide_table(y_test, clf.predict(X_test), regions_test, found):
    print(f"{row['type']:8}{row['n']:4} proteins   MCC {row['mcc2']:5.2f}   sites {row['recall_0']:.2f}")
print(f"cleavage sites found within 3 residues: {cleavage_recall(regions_test, found, tolerance=3):.2f}")

# %%
row = int(np.argmax(clf.predict_proba(X_test)[:, list(clf.classes_).index("SP")]))
display = ResidueDisplay.from_estimator(clf, X_test[row], y_true=regions_test[row])
display.figure_.savefig("signal_peptide.png", dpi=150)
