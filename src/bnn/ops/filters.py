"""Where a layer's filters lie in its weight: statistics per output channel for every layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from bnn.errors import ConfigError


def output_channels(module: nn.Module) -> int:
    """Return the number of output channels (features) of a layer.

    Example:
        >>> output_channels(nn.Linear(3, 5)), output_channels(nn.Conv2d(3, 8, 1))
        (5, 8)
    """
    return _channels(module, "out")


def input_channels(module: nn.Module) -> int:
    """Return the number of input channels (features) of a layer, those of all groups.

    Example:
        >>> input_channels(nn.Linear(3, 5)), input_channels(nn.Conv2d(4, 8, 1, groups=2))
        (3, 4)
    """
    return _channels(module, "in")


def _channels(module: nn.Module, side: str) -> int:
    for name in (f"{side}_channels", f"{side}_features"):
        if hasattr(module, name):
            return int(getattr(module, name))
    raise ConfigError(
        f"{type(module).__name__} has neither {side}_channels nor {side}_features, so its number "
        f"of {side}put channels is unknown."
    )


def filter_size(weight: Tensor, transposed: int | None = None) -> int:
    """Return the number of entries of one filter of a weight; see :func:`by_filter`.

    Example:
        >>> filter_size(torch.zeros(8, 3, 5, 5)), filter_size(torch.zeros(8, 3, 5, 5), 2)
        (75, 100)
    """
    return weight.numel() // max(output_count(weight, transposed), 1)


def output_count(weight: Tensor, transposed: int | None = None) -> int:
    """Return the number of filters of a weight; see :func:`by_filter`.

    Example:
        >>> output_count(torch.zeros(8, 3, 5, 5)), output_count(torch.zeros(8, 3, 5, 5), 2)
        (8, 6)
    """
    return weight.shape[0] if transposed is None else transposed * weight.shape[1]


def transposed_groups(module: nn.Module | None) -> int | None:
    """Return the groups of a transposed convolution, None for every other layer.

    This is all that :func:`by_filter` needs to know of a layer, and it makes no cycle when kept.
    """
    return module.groups if isinstance(module, _ConvTransposeNd) else None


def by_filter(weight: Tensor, transposed: int | None = None) -> tuple[Tensor, tuple[int, ...]]:
    """View a weight so that one filter's entries lie along known axes.

    Linear and convolution weights are ``(O, I/groups, *kernel)``. A transposed convolution's is
    ``(I, O/groups, *kernel)``: filter o lies across the rows of o's group.

    Args:
        weight: A layer's weight.
        transposed: What :func:`transposed_groups` says of the layer.

    Returns:
        The viewed weight and the axes of one filter, that of the input channels first.

    Example:
        >>> viewed, axes = by_filter(torch.zeros(8, 3, 5, 5))
        >>> viewed.shape, axes
        (torch.Size([8, 3, 5, 5]), (1, 2, 3))
        >>> viewed, axes = by_filter(torch.zeros(8, 3, 5, 5), transposed=2)
        >>> viewed.shape, axes
        (torch.Size([2, 4, 3, 5, 5]), (1, 3, 4))
    """
    if transposed is None:
        return weight, tuple(range(1, weight.dim()))
    grouped = weight.unflatten(0, (transposed, -1))
    return grouped, (1, *range(3, grouped.dim()))


def nonzero(scale: Tensor) -> Tensor:
    """Return a scale by which a gradient can be divided: 1 where it is 0.

    The signs that it multiplies are 0 there instead, so that the gradient is not 0 / 0.

    Example:
        >>> nonzero(torch.tensor([0.0, -2.0]))
        tensor([ 1., -2.])
    """
    return torch.where(scale == 0, 1, scale)
