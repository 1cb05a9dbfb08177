"""Train networks on Lightning's Trainer, float or step by step as a recipe says.

Nothing here is imported by ``import bnn``, and ``import bnn.training`` imports neither lightning
nor a data set's library: each name below is looked up when it is first used. What needs the extra
``train`` says so if it is missing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from bnn.training.extras import needs_extra

if TYPE_CHECKING:
    from bnn.training.callbacks import EpochRecord as EpochRecord
    from bnn.training.callbacks import EpochSeed as EpochSeed
    from bnn.training.checkpoint import Loaded, load_checkpoint
    from bnn.training.config import TrainConfig
    from bnn.training.data import DATASETS, DataEntry, DataSplits, load_data
    from bnn.training.evaluation import EvalResult, evaluate
    from bnn.training.latent import binary_weight_signs, clamp_latent_weights_, flip_rate
    from bnn.training.module import Classifier as Classifier
    from bnn.training.plots import plot_history
    from bnn.training.run import FitResult, fit

_HOME = {
    "Classifier": "module",
    "EpochRecord": "callbacks",
    "EpochSeed": "callbacks",
    "DATASETS": "data",
    "DataEntry": "data",
    "DataSplits": "data",
    "EvalResult": "evaluation",
    "FitResult": "run",
    "Loaded": "checkpoint",
    "TrainConfig": "config",
    "binary_weight_signs": "latent",
    "clamp_latent_weights_": "latent",
    "evaluate": "evaluation",
    "fit": "run",
    "flip_rate": "latent",
    "load_checkpoint": "checkpoint",
    "load_data": "data",
    "plot_history": "plots",
}

# Classifier, EpochRecord and EpochSeed, for a Trainer of your own, need lightning: a star import
# leaves them out.
__all__ = [
    # run
    "TrainConfig",
    "fit",
    "FitResult",
    "evaluate",
    "EvalResult",
    "load_checkpoint",
    "Loaded",
    "plot_history",
    # data
    "DATASETS",
    "DataEntry",
    "DataSplits",
    "load_data",
    # latent weights
    "binary_weight_signs",
    "clamp_latent_weights_",
    "flip_rate",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with needs_extra("train", f"{__name__}.{name}"):
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
