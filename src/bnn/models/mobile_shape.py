"""MobileNet's shape: a strided stem, one block for each number of channels, a classifier."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.models.checks import check_positive
from bnn.models.grid import Grid
from bnn.models.initialize import initialize_, initialize_latent_

MakeBlock = Callable[[int, int, int, int, Grid], nn.Module]
"""Makes a block of (index, channels before, channels after, stride, grid of its input)."""


class MobileShapeNet(nn.Module):
    """Stem, blocks, activation, average pooling, float classifier: what the families share.

    Args:
        channels: Of the stem, then of each block. A block whose channels double, but the first,
            halves the size.
        num_classes: Outputs.
        make_block: Makes the blocks.
        act: What the last block's output goes through, None for nothing.
        in_channels: Channels of the image.
        input_size: The image's height and width, which only ``padding="tf"`` needs.
        padding: ``"torch"`` or ``"tf"``, see :class:`bnn.models.grid.Grid`.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, num_classes).

    Raises:
        ConfigError: If an argument is out of range.
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        make_block: MakeBlock,
        act: Callable[[int], nn.Module] | None = None,
        *,
        in_channels: int,
        input_size: int | Sequence[int],
        padding: str,
    ) -> None:
        super().__init__()
        self.padding = padding
        check_positive(num_classes=num_classes, in_channels=in_channels)
        if len(channels) < 2:
            raise ConfigError("channels must give the stem's and those of at least one block")
        check_positive(**{f"channels[{i}]": count for i, count in enumerate(channels)})
        grid = Grid.of(input_size, padding)
        self.stem = nn.Sequential(
            grid.conv(in_channels, channels[0], 3, 2), nn.BatchNorm2d(channels[0])
        )
        grid = grid.strided(2)
        self.blocks = nn.Sequential()
        for i, (before, after) in enumerate(itertools.pairwise(channels)):
            stride = 2 if i and before != after else 1
            self.blocks.append(make_block(i, before, after, stride, grid))
            grid = grid.strided(stride)
        self.act = nn.Identity() if act is None else act(channels[-1])
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels[-1], num_classes)
        initialize_(self)
        initialize_latent_(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.avgpool(self.act(self.blocks(self.stem(x))))
        logits: Tensor = self.fc(x.flatten(1))
        return logits
