"""Predictions and embeddings of files of any size, on one machine or on a cluster.

``map_batches``   files in partitions, results in a folder, a run that was interrupted goes on

Workers are those of dask: ``pip install "plmlearn[dask]"``.
"""

from .batches import map_batches

__all__ = ["map_batches"]
