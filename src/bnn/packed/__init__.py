"""1-bit layers and operations: bits in, bits or floats out.

:mod:`bnn.packed.functional` has the operations, and the classes here are layers made of them.
"""

from bnn.packed import functional
from bnn.packed.agreement import Agreement, LayerAgreement
from bnn.packed.epilogue import Epilogue
from bnn.packed.modules import PackedConv1d, PackedConv2d, PackedLinear
from bnn.packed.network import PackedNetwork
from bnn.packed.pack import pack
from bnn.packed.report import PackReport
from bnn.packed.runtime import RuntimeInfo, get_num_threads, runtime_info, set_num_threads
from bnn.packed.verify import verify

__all__ = [
    "Agreement",
    "Epilogue",
    "LayerAgreement",
    "PackedConv1d",
    "PackedConv2d",
    "PackedLinear",
    "PackedNetwork",
    "PackReport",
    "RuntimeInfo",
    "functional",
    "get_num_threads",
    "pack",
    "runtime_info",
    "set_num_threads",
    "verify",
]
