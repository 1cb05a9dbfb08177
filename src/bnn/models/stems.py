"""Stems: what stands before the first residual block. They usually stay in float.

Each stem is a sequence of named steps. :class:`bnn.models.ResNet` holds the steps as its own
children, so that ``conv1`` and ``bn1`` are called what torchvision calls them.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

import torch
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.models.factories import ActivationFactory, NormFactory, make_activation, make_norm


class StemType(Protocol):
    """What :data:`STEMS` holds: a class, or a function, that makes a stem."""

    def __call__(
        self,
        planes: int,
        in_channels: int = 3,
        *,
        activation: ActivationFactory = ...,
        norm_layer: NormFactory | None = ...,
    ) -> nn.Sequential:
        """Make a stem that gives ``planes`` channels."""


class BasicStem(nn.Sequential):
    """7x7 convolution with stride 2, norm, activation, 3x3 max pooling with stride 2.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, planes, ceil(H / 4), ceil(W / 4)).

    Reference:
        He et al., *Deep Residual Learning*, CVPR 2016. https://arxiv.org/abs/1512.03385

    Example:
        >>> BasicStem(8)(torch.zeros(1, 3, 33, 33)).shape
        torch.Size([1, 8, 9, 9])
    """

    def __init__(
        self,
        planes: int = 64,
        in_channels: int = 3,
        *,
        activation: ActivationFactory = nn.ReLU,
        norm_layer: NormFactory | None = None,
    ) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, planes, 7, stride=2, padding=3, bias=False),
                bn1=make_norm(norm_layer, planes),
                act1=make_activation(activation, planes),
                maxpool=nn.MaxPool2d(3, stride=2, padding=1),
            )
        )


class CifarStem(nn.Sequential):
    """3x3 convolution, norm, activation: keeps the size, for images of 32x32 and smaller.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, planes, H, W).

    Reference:
        He et al., *Deep Residual Learning*, CVPR 2016, section 4.2.
        https://arxiv.org/abs/1512.03385

    Example:
        >>> CifarStem(8, in_channels=1)(torch.zeros(1, 1, 8, 8)).shape
        torch.Size([1, 8, 8, 8])
    """

    def __init__(
        self,
        planes: int = 64,
        in_channels: int = 3,
        *,
        activation: ActivationFactory = nn.ReLU,
        norm_layer: NormFactory | None = None,
    ) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, planes, 3, padding=1, bias=False),
                bn1=make_norm(norm_layer, planes),
                act1=make_activation(activation, planes),
            )
        )


class DaBNNStem(nn.Sequential):
    """Small convolutions instead of one of 7x7: fewer operations for the same reduction.

    A 3x3 convolution with stride 2; then, side by side, a 1x1 and a 3x3 convolution with stride 2
    and a max pooling; then a 1x1 convolution over both. A norm and an activation follow each one.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, planes, ceil(H / 4), ceil(W / 4)).

    Raises:
        ConfigError: If ``planes`` is not a multiple of 4.

    Reference:
        Zhang et al., *daBNN*, ACM MM 2019. https://arxiv.org/abs/1908.05858

    Example:
        >>> DaBNNStem(8)(torch.zeros(1, 3, 33, 33)).shape
        torch.Size([1, 8, 9, 9])
    """

    def __init__(
        self,
        planes: int = 64,
        in_channels: int = 3,
        *,
        activation: ActivationFactory = nn.ReLU,
        norm_layer: NormFactory | None = None,
    ) -> None:
        if planes % 4:
            raise ConfigError(f"the dabnn stem needs a width that 4 divides, not {planes}")
        half, quarter = planes // 2, planes // 4
        convolutions = nn.Sequential(
            nn.Conv2d(half, quarter, 1, bias=False),
            make_norm(norm_layer, quarter),
            make_activation(activation, quarter),
            nn.Conv2d(quarter, half, 3, stride=2, padding=1, bias=False),
            make_norm(norm_layer, half),
            make_activation(activation, half),
        )
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(in_channels, half, 3, stride=2, padding=1, bias=False),
                bn1=make_norm(norm_layer, half),
                act1=make_activation(activation, half),
                # Named apart, so that a recipe can name the stem without meaning other networks'
                # layers: in most of them, `conv2` is one that should become binary.
                stem_branches=_ConvolutionsAndPool(convolutions),
                stem_conv=nn.Conv2d(planes, planes, 1, bias=False),
                stem_bn=make_norm(norm_layer, planes),
                stem_act=make_activation(activation, planes),
            )
        )


class _ConvolutionsAndPool(nn.Module):
    """Concatenate (N, C, H, W) after convolutions, and after 2x2 max pooling, along channels."""

    def __init__(self, convolutions: nn.Sequential) -> None:
        super().__init__()
        self.convolutions = convolutions
        # Rounds up, as the padded convolution with stride 2 beside it does.
        self.pool = nn.MaxPool2d(2, stride=2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.convolutions(x), self.pool(x)), dim=1)


#: Stems by the name that ``ResNet(stem_type=...)`` takes.
STEMS: dict[str, StemType] = {"basic": BasicStem, "cifar": CifarStem, "dabnn": DaBNNStem}
