"""Binary (1-bit) neural networks in PyTorch: binarize, train, count, pack, run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from bnn.inspect import count_ops, summary

__all__ = [
    "DEFAULT_MODULE_MAPPING",
    "BConfig",
    "BinaryChef",
    "BnnError",
    "ConversionReport",
    "Identity",
    "__version__",
    "conversion_report",
    "count_ops",
    "get_modules_to_binarize",
    "prepare_binary_model",
    "summary",
    "swap_modules_by_name",
]


def __getattr__(name: str) -> Any:
    # Looked up when asked for, so that `import bnn` stays a small part of `import torch`.
    if name in ("count_ops", "summary"):
        import bnn.inspect

        return getattr(bnn.inspect, name)
    if name == "__version__":
        from importlib.metadata import version

        return version("bnn-torch")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
