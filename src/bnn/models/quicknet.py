"""QuickNet: the networks that Larq's authors designed for speed and accuracy."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from bnn.config import BConfig
from bnn.errors import ConfigError
from bnn.models.blur_pool import BlurPool2d
from bnn.models.checks import check_positive
from bnn.models.grid import Grid
from bnn.models.initialize import initialize_, initialize_latent_
from bnn.models.norms import batch_norm
from bnn.models.preprocessing import IMAGENET_LARQ
from bnn.models.registry import Figures, Published, register_model
from bnn.ops import BasicInputBinarizer

_SIGN = BasicInputBinarizer.with_args(clip=1.25)
_BCONFIG = BConfig(_SIGN, weight_pre_process=_SIGN)


class QuickNetBlock(nn.Module):
    """Binary 3x3 convolution padded with +1, ReLU, batch norm; then the shortcut is added.

    Shape:
        - Input and output: (N, channels, H, W).
    """

    def __init__(self, channels: int, grid: Grid) -> None:
        super().__init__()
        self.conv = grid.binary_conv(channels, channels, 3, bconfig=_BCONFIG, padding_value=1)
        self.act = nn.ReLU()
        self.bn = batch_norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return branch + shortcut."""
        out: Tensor = self.bn(self.act(self.conv(x))) + x
        return out


class QuickNet(nn.Module):
    """Stem, sections of binary blocks, and cheap float transitions between them.

    A transition is ReLU, max pooling, a blur pooling that halves the size, and a 1x1 convolution.

    Args:
        blocks: Blocks of each section.
        filters: Channels of each section; 4 divides the first.
        num_classes: Outputs.
        in_channels: Channels of the image.
        input_size: The image's height and width, which only ``padding="tf"`` needs.
        padding: ``"torch"``, or ``"tf"`` for weights that were trained with Larq, see
            :class:`bnn.models.grid.Grid`.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, num_classes).

    Raises:
        ConfigError: If an argument is out of range.

    Reference:
        Bannink et al., *Larq Compute Engine*, MLSys 2021. https://arxiv.org/abs/2011.09398

    Example:
        >>> import torch
        >>> QuickNet((1, 1), (8, 16), num_classes=5)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        blocks: Sequence[int] = (4, 4, 4, 4),
        filters: Sequence[int] = (64, 128, 256, 512),
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        input_size: int | Sequence[int] = 224,
        padding: str = "torch",
    ) -> None:
        super().__init__()
        self.padding = padding
        check_positive(num_classes=num_classes, in_channels=in_channels)
        _check_sections(blocks, filters)
        grid = Grid.of(input_size, padding)
        self.stem, grid = _stem(in_channels, filters[0], grid)
        sections: list[nn.Module] = []
        before = filters[0]
        for count, channels in zip(blocks, filters, strict=True):
            section = nn.Sequential()
            if channels != before:
                section.append(_transition(before, channels, grid))
                grid = grid.valid(2).strided(2)
            section.extend(QuickNetBlock(channels, grid) for _ in range(count))
            sections.append(section)
            before = channels
        self.sections = nn.Sequential(*sections)
        self.act = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, num_classes)
        initialize_(self)
        initialize_latent_(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.act(self.sections(self.stem(x)))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def _check_sections(blocks: Sequence[int], filters: Sequence[int]) -> None:
    if len(blocks) != len(filters) or not blocks:
        raise ConfigError(
            f"blocks and filters need one number for each section, not {tuple(blocks)!r} and "
            f"{tuple(filters)!r}"
        )
    for count, channels in zip(blocks, filters, strict=True):
        check_positive(blocks=count, filters=channels)
    if filters[0] % 4:
        raise ConfigError(f"filters must begin with a number that 4 divides, not {filters[0]}")


def _stem(in_channels: int, channels: int, grid: Grid) -> tuple[nn.Sequential, Grid]:
    first = channels // 4
    half = grid.strided(2)
    stem = nn.Sequential(
        grid.conv(in_channels, first, 3, 2),
        batch_norm(first, momentum=0.01, eps=1e-3),
        nn.ReLU(),
        half.conv(first, first, 3, 2, groups=first),
        batch_norm(first, momentum=0.01, eps=1e-3, shift=False),
        half.conv(first, channels, 1),
        batch_norm(channels, momentum=0.01, eps=1e-3),
    )
    return stem, half.strided(2)


def _transition(before: int, channels: int, grid: Grid) -> nn.Sequential:
    pooled = grid.valid(2)
    return nn.Sequential(
        nn.ReLU(),
        nn.MaxPool2d(2, stride=1),
        BlurPool2d(before, 2, pooled),
        pooled.conv(before, channels, 1),
        batch_norm(channels),
    )


_register = functools.partial(
    register_model,
    network=QuickNet,
    input_shape=(3, 224, 224),
    num_classes=1000,
    paper="https://arxiv.org/abs/2011.09398",
    tiny={"blocks": (1, 2), "filters": (32, 64), "num_classes": 5, "input_size": 32},
    tiny_shape=(3, 32, 32),
    preprocessing=IMAGENET_LARQ,
)


@_register(
    summary="QuickNet, sections of 4, 4, 4, 4 binary blocks",
    published=Published(top1=63.3, top5=84.6),
    figures=Figures(params=13_234_088, bytes=4_368_032, macs={1: 1_849_688_064, 32: 29_651_712}),
)
def quicknet(**kwargs: Any) -> QuickNet:
    """Make a QuickNet; any argument of :class:`QuickNet` can be given by keyword.

    Example:
        >>> quicknet(num_classes=10).fc
        Linear(in_features=512, out_features=10, bias=True)
    """
    return QuickNet(**kwargs)


@_register(
    summary="QuickNetSmall, half as wide in its first two sections",
    published=Published(top1=59.4, top5=81.8),
    figures=Figures(params=12_655_688, bytes=4_197_152, macs={1: 1_156_055_040, 32: 15_941_120}),
)
def quicknet_small(**kwargs: Any) -> QuickNet:
    """Make a QuickNetSmall; see :func:`quicknet`.

    Example:
        >>> quicknet_small(num_classes=10).stem[5].out_channels
        32
    """
    return QuickNet(**{"filters": (32, 64, 256, 512), **kwargs})


@_register(
    summary="QuickNetLarge, sections of 6, 8, 12, 6 binary blocks",
    published=Published(top1=66.9, top5=87.0),
    figures=Figures(params=23_342_248, bytes=5_660_320, macs={1: 3_699_376_128, 32: 29_651_712}),
)
def quicknet_large(**kwargs: Any) -> QuickNet:
    """Make a QuickNetLarge; see :func:`quicknet`.

    Example:
        >>> len(quicknet_large(num_classes=10).sections[2])  # 12 blocks and the transition
        13
    """
    return QuickNet(**{"blocks": (6, 8, 12, 6), **kwargs})
