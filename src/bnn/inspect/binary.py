"""What is binary: decided on the values that a layer computes with, never on a name."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bnn.layers.base import BinaryLayer
from bnn.ops.filters import by_filter, transposed_groups


def is_binary_input(values: Tensor, before: Tensor | None, stage: nn.Module) -> bool:
    """Say whether a layer's input holds only -s and +s, with one s for the whole tensor.

    Or 0 and 1, both of them, if a stage made them: one bit holds those too. Never where the stage
    says by ``bits`` that its entries have more: this input may have fewer values than others.

    Where all of it has one sign, the values prove little: any function of a constant input gives
    that. Then the stage must be more than an identity, and either s is 1 or the input varied.

    Args:
        values: What the layer computes with, after ``stage``; any shape.
        before: What ``stage`` was given, None if unknown.
        stage: The layer's ``activation_pre_process``.

    Example:
        >>> from bnn.ops import BasicInputBinarizer
        >>> x = torch.tensor([0.3, 2.0])
        >>> is_binary_input(torch.ones(2), x, BasicInputBinarizer())
        True
        >>> is_binary_input(x, x, nn.Identity())
        False
    """
    if not values.is_floating_point() or not values.numel() or getattr(stage, "bits", 1) != 1:
        return False
    if not isinstance(stage, nn.Identity) and values.min() == 0 and values.max() == 1:
        return bool(((values == 0) | (values == 1)).all())
    magnitude = values.abs()
    s = magnitude.flatten()[0]
    if not (magnitude == s).all() or not 0 < s.item() < float("inf"):
        return False
    if values.min() != values.max():
        return True
    if isinstance(stage, nn.Identity) or values is before:
        return False
    return s.item() == 1 or (before is not None and bool(before.min() != before.max()))


def value_bits(values: Tensor, stage: nn.Module) -> int:
    """Return how many bits an entry of a layer's input needs.

    A stage that rounds to few values, as DoReFa's does, gives entries of few bits; without one
    each entry has all bits of its type, as it has where values hardly occur more than once. A
    stage may say its number in ``bits``: this input may have fewer values than others.

    Args:
        values: What the layer computes with, after ``stage``; any shape.
        stage: The layer's ``activation_pre_process``.

    Example:
        >>> x = torch.tensor([0, 1 / 3, 2 / 3, 1.0]).repeat(9)
        >>> value_bits(x, nn.Hardtanh(0, 1)), value_bits(x, nn.Identity())
        (2, 32)
    """
    bits = 8 * values.element_size()
    if isinstance(stage, nn.Identity) or not values.numel():
        return bits
    found = values.flatten()[:_FEW].unique().numel()  # many values show at once
    if found <= _MOST_LEVELS:
        found = values.unique().numel()
    if found > min(_MOST_LEVELS, values.numel() // 4):
        return bits
    needed = max((found - 1).bit_length(), 1)
    declared = getattr(stage, "bits", None)
    return declared if isinstance(declared, int) and declared >= needed else needed


_FEW, _MOST_LEVELS = 256, 16


def is_binary_weight(weight: Tensor, layer: BinaryLayer) -> bool:
    """Say whether each filter of a weight holds only -alpha and +alpha, alpha its own.

    A weight that no stage has changed is binary only if it holds -1 and +1 and nothing else. So is
    one whose filters have a single entry, unless all filters share one magnitude: any number is
    plus or minus some alpha.

    Args:
        weight: What the layer computes with, after ``weight_pre_process``.
        layer: Says where the filters lie, and which stage made the weight.

    Example:
        >>> from bnn import BConfig
        >>> from bnn.layers import Linear
        >>> from bnn.ops import XNORWeightBinarizer
        >>> layer = Linear(4, 2, bconfig=BConfig(weight_pre_process=XNORWeightBinarizer))
        >>> is_binary_weight(layer.weight_pre_process(layer.weight), layer)
        True
        >>> is_binary_weight(layer.weight, layer)
        False
    """
    if not weight.is_floating_point() or not weight.numel():
        return False
    viewed, axes = by_filter(weight.detach(), transposed_groups(layer))
    magnitude = viewed.abs()
    alpha = magnitude.amax(axes, keepdim=True) if axes else magnitude
    # Exact: alpha * (+1) and alpha * (-1) differ in the sign bit only.
    if not (magnitude == alpha).all() or not torch.isfinite(alpha).all():
        return False
    if isinstance(layer.weight_pre_process, nn.Identity) or weight is layer.weight:
        return bool((alpha == 1).all())
    if alpha.numel() == magnitude.numel():
        one = alpha.flatten()[0]
        return bool((alpha == one).all()) and (one.item() == 1 or alpha.numel() > 1)
    return True
