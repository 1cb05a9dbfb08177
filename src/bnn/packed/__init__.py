"""1-bit layers and operations: bits in, bits or floats out.

:mod:`bnn.packed.functional` has the operations, and the classes here are layers made of them.
"""

from bnn.packed import functional
from bnn.packed.agreement import Agreement, LayerAgreement
from bnn.packed.epilogue import Epilogue
from bnn.packed.file import FileInfo, file_info, load, save
from bnn.packed.modules import PackedConv1d, PackedConv2d, PackedLinear
from bnn.packed.network import PackedNetwork
from bnn.packed.pack import pack
from bnn.packed.preprocessing import Preprocessing
from bnn.packed.report import PackReport
from bnn.packed.runtime import RuntimeInfo, get_num_threads, runtime_info, set_num_threads
from bnn.packed.verify import verify

__all__ = [
    "Agreement",
    "Epilogue",
    "FileInfo",
    "LayerAgreement",
    "PackedConv1d",
    "PackedConv2d",
    "PackedLinear",
    "PackedNetwork",
    "PackReport",
    "Preprocessing",
    "RuntimeInfo",
    "file_info",
    "functional",
    "get_num_threads",
    "load",
    "pack",
    "runtime_info",
    "save",
    "set_num_threads",
    "verify",
]
