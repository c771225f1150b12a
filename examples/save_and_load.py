"""Save and load
=============

Pickle, joblib, or a folder whose adapter plain peft reads."""

import pickle
import tempfile
from pathlib import Path

import joblib
import matplotlib.pyplot as plt
import numpy as np
import peft
import transformers

from plmlearn import PLMLoRAClassifier, download_backbone, load, save
from plmlearn.datasets import fetch_signal_peptides, make_protein_classification

# %%
# Real proteins if the data home has them (see plmlearn.datasets.get_data_home), otherwise generated ones.
try:
    proteins = fetch_signal_peptides(task="type", download_if_missing=False)
    source, bacterial = "SignalP 6", np.flatnonzero(proteins.kingdom == "NEGATIVE")[::25]
    X, y = proteins.data[bacterial], proteins.target[bacterial] != "NO_SP"
except FileNotFoundError:
    source = "generated"
    X, y = make_protein_classification(100, median_length=50, max_length=70, random_state=0)

clf = PLMLoRAClassifier("mini", epochs=2, random_state=0, verbose=0).fit(X, y)
expected = clf.predict_proba(X[:5])
print(f"fitted on {len(X)} {source} proteins; {clf.n_parameters_:,} parameters with the backbone")

# %%
# A fitted estimator contains only the trained tensors. The backbone is loaded again by its name.
pickled = pickle.dumps(clf)
print(f"pickle: {len(pickled) / 1e6:.1f} MB")
assert np.array_equal(pickle.loads(pickled).predict_proba(X[:5]), expected)

with tempfile.TemporaryDirectory() as folder:
    home = Path(folder)
    joblib.dump(clf, home / "clf.joblib")
    assert np.array_equal(joblib.load(home / "clf.joblib").predict_proba(X[:5]), expected)
    save(clf, home / "clf")  # JSON and safetensors cannot execute code, so they are safe to share
    assert np.array_equal(load(home / "clf").predict_proba(X[:5]), expected)
    print("save:", ", ".join(sorted(path.name for path in (home / "clf").iterdir())))
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    download_backbone("mini", home / "mini")
    encoder = transformers.EsmModel.from_pretrained(home / "mini", add_pooling_layer=False)
    adapted = peft.PeftModel.from_pretrained(encoder, home / "clf")
    n_adapter = sum(p.numel() for name, p in adapted.named_parameters() if ".lora_" in name)
    print(f"plain peft loads the adapter: {n_adapter:,} parameters")
    sizes = [sum(file.stat().st_size for file in (home / at).iterdir()) for at in ("mini", "clf")]

# %%
# The backbone is not saved; larger ones outweigh what is trained on them far more.
figure, ax = plt.subplots(figsize=(6, 2.5), layout="constrained")
ax.barh(["backbone", "saved", "pickled"], [size / 1e6 for size in (*sizes, len(pickled))], color="#0072B2")
ax.set(xlabel="megabytes", title="A model and its backbone")
figure.savefig("save_and_load.png", dpi=120)
