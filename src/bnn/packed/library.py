"""How an operator is registered with torch: its CPU, other-device and fake kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bnn.errors import PackedError

LIBRARY = torch.library.Library("bnn", "DEF")

Kernel = Callable[..., Any]


def register(schema: str, *, cpu: Kernel, other: Kernel, fake: Kernel) -> Any:
    """Define ``torch.ops.bnn.<name>`` and return it.

    ``Library.define`` with one kernel for each place costs a call 5 us, ``custom_op`` 15.

    Args:
        schema: ``"name(Tensor x, ...) -> Tensor"``.
        cpu: The native kernel.
        other: The kernel in plain torch, for every other device.
        fake: The shapes alone, for torch.compile and torch.export.
    """
    name = schema.partition("(")[0]
    LIBRARY.define(schema)
    LIBRARY.impl(name, cpu, "CPU")
    for key in ("CUDA", "MPS", "XPU"):
        LIBRARY.impl(name, other, key)
    torch.library.register_fake(f"bnn::{name}", fake, lib=LIBRARY)
    return getattr(torch.ops.bnn, name).default


def ready(op: str, name: str, x: Tensor) -> Tensor:
    """Return ``x`` as the native part reads it: contiguous, and all of it there."""
    x = x if x.is_contiguous() else x.contiguous()  # a new object otherwise
    if x.untyped_storage().nbytes() < (x.storage_offset() + x.numel()) * x.element_size():
        raise PackedError(f"{op}: {name} has less memory than its shape; its storage was resized.")
    return x
