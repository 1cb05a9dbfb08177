"""BNext: gated binary convolutions, every path around them in floats."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bnn import layers
from bnn.config import BConfig
from bnn.errors import ConfigError
from bnn.layers import PReLU
from bnn.models.grid import Grid
from bnn.models.mobile_shape import MobileShapeNet
from bnn.models.preprocessing import IMAGENET
from bnn.models.registry import Figures, Published, register_model
from bnn.ops import BasicInputBinarizer

_BCONFIG = BConfig(
    BasicInputBinarizer.with_args(clip=1.5),
    weight_pre_process=BasicInputBinarizer.with_args(clip=None),
)

#: Channels of the stem and of each block.
_TINY = (32, 64, *[128] * 2, *[256] * 2, *[512] * 6, *[1024] * 2)
_SMALL = (48, 96, *[192] * 2, *[384] * 2, *[768] * 6, *[1536] * 2)
_MIDDLE = (48, 96, *[192] * 4, *[384] * 4, *[768] * 8, *[1536] * 4)
_LARGE = (48, 96, *[192] * 4, *[384] * 4, *[768] * 16, *[1536] * 4)


class ChannelShift(nn.Module):
    """Add a learnt number to each channel of (N, C, H, W), at first 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the shifted channels."""
        return x + self.bias


class RecoupledConv(nn.Module):
    """Shift, binary convolution, batch norm, PReLU, and a gate for each channel.

    The gate sees a learnt mixture of the convolution's input and output ("info-recoupling"), so
    that it knows what the sign has hidden.

    Args:
        channels: Channels of input and output.
        kernel: 3 or 1.
        stride: Of the convolution.
        grid: Size and padding of the input.
        attention: Multiply the branch by the shortcut, which a PReLU precedes then.

    Shape:
        - Input: (N, channels, H, W).
        - Output: (N, channels, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(
        self, channels: int, kernel: int, stride: int, grid: Grid, *, attention: bool
    ) -> None:
        super().__init__()
        self.attention = attention
        self.shift = ChannelShift(channels)
        self.conv: layers.Conv2d = grid.binary_conv(
            channels, channels, kernel, stride, bconfig=_BCONFIG
        )
        self.bn1 = nn.BatchNorm2d(channels)
        self.act = PReLU(channels)
        self.mixture = nn.Parameter(torch.full((1, channels, 1, 1), 0.5))
        hidden = max(channels // 8, 1)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 1),
            nn.Sigmoid(),
        )
        self.bn2 = nn.BatchNorm2d(channels)
        self.pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.shortcut = PReLU(channels) if attention else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return branch + shortcut."""
        y = self.act(self.bn1(self.conv(self.shift(x))))
        pooled = self.pool(x)
        share = self.mixture.clamp(0, 1)
        y = self.gate(pooled * share + y * (1 - share)) * y
        shortcut: Tensor = pooled
        if self.attention:
            shortcut = self.pool(self.shortcut(x))
            y = y * shortcut
        out: Tensor = self.bn2(y) + shortcut
        return out


class BNextBlock(nn.Module):
    """A 3x3 :class:`RecoupledConv`, then one of 1x1, or two side by side where channels double.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, out_channels, ceil(H / stride), ceil(W / stride)).

    Raises:
        ConfigError: If the channels neither stay nor double.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, grid: Grid, *, attention: bool
    ) -> None:
        super().__init__()
        if out_channels not in (in_channels, 2 * in_channels):
            raise ConfigError(
                f"a block keeps its {in_channels} channels or doubles them, it cannot give "
                f"{out_channels}"
            )
        self.spatial = RecoupledConv(in_channels, 3, stride, grid, attention=attention)
        behind = grid.strided(stride)
        self.points = nn.ModuleList(
            RecoupledConv(in_channels, 1, 1, behind, attention=False)
            for _ in range(out_channels // in_channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the 1x1 convolutions' outputs, concatenated."""
        x = self.spatial(x)
        parts = [point(x) for point in self.points]
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


class BNext(MobileShapeNet):
    """Stem, blocks, PReLU, average pooling, float classifier.

    Every second block multiplies its branch by its shortcut ("element-wise attention").

    Args:
        channels: Of the stem, then of each block. A block whose channels double, but the first,
            halves the size.
        num_classes: Outputs.
        in_channels: Channels of the image.
        input_size: The image's height and width, which only ``padding="tf"`` needs.
        padding: ``"torch"`` or ``"tf"``, see :class:`bnn.models.grid.Grid`.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, num_classes).

    Raises:
        ConfigError: If an argument is out of range.

    Reference:
        Guo et al., *Join the High Accuracy Club on ImageNet with a Binary Neural Network Ticket*,
        2022. https://arxiv.org/abs/2211.12933

    Example:
        >>> BNext((8, 16, 32), 5)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        channels: Sequence[int] = _TINY,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        input_size: int | Sequence[int] = 224,
        padding: str = "torch",
    ) -> None:
        super().__init__(
            channels,
            num_classes,
            lambda i, before, after, stride, grid: BNextBlock(
                before, after, stride, grid, attention=i % 2 == 1
            ),
            PReLU,
            in_channels=in_channels,
            input_size=input_size,
            padding=padding,
        )


_register = functools.partial(
    register_model,
    network=BNext,
    input_shape=(3, 224, 224),
    num_classes=1000,
    paper="https://arxiv.org/abs/2211.12933",
    tiny={"channels": (32, 32, 64, 64), "num_classes": 5, "input_size": 32},
    tiny_shape=(3, 32, 32),
    preprocessing=IMAGENET,
)


@_register(
    summary="BNext-Tiny, gated binary convolutions",
    figures=Figures(params=30_853_276, bytes=13_932_016, macs={1: 4_816_896_000, 32: 13_344_512}),
    published=Published(top1=72.4),
)
def bnext_tiny(**kwargs: Any) -> BNext:
    """Make a BNext-Tiny; any argument of :class:`BNext` can be given by keyword.

    Example:
        >>> bnext_tiny(num_classes=10).fc
        Linear(in_features=1024, out_features=10, bias=True)
    """
    return BNext(**kwargs)


@_register(
    summary="BNext-Small, 1.5 times as wide",
    figures=Figures(params=68_581_174, bytes=27_992_248, macs={1: 10_838_016_000, 32: 21_128_640}),
    published=Published(top1=76.1),
)
def bnext_small(**kwargs: Any) -> BNext:
    """Make a BNext-Small; see :func:`bnext_tiny`.

    Example:
        >>> with torch.device("meta"):  # shapes only
        ...     bnext_small(num_classes=10).fc.in_features
        1536
    """
    return BNext(**{"channels": _SMALL, **kwargs})


@_register(
    summary="BNext-Middle, deeper",
    figures=Figures(params=134_479_894, bytes=48_745_528, macs={1: 20_086_456_320, 32: 24_262_080}),
    published=Published(top1=78.3),
)
def bnext_middle(**kwargs: Any) -> BNext:
    """Make a BNext-Middle; see :func:`bnext_tiny`.

    Example:
        >>> with torch.device("meta"):  # shapes only
        ...     len(bnext_middle(num_classes=10).blocks)
        21
    """
    return BNext(**{"channels": _MIDDLE, **kwargs})


@_register(
    summary="BNext-Large, deeper still",
    figures=Figures(params=184_128_022, bytes=64_492_600, macs={1: 29_334_896_640, 32: 26_621_376}),
    published=Published(top1=80.57),
)
def bnext_large(**kwargs: Any) -> BNext:
    """Make a BNext-Large; see :func:`bnext_tiny`.

    Example:
        >>> with torch.device("meta"):  # shapes only
        ...     len(bnext_large(num_classes=10).blocks)
        29
    """
    return BNext(**{"channels": _LARGE, **kwargs})
