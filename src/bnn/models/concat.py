"""Networks that concatenate: BinaryDenseNet, whose blocks add channels, and what MeliusNet shares.

Every binary convolution gives 64 channels and leaves the others as they are, so the floats of all
earlier layers reach the classifier.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bnn.config import BConfig
from bnn.models.grid import Grid
from bnn.models.norms import batch_norm
from bnn.ops import BasicInputBinarizer

_SIGN = BasicInputBinarizer.with_args(clip=1.3)
_BCONFIG = BConfig(_SIGN, weight_pre_process=_SIGN)


class NewChannels(nn.Module):
    """Batch norm and binary 3x3 convolution: the new channels alone.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, growth, H, W).
    """

    def __init__(self, in_channels: int, growth: int, grid: Grid, dilation: int = 1) -> None:
        super().__init__()
        self.bn = batch_norm(in_channels)
        self.conv = grid.binary_conv(in_channels, growth, 3, bconfig=_BCONFIG, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Return the new channels."""
        out: Tensor = self.conv(self.bn(x))
        return out


class DenseBlock(NewChannels):
    """Batch norm and binary 3x3 convolution, whose output is concatenated to the input.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, in_channels + growth, H, W).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the input's channels and the new ones."""
        return torch.cat((x, super().forward(x)), dim=1)


class DenseImprovementPair(nn.Module):
    """New channels, and then a better version of them: a dense and an improvement block.

    The second convolution sees the new channels too, and its output is added to them. The floats of
    the input pass by both.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, in_channels + growth, H, W).
    """

    def __init__(self, in_channels: int, growth: int, grid: Grid) -> None:
        super().__init__()
        self.dense = NewChannels(in_channels, growth, grid)
        self.improve = NewChannels(in_channels + growth, growth, grid)

    def forward(self, x: Tensor) -> Tensor:
        """Return the input's channels and the new ones."""
        new = self.dense(x)
        better = self.improve(torch.cat((x, new), dim=1)) + new
        return torch.cat((x, better), dim=1)


def transition(in_channels: int, out_channels: int, *, pool: bool) -> nn.Sequential:
    """Return batch norm, 2x2 max pooling if asked for, ReLU and a float 1x1 convolution."""
    pooling = [nn.MaxPool2d(2, ceil_mode=True)] if pool else []
    return nn.Sequential(
        batch_norm(in_channels),
        *pooling,
        nn.ReLU(),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
    )


class PooledClassifier(nn.Sequential):
    """Batch norm, ReLU, average over all pixels, linear layer."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__(
            batch_norm(channels),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, num_classes),
        )
