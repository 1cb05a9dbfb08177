"""Which optimizer trains which parameters. An optimizer of your own: one file, one line here."""

import torch

from bnn.training.optimizers.bop import Bop
from bnn.training.optimizers.case import CaseOptimizer
from bnn.training.optimizers.make import OPTIMIZERS, OptimizerCase, make_optimizer
from bnn.training.optimizers.rules import PARAMETER_RULES, ParameterRule, decaying_parameters

OPTIMIZERS.register("adam")(torch.optim.Adam)
OPTIMIZERS.register("adamw")(torch.optim.AdamW)
OPTIMIZERS.register("sgd")(torch.optim.SGD)
OPTIMIZERS.register("bop")(Bop)

__all__ = [
    "OPTIMIZERS",
    "PARAMETER_RULES",
    "Bop",
    "CaseOptimizer",
    "OptimizerCase",
    "ParameterRule",
    "decaying_parameters",
    "make_optimizer",
]
