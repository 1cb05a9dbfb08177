"""What is binary: decided on the values that a layer computes with, never on a name."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bnn.layers.base import BinaryLayer
from bnn.ops.filters import by_filter, transposed_groups


def is_binary_input(values: Tensor, before: Tensor | None, stage: nn.Module) -> bool:
    """Say whether a layer's input holds only -s and +s, with one s for the whole tensor.

    Or 0 and 1, both of them, if a stage made them: one bit holds those too.

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
    if not values.is_floating_point() or not values.numel():
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
