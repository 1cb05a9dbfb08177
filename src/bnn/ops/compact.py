"""Whether training keeps bits for the backward pass, and the kernels that it takes.

This is the only way from here to :mod:`bnn.packed`: it is looked for when it is first needed, and
without it every layer computes with plain operations.
"""

from __future__ import annotations

import functools
import importlib
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from bnn.errors import ConfigError, NativePartError

_on = True


class set_compact:  # noqa: N801 - a function that can also be used in a with statement
    """Turn compact training on or off: for the process, or within a ``with`` block.

    It is on at first. Binary layers then keep one bit for each sign and one for each place of the
    straight-through gradient, in the place of floats, and use the 1-bit kernels in the forward
    pass. Values are the same; gradients are the same up to the order in which floats are added.
    Where it does not apply (other devices and dtypes, autocast, compiled or traced code,
    ``torch.func``, no native part) plain operations are used, whatever the setting.

    An attribute ``compact = False`` of a layer turns it off for this layer alone.

    Args:
        enabled: True or False.

    Raises:
        ConfigError: If it is neither.

    Example:
        >>> with set_compact(False):
        ...     is_compact()
        False
        >>> is_compact()
        True
    """

    def __init__(self, enabled: bool) -> None:
        global _on
        if not isinstance(enabled, bool):
            raise ConfigError(f"set_compact: enabled is {enabled!r}; give True or False.")
        self._before = _on
        _on = enabled

    def __enter__(self) -> None:
        """Keep the setting for the block."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Restore what was set before."""
        global _on
        _on = self._before


def is_compact() -> bool:
    """Return what :func:`set_compact` has set."""
    return _on


@functools.cache
def _kernels() -> Any:
    try:
        module = importlib.import_module("bnn.packed.training")
        module.native()
    except NativePartError:
        return None
    return module


def kernels_for(*tensors: Tensor | None) -> Any:
    """Return :mod:`bnn.packed.training` if it may compute with these tensors, else None.

    They must be float32 on the CPU, without gaps in memory, and nobody may watch.
    """
    if is_watched() or torch.is_autocast_enabled("cpu"):
        return None
    for x in tensors:
        if x is not None and not _is_ordinary(x):
            return None
    return _kernels()


def is_watched() -> bool:
    """Say whether operations are traced, mapped or recorded: then they must be torch's."""
    return (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._len_torch_dispatch_stack() != 0
        or torch._C._is_torch_function_mode_enabled()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch.autograd.forward_ad._current_level >= 0  # refused, not dropped
    )


def _is_ordinary(x: Tensor) -> bool:
    return (
        type(x) in (Tensor, nn.Parameter)
        and x.dtype is torch.float32
        and x.is_cpu
        and not x.is_neg()
        and x.numel() > 0
        and bool(torch.ops.aten.is_non_overlapping_and_dense(x))
    )
