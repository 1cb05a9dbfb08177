"""Batch norms without scale or shift."""

from __future__ import annotations

from torch import nn


def batch_norm(
    channels: int,
    *,
    momentum: float = 0.1,
    eps: float = 1e-5,
    scale: bool = True,
    shift: bool = True,
    axes: int = 2,
) -> nn.BatchNorm2d | nn.BatchNorm1d:
    """Return a batch norm with the parts that are asked for.

    A sign that follows needs no scale: it only asks on which side of a threshold its input lies.

    Args:
        channels: Of the feature map.
        momentum: Of the running statistics, as PyTorch counts: 1 - Keras's.
        eps: Added to the variance.
        scale: Learn a factor for each channel. It needs ``shift``.
        shift: Learn an addend for each channel.
        axes: 2 for (N, C, H, W), 0 for (N, C).

    Example:
        >>> norm = batch_norm(8, scale=False)
        >>> norm.weight is None, norm.bias.shape
        (True, torch.Size([8]))
    """
    kind = nn.BatchNorm2d if axes == 2 else nn.BatchNorm1d
    norm = kind(channels, eps=eps, momentum=momentum, affine=shift)
    if shift and not scale:
        norm.register_parameter("weight", None)
    return norm
