"""Residual networks whose every binary convolution has a shortcut of its own.

Signs carry one bit for each entry; a shortcut around each convolution carries the floats past it.
Bi-Real Net brought this, and BinaryResNetE, Real-to-Binary and ReActNet's ResNet keep it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from bnn.config import BConfig
from bnn.errors import ConfigError
from bnn.models.checks import check_positive
from bnn.models.factories import NormFactory
from bnn.models.grid import Grid
from bnn.models.initialize import initialize_, initialize_latent_
from bnn.models.norms import batch_norm


class SkipBlock(nn.Module):
    """Binary 3x3 convolution and batch norm, plus the shortcut.

    Where the stride is not 1 or the channels change, the shortcut is average pooling, a float 1x1
    convolution and a batch norm.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Of the convolution.
        grid: Size and padding of the input.
        norm: Makes a batch norm from a channel count.

    Attributes:
        BCONFIG: How the convolution is binarized; a subclass sets it.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, out_channels, ceil(H / stride), ceil(W / stride)).
    """

    BCONFIG: ClassVar[BConfig]

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, grid: Grid, norm: NormFactory
    ) -> None:
        super().__init__()
        self.conv = grid.binary_conv(in_channels, out_channels, 3, stride, bconfig=self.BCONFIG)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            pool = [nn.AvgPool2d(stride, ceil_mode=True)] if stride != 1 else []
            self.downsample = nn.Sequential(
                *pool, nn.Conv2d(in_channels, out_channels, 1, bias=False), norm(out_channels)
            )
        self._build(in_channels, out_channels, norm)

    def _build(self, in_channels: int, out_channels: int, norm: NormFactory) -> None:  # noqa: ARG002
        """Add what else the branch needs."""
        self.bn = norm(out_channels)

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.downsample is None:
            return x
        y: Tensor = self.downsample(x)
        return y

    def forward(self, x: Tensor) -> Tensor:
        """Return branch + shortcut."""
        out: Tensor = self.bn(self.conv(x)) + self._shortcut(x)
        return out


class SkipPerConvNet(nn.Module):
    """Stem, stages of :class:`SkipBlock`, average pooling, float classifier.

    A subclass names its block, and its stem and head where they differ.

    Args:
        layers: Binary convolutions of each stage; each stage after the first halves the size and
            doubles the channels.
        num_classes: Outputs.
        in_channels: Channels of the image.
        width: Channels of the first stage.
        bn_momentum: Of the batch norms' statistics, as PyTorch counts: 1 - Keras's.
        bn_eps: Of the batch norms.
        input_size: The image's height and width, which only ``padding="tf"`` needs.
        padding: ``"torch"``, or ``"tf"`` for weights that were trained with Larq, see
            :class:`bnn.models.grid.Grid`.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, num_classes).

    Raises:
        ConfigError: If an argument is out of range.
    """

    BLOCK: ClassVar[type[SkipBlock]]

    def __init__(
        self,
        layers: Sequence[int] = (4, 4, 4, 4),
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        width: int = 64,
        bn_momentum: float = 0.1,
        bn_eps: float = 1e-5,
        input_size: int | Sequence[int] = 224,
        padding: str = "torch",
    ) -> None:
        super().__init__()
        self.padding = padding
        check_positive(num_classes=num_classes, in_channels=in_channels, width=width)
        if not layers:
            raise ConfigError("layers must give at least one stage, such as (4, 4, 4, 4)")
        check_positive(**{f"layers[{i}]": count for i, count in enumerate(layers)})
        norm = functools.partial(batch_norm, momentum=bn_momentum, eps=bn_eps)
        self.stem, grid = self._stem(in_channels, width, Grid.of(input_size, padding), norm)
        stages: list[nn.Module] = []
        channels = width
        for i, count in enumerate(layers):
            planes, stride = width << i, 2 if i else 1
            stage = nn.Sequential(self.BLOCK(channels, planes, stride, grid, norm))
            grid = grid.strided(stride)
            stage.extend(self.BLOCK(planes, planes, 1, grid, norm) for _ in range(1, count))
            stages.append(stage)
            channels = planes
        self.stages = nn.Sequential(*stages)
        self.head = self._head(channels)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        initialize_(self)
        initialize_latent_(self)

    def _stem(
        self, in_channels: int, width: int, grid: Grid, norm: NormFactory
    ) -> tuple[nn.Sequential, Grid]:
        """Return 7x7 convolution, batch norm, activation, max pooling; and the grid behind it."""
        half = grid.strided(2)
        stem = nn.Sequential(
            grid.conv(in_channels, width, 7, 2),
            norm(width),
            *self._stem_activation(width),
            half.max_pool(3, 2),
        )
        return stem, half.strided(2)

    def _stem_activation(self, width: int) -> Sequence[nn.Module]:  # noqa: ARG002 - of others
        return ()

    def _head(self, channels: int) -> nn.Module:  # noqa: ARG002 - of others
        """Return what stands between the last block and the pooling."""
        return nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.head(self.stages(self.stem(x)))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits
