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
    from bnn.training.averaging import WeightAverage
    from bnn.training.batch_norm import reestimate_batch_norm_
    from bnn.training.callbacks import EpochProgress as EpochProgress
    from bnn.training.callbacks import EpochRecord as EpochRecord
    from bnn.training.callbacks import EpochSeed as EpochSeed
    from bnn.training.checkpoint import Loaded, load_checkpoint
    from bnn.training.config import TrainConfig
    from bnn.training.data import DATASETS, DataEntry, DataSplits, load_data
    from bnn.training.evaluation import EvalResult, evaluate
    from bnn.training.features import FeatureTap
    from bnn.training.histograms import LayerHistograms as LayerHistograms
    from bnn.training.latent import binary_weight_signs, clamp_latent_weights_, flip_rate
    from bnn.training.losses import (
        LOSSES,
        AttentionLoss,
        BNNPlusLoss,
        CrossEntropyLoss,
        DistributionLoss,
        LogitKDLoss,
        Loss,
        LossInputs,
        WeightedLosses,
    )
    from bnn.training.metrics import SignBalance, saturated_share
    from bnn.training.module import Classifier as Classifier
    from bnn.training.networks import with_recipe_network
    from bnn.training.optimizers import (
        OPTIMIZERS,
        PARAMETER_RULES,
        Bop,
        CaseOptimizer,
        OptimizerCase,
        make_optimizer,
    )
    from bnn.training.plots import plot_history
    from bnn.training.run import FitResult, fit
    from bnn.training.schedules import SCHEDULES, Schedule, make_scheduler
    from bnn.training.teacher import Teacher, load_teacher

_HOME = {
    "WeightAverage": "averaging",
    "reestimate_batch_norm_": "batch_norm",
    "EpochProgress": "callbacks",
    "EpochRecord": "callbacks",
    "EpochSeed": "callbacks",
    "Loaded": "checkpoint",
    "load_checkpoint": "checkpoint",
    "TrainConfig": "config",
    "DATASETS": "data",
    "DataEntry": "data",
    "DataSplits": "data",
    "load_data": "data",
    "EvalResult": "evaluation",
    "evaluate": "evaluation",
    "FeatureTap": "features",
    "LayerHistograms": "histograms",
    "binary_weight_signs": "latent",
    "clamp_latent_weights_": "latent",
    "flip_rate": "latent",
    "AttentionLoss": "losses",
    "BNNPlusLoss": "losses",
    "CrossEntropyLoss": "losses",
    "DistributionLoss": "losses",
    "LOSSES": "losses",
    "LogitKDLoss": "losses",
    "Loss": "losses",
    "LossInputs": "losses",
    "WeightedLosses": "losses",
    "SignBalance": "metrics",
    "saturated_share": "metrics",
    "Classifier": "module",
    "with_recipe_network": "networks",
    "Bop": "optimizers",
    "CaseOptimizer": "optimizers",
    "OPTIMIZERS": "optimizers",
    "OptimizerCase": "optimizers",
    "PARAMETER_RULES": "optimizers",
    "make_optimizer": "optimizers",
    "plot_history": "plots",
    "FitResult": "run",
    "fit": "run",
    "SCHEDULES": "schedules",
    "Schedule": "schedules",
    "make_scheduler": "schedules",
    "Teacher": "teacher",
    "load_teacher": "teacher",
}

# Classifier, EpochProgress, EpochRecord, EpochSeed and LayerHistograms, for a Trainer of your own,
# need lightning: a star import leaves them out.
__all__ = [
    # run
    "TrainConfig",
    "with_recipe_network",
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
    # optimizers and schedules
    "OPTIMIZERS",
    "PARAMETER_RULES",
    "OptimizerCase",
    "make_optimizer",
    "Bop",
    "CaseOptimizer",
    "SCHEDULES",
    "Schedule",
    "make_scheduler",
    # losses
    "LOSSES",
    "Loss",
    "LossInputs",
    "WeightedLosses",
    "CrossEntropyLoss",
    "DistributionLoss",
    "LogitKDLoss",
    "AttentionLoss",
    "BNNPlusLoss",
    # teacher
    "Teacher",
    "load_teacher",
    "FeatureTap",
    # after training
    "WeightAverage",
    "reestimate_batch_norm_",
    # latent weights and signs
    "binary_weight_signs",
    "clamp_latent_weights_",
    "flip_rate",
    "saturated_share",
    "SignBalance",
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
