"""Binarized weights that are kept while a layer is evaluated and its weight stays the same.

Binarizing a weight of a million values takes as long as a small image's convolution with it. In
training the weight changes at every step; in evaluation it does not, and is binarized once.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bnn.layers.levels import Factors
from bnn.ops.base import BinarizerBase
from bnn.ops.compact import is_watched


class _Kept(NamedTuple):
    key: Hashable
    weight: Tensor  # a copy
    factors: Factors


_KEPT: weakref.WeakKeyDictionary[nn.Module, _Kept] = weakref.WeakKeyDictionary()


def kept_factors(
    layer: nn.Module, binarizer: nn.Module, weight: Tensor, make: Callable[[], Factors]
) -> Factors:
    """Return the binarized weight's factors: what ``make`` returns, or returned before.

    Args:
        layer: Whose weight it is. What is kept vanishes with it; copies and pickles do not have it.
        binarizer: Only what a :class:`bnn.ops.BinarizerBase` says in ``depends_on`` is kept.
        weight: It is compared with a copy each time, since torch does not count what is done to
            ``weight.data``. That takes a fraction of the time of binarizing it.
        make: Binarizes.
    """
    if torch.compiler.is_compiling():  # what is kept must not become part of compiled code
        return make()
    key = _key(layer, binarizer, weight)
    if key is None:
        if layer.training:
            _KEPT.pop(layer, None)  # twice the layer's memory
        return make()
    kept = _KEPT.get(layer)
    if kept is None or kept.key != key or not _same_bits(kept.weight, weight):
        _KEPT[layer] = kept = _Kept(key, weight.detach().clone(), make())
    return kept.factors


def _same_bits(a: Tensor, b: Tensor) -> bool:
    """Compare two tensors of the same strides."""
    if all(_is_block(x) for x in (a, b)):
        # As long integers they compare five times as fast as floats.
        a, b = (x.detach().as_strided((x.numel(),), (1,)).view(torch.int64) for x in (a, b))
    return torch.equal(a, b)


def _is_block(x: Tensor) -> bool:
    """Say whether it is a block of whole long integers without gaps."""
    size = x.element_size()
    whole = x.numel() * size % 8 == 0 and x.storage_offset() * size % 8 == 0
    return whole and bool(torch.ops.aten.is_non_overlapping_and_dense(x))


def _key(layer: nn.Module, binarizer: nn.Module, weight: Tensor) -> Hashable | None:
    """Return what else the factors depend on, or None where they must be made anew."""
    if layer.training or not isinstance(binarizer, BinarizerBase) or not _is_plain(weight):
        return None
    if binarizer._forward_hooks or binarizer._forward_pre_hooks or "forward" in vars(binarizer):
        return None
    state = binarizer.depends_on()
    if state is None:
        return None
    return (weight.dtype, weight.shape, weight.stride(), type(binarizer), state)


def _is_plain(weight: Tensor) -> bool:
    """Say whether it is a CPU tensor that nothing differentiates, maps, traces or records."""
    return (
        weight.device.type == "cpu"
        and not torch.is_grad_enabled()
        and type(weight) in (Tensor, nn.Parameter)
        and not is_watched()
    )
