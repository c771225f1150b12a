"""Predict files on a cluster
==========================

Search on workers of dask, then predict files of any size in partitions; start it again and it goes on."""

import tempfile
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from distributed import Client, LocalCluster
from sklearn.model_selection import GridSearchCV

from plmlearn import PLMLoRAClassifier
from plmlearn.datasets import fetch_signal_peptides, make_protein_classification
from plmlearn.distributed import map_batches


def main() -> None:
    # Real proteins if the data home has them (see plmlearn.datasets.get_data_home), otherwise generated ones.
    try:
        proteins = fetch_signal_peptides(task="type", download_if_missing=False)
        drawn = np.random.default_rng(0).permutation(len(proteins.data))[:200]
        source, X, y = "SignalP 6", proteins.data[drawn], proteins.target[drawn] != "NO_SP"
    except FileNotFoundError:
        source = "generated"
        X, y = make_protein_classification(200, median_length=50, max_length=70, random_state=0)
    print(f"{len(X)} {source} proteins")

    # Two worker processes on this machine. On a cluster only this line is another one:
    # ``SLURMCluster(...)`` of dask-jobqueue, or ``Client("tcp://scheduler:8786")``.
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster):
        model = PLMLoRAClassifier("mini", last_n_layers=1, epochs=2, random_state=0, verbose=0)
        search = GridSearchCV(model, {"rank": [2, 8]}, cv=2, scoring="matthews_corrcoef")
        with joblib.parallel_config("dask"):
            search.fit(X[:100], y[:100])
        print(f"best rank: {search.best_params_['rank']}, MCC {search.best_score_:.2f}")

        # A file in partitions of 25 records. Each worker loads the backbone once.
        with tempfile.TemporaryDirectory() as home:
            path, out = Path(home, "proteins.fasta"), Path(home, "predicted")
            path.write_text("".join(f">P{i}\n{sequence}\n" for i, sequence in enumerate(X)))
            settings = {"method": "predict_proba", "partition_size": 25}
            found = map_batches(search.best_estimator_, path, out, **settings)
            print(f"{found.n_computed} partitions computed")

            # What is there is not computed again.
            found.parts[0].unlink()
            print(f"{map_batches(search.best_estimator_, path, out, **settings).n_computed} computed again")
            print(pd.read_parquet(out).drop(columns="source").head())


if __name__ == "__main__":  # worker processes import this file
    main()
