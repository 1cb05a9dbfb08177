"""How an operator is registered with torch, and when its CPU kernel may be called without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._C import DispatchKey, DispatchKeySet
from torch.autograd import profiler
from torch.overrides import has_torch_function

from bnn.errors import PackedError

LIBRARY = torch.library.Library("bnn", "DEF")

Kernel = Callable[..., Any]
T = TypeVar("T")


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


def _all_but(*keys: DispatchKey) -> int:
    allowed = 0
    for key in keys:
        allowed |= DispatchKeySet(key).raw_repr()
    return ~allowed


# An ordinary CPU tensor has these keys, or fewer in inference mode; every other one, such as that
# of a subclass, a batch of vmap or a lazy negation, makes torch do more than call the kernel. The
# same holds of what a mode includes in every call.
_OTHER_KEYS = _all_but(
    DispatchKey.CPU, DispatchKey.AutogradCPU, DispatchKey.ADInplaceOrView, DispatchKey.AutocastCPU
)
_OTHER_MODES = _all_but(DispatchKey.BackendSelect, DispatchKey.ADInplaceOrView)

_keys_of = torch._C._dispatch_keys
_included = torch._C._dispatch_tls_local_include_set


def is_plain(*tensors: Tensor) -> bool:
    """Say whether torch would do nothing but call the CPU kernel with these tensors.

    Then the caller may do that itself. Nobody watches: no tracer, no mode or subclass, no profiler.
    Ask torch.compiler.is_compiling() first.
    """
    if profiler._is_profiler_enabled or _included().raw_repr() & _OTHER_MODES:
        return False
    return are_ordinary(tensors)


def are_ordinary(tensors: Sequence[Tensor]) -> bool:
    """Say whether these are CPU tensors as torch makes them, and no function mode is active."""
    return not has_torch_function(tensors) and not any(map(_is_other, tensors))


def _is_other(tensor: Tensor) -> int:
    return _keys_of(tensor).raw_repr() & _OTHER_KEYS


def ready(op: str, name: str, x: Tensor) -> Tensor:
    """Return ``x`` as the native part reads it: contiguous, and all of it there."""
    x = x if x.is_contiguous() else x.contiguous()  # a new object otherwise
    x = x.resolve_neg() if x.is_neg() else x
    check_whole(op, name, x)
    return x


def is_ready(x: Tensor, dtype: torch.dtype) -> bool:
    """Say whether ``x`` passes the checks of everything but its shape, and :func:`ready` as it is.

    It is on the CPU, has this type, needs no gradient, is contiguous, and all of it is there.
    """
    return (
        x.dtype is dtype and x.is_cpu and not x.requires_grad and x.is_contiguous() and _is_whole(x)
    )


def check_whole(op: str, name: str, x: Tensor) -> None:
    """Raise PackedError if not all of ``x``, which is dense, is there."""
    if not _is_whole(x):
        raise PackedError(f"{op}: {name} has less memory than its shape; its storage was resized.")


def _is_whole(x: Tensor) -> bool:
    begin = x.storage_offset() * x.element_size()
    return x.untyped_storage().nbytes() >= begin + x.nbytes


# Layers see the same sizes again and again, and checking them takes longer than a small kernel.
_MOST_REMEMBERED = 4096


def remember(known: dict[Any, T], sizes: Any, found: T) -> T:
    """Keep what the checks of ``sizes`` found, in a table that does not grow without end."""
    if len(known) >= _MOST_REMEMBERED:
        known.clear()
    known[sizes] = found
    return found
