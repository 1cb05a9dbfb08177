"""Binarizers: one file per method. See ``binarizers`` for the names that recipes use."""

from bnn.config import Identity
from bnn.ops.advanced import AdvancedInputBinarizer
from bnn.ops.base import BinarizerBase, BinarizerFactory, WeightBinarizer, binarizers, set_progress_
from bnn.ops.scale import BasicScaleBinarizer
from bnn.ops.sign import BasicInputBinarizer, SignActivation, sign
from bnn.ops.stochastic import SignActivationStochastic, StochasticInputBinarizer
from bnn.ops.xnor import XNORScaleBinarizer, XNORWeightBinarizer

__all__ = [
    "AdvancedInputBinarizer",
    "BasicInputBinarizer",
    "BasicScaleBinarizer",
    "BinarizerBase",
    "BinarizerFactory",
    "Identity",
    "SignActivation",
    "SignActivationStochastic",
    "StochasticInputBinarizer",
    "WeightBinarizer",
    "XNORScaleBinarizer",
    "XNORWeightBinarizer",
    "binarizers",
    "set_progress_",
    "sign",
]
