"""Binarizers: one file per method. See ``binarizers`` for the names that recipes use."""

from bnn.config import Identity
from bnn.ops.adabin import AdaBinInputBinarizer, AdaBinWeightBinarizer
from bnn.ops.advanced import AdvancedInputBinarizer
from bnn.ops.approx_sign import ApproxSignBinarizer
from bnn.ops.base import (
    BinarizerBase,
    BinarizerFactory,
    InputBinarizer,
    WeightBinarizer,
    binarizers,
    set_progress_,
)
from bnn.ops.biper import BiPerWeightBinarizer
from bnn.ops.dorefa import DoReFaInputBinarizer, DoReFaWeightBinarizer
from bnn.ops.ede import EDEBinarizer
from bnn.ops.fda import FDABinarizer
from bnn.ops.gate import RealToBinaryGateBinarizer
from bnn.ops.heaviside import HeavisideInputBinarizer
from bnn.ops.irnet import IRNetWeightBinarizer
from bnn.ops.lsq import LSQWeightBinarizer
from bnn.ops.magnitude_aware import MagnitudeAwareWeightBinarizer
from bnn.ops.progressive import ProgressiveSignBinarizer
from bnn.ops.recu import ReCUWeightBinarizer
from bnn.ops.rsign import RSignInputBinarizer
from bnn.ops.scale import BasicScaleBinarizer
from bnn.ops.sign import BasicInputBinarizer, SignActivation, sign
from bnn.ops.stochastic import SignActivationStochastic, StochasticInputBinarizer
from bnn.ops.swish_sign import SwishSignBinarizer
from bnn.ops.ternary import TernaryWeightBinarizer
from bnn.ops.xnor import XNORScaleBinarizer, XNORWeightBinarizer
from bnn.ops.xnor_plus_plus import XNORPlusPlusScaleBinarizer

__all__ = [
    "AdaBinInputBinarizer",
    "AdaBinWeightBinarizer",
    "AdvancedInputBinarizer",
    "ApproxSignBinarizer",
    "BasicInputBinarizer",
    "BasicScaleBinarizer",
    "BiPerWeightBinarizer",
    "BinarizerBase",
    "BinarizerFactory",
    "DoReFaInputBinarizer",
    "DoReFaWeightBinarizer",
    "EDEBinarizer",
    "FDABinarizer",
    "HeavisideInputBinarizer",
    "IRNetWeightBinarizer",
    "Identity",
    "InputBinarizer",
    "LSQWeightBinarizer",
    "MagnitudeAwareWeightBinarizer",
    "ProgressiveSignBinarizer",
    "RSignInputBinarizer",
    "ReCUWeightBinarizer",
    "RealToBinaryGateBinarizer",
    "SignActivation",
    "SignActivationStochastic",
    "StochasticInputBinarizer",
    "SwishSignBinarizer",
    "TernaryWeightBinarizer",
    "WeightBinarizer",
    "XNORPlusPlusScaleBinarizer",
    "XNORScaleBinarizer",
    "XNORWeightBinarizer",
    "binarizers",
    "set_progress_",
    "sign",
]
