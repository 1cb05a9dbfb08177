"""Binary (1-bit) neural networks in PyTorch: binarize, train, count, pack, run."""

from bnn.config import BConfig, Identity
from bnn.convert import (
    DEFAULT_MODULE_MAPPING,
    ConversionReport,
    conversion_report,
    get_modules_to_binarize,
    prepare_binary_model,
    swap_modules_by_name,
)
from bnn.errors import BnnError
from bnn.executor import BinaryChef

__all__ = [
    "DEFAULT_MODULE_MAPPING",
    "BConfig",
    "BinaryChef",
    "BnnError",
    "ConversionReport",
    "Identity",
    "conversion_report",
    "get_modules_to_binarize",
    "prepare_binary_model",
    "swap_modules_by_name",
]
