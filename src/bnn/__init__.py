"""Binary (1-bit) neural networks in PyTorch: binarize, train, count, pack, run."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnn import (  # noqa: F401 - for type checkers, as the names below
        config,
        convert,
        engine,
        errors,
        executor,
        inspect,
        interop,
        layers,
        models,
        ops,
        packed,
        registry,
        training,
    )
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
    from bnn.inspect import count_ops, summary
    from bnn.packed.agreement import Agreement
    from bnn.packed.file import file_info, load, save
    from bnn.packed.network import PackedNetwork
    from bnn.packed.pack import pack
    from bnn.packed.report import PackReport
    from bnn.packed.runtime import get_num_threads, runtime_info, set_num_threads
    from bnn.packed.verify import verify

# Public name -> the module it comes from, which is imported when the name is first used: the
# command line answers --help without waiting seconds for torch.
_HOME = {
    "BConfig": "bnn.config",
    "Identity": "bnn.config",
    "DEFAULT_MODULE_MAPPING": "bnn.convert",
    "ConversionReport": "bnn.convert",
    "conversion_report": "bnn.convert",
    "get_modules_to_binarize": "bnn.convert",
    "prepare_binary_model": "bnn.convert",
    "swap_modules_by_name": "bnn.convert",
    "BnnError": "bnn.errors",
    "BinaryChef": "bnn.executor",
    "count_ops": "bnn.inspect",
    "summary": "bnn.inspect",
    "file_info": "bnn.packed.file",
    "load": "bnn.packed.file",
    "save": "bnn.packed.file",
    "Agreement": "bnn.packed.agreement",
    "PackedNetwork": "bnn.packed.network",
    "PackReport": "bnn.packed.report",
    "pack": "bnn.packed.pack",
    "get_num_threads": "bnn.packed.runtime",
    "runtime_info": "bnn.packed.runtime",
    "set_num_threads": "bnn.packed.runtime",
    "verify": "bnn.packed.verify",
}

# Public modules, imported in the same way: bnn.models.create needs no `import bnn.models`. None
# has the name of a function above.
_MODULES = (
    "config",
    "convert",
    "engine",
    "errors",
    "executor",
    "inspect",
    "interop",
    "layers",
    "models",
    "ops",
    "packed",
    "registry",
    "training",
)

__all__ = [
    "DEFAULT_MODULE_MAPPING",
    "Agreement",
    "BConfig",
    "BinaryChef",
    "BnnError",
    "ConversionReport",
    "Identity",
    "PackReport",
    "PackedNetwork",
    "__version__",
    "conversion_report",
    "count_ops",
    "file_info",
    "get_modules_to_binarize",
    "get_num_threads",
    "load",
    "pack",
    "prepare_binary_model",
    "runtime_info",
    "save",
    "set_num_threads",
    "summary",
    "swap_modules_by_name",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"{__name__}.{name}")
    elif name == "__version__":
        value = importlib.import_module("importlib.metadata").version("bnn-torch")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
