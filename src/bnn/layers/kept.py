"""Binarized weights that are kept while a layer is evaluated and its weight stays the same.

Binarizing a weight of a million values takes as long as a small image's convolution with it. In
training the weight changes at every step; in evaluation it does not, and is binarized once.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn

from bnn.ops.base import BinarizerBase

Factors = tuple[Tensor, Tensor | None]

_KEPT: weakref.WeakKeyDictionary[nn.Module, tuple[Hashable, Factors]] = weakref.WeakKeyDictionary()


def kept_factors(
    layer: nn.Module, binarizer: nn.Module, weight: Tensor, make: Callable[[], Factors]
) -> Factors:
    """Return the binarized weight's factors: what ``make`` returns, or returned before.

    Args:
        layer: Whose weight it is. What is kept vanishes with it; copies and pickles do not have it.
        binarizer: Only what a :class:`bnn.ops.BinarizerBase` says in ``depends_on`` is kept.
        weight: Kept is what was made of the same bits: all are read each time, which takes a
            fiftieth of the time of binarizing them.
        make: Binarizes.
    """
    key = _key(layer, binarizer, weight)
    if key is None:
        if layer.training:
            _KEPT.pop(layer, None)  # half of the layer's memory
        return make()
    kept = _KEPT.get(layer)
    if kept is None or kept[0] != key:
        _KEPT[layer] = kept = (key, make())
    return kept[1]


def _key(layer: nn.Module, binarizer: nn.Module, weight: Tensor) -> Hashable | None:
    """Return what the factors depend on, or None where they must be made anew."""
    if layer.training or not isinstance(binarizer, BinarizerBase) or not _is_plain(weight):
        return None
    state = binarizer.depends_on()
    if state is None:
        return None
    flat = _flat(weight)
    if flat is None:
        return None
    # torch does not count what is done to weight.data, so the version alone would not do.
    total = int(flat.sum())
    shape = (weight.dtype, weight.shape, weight.stride())
    return (weight.data_ptr(), weight._version, total, shape, type(binarizer), state)


def _is_plain(weight: Tensor) -> bool:
    """Say whether it is a CPU tensor that nothing differentiates, maps, traces or records."""
    return (
        weight.device.type == "cpu"
        and not torch.is_grad_enabled()
        and type(weight) in (Tensor, nn.Parameter)
        and not torch.compiler.is_compiling()
        and torch._C._get_tracing_state() is None
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._functorch.peek_interpreter_stack() is None
        and not weight.is_inference()
        and weight.numel() > 0
    )


def _flat(weight: Tensor) -> Tensor | None:
    """Return all of the weight's bits as integers in a row, or None if it has gaps."""
    memory: Any = torch.channels_last if weight.dim() == 4 else torch.contiguous_format
    if not (weight.is_contiguous() or weight.is_contiguous(memory_format=memory)):
        return None
    flat = weight.detach().as_strided((weight.numel(),), (1,))
    size = weight.element_size()
    if weight.data_ptr() % 8 == 0 and weight.storage_offset() * size % 8 == 0:
        even = weight.numel() * size // 8 * 8 // size
        if even == weight.numel():
            return flat.view(torch.int64)
    return flat.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[size])
