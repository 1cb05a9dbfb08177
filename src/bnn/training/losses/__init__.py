"""What a step of training minimises. A loss of your own: one file, one import here."""

from bnn.training.losses.attention import AttentionLoss
from bnn.training.losses.base import LOSSES, Loss, LossInputs
from bnn.training.losses.bnn_plus import BNNPlusLoss
from bnn.training.losses.cross_entropy import CrossEntropyLoss
from bnn.training.losses.distribution import DistributionLoss
from bnn.training.losses.logit_kd import LogitKDLoss
from bnn.training.losses.weighted import WeightedLosses

__all__ = [
    "LOSSES",
    "AttentionLoss",
    "BNNPlusLoss",
    "CrossEntropyLoss",
    "DistributionLoss",
    "LogitKDLoss",
    "Loss",
    "LossInputs",
    "WeightedLosses",
]
