"""1-bit layers and operations: bits in, bits or floats out.

:mod:`bnn.packed.functional` has the operations, and the classes here are layers made of them.
"""

from bnn.packed import functional
from bnn.packed.epilogue import Epilogue
from bnn.packed.modules import PackedConv1d, PackedConv2d, PackedLinear
from bnn.packed.runtime import RuntimeInfo, get_num_threads, runtime_info, set_num_threads

__all__ = [
    "Epilogue",
    "PackedConv1d",
    "PackedConv2d",
    "PackedLinear",
    "RuntimeInfo",
    "functional",
    "get_num_threads",
    "runtime_info",
    "set_num_threads",
]
