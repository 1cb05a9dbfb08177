"""Data sets: one entry each in :data:`DATASETS`, from bundled arrays or from folders."""

from bnn.training.data import arrays, folders  # noqa: F401 - they register their data sets
from bnn.training.data.registry import DATASETS, DataEntry, DataSplits, load_data

__all__ = ["DATASETS", "DataEntry", "DataSplits", "load_data"]
