"""ReActNet: learnt shifts around each sign and each activation."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bnn import layers
from bnn.config import BConfig
from bnn.errors import ConfigError
from bnn.layers import RPReLU
from bnn.models.factories import NormFactory
from bnn.models.grid import Grid
from bnn.models.mobile_shape import MobileShapeNet
from bnn.models.preprocessing import IMAGENET
from bnn.models.registry import Figures, Published, register_model
from bnn.models.skip_per_conv import SkipBlock, SkipPerConvNet
from bnn.ops import MagnitudeAwareWeightBinarizer, RSignInputBinarizer

_BCONFIG = BConfig(RSignInputBinarizer, weight_pre_process=MagnitudeAwareWeightBinarizer)

#: Channels of the stem and of each block: MobileNet's.
_MOBILE_CHANNELS = (32, 64, *[128] * 2, *[256] * 2, *[512] * 6, *[1024] * 2)


class ReActSkipBlock(SkipBlock):
    """RSign, scaled binary 3x3 convolution, batch norm, plus the shortcut, then RPReLU."""

    BCONFIG = _BCONFIG

    def _build(self, in_channels: int, out_channels: int, norm: NormFactory) -> None:
        super()._build(in_channels, out_channels, norm)
        self.act = RPReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return act(branch + shortcut)."""
        out: Tensor = self.act(super().forward(x))
        return out


class ReActResNet(SkipPerConvNet):
    """A residual network of :class:`ReActSkipBlock`.

    Arguments and shapes: see :class:`bnn.models.skip_per_conv.SkipPerConvNet`.

    Reference:
        Liu et al., *ReActNet*, ECCV 2020. https://arxiv.org/abs/2003.03488

    Example:
        >>> ReActResNet((1, 1), 5, width=8)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    BLOCK = ReActSkipBlock


class ReActBlock(nn.Module):
    """Binary 3x3 and 1x1 convolution, each with batch norm, shortcut and RPReLU.

    Where the channels double, both halves of the 1x1 convolution's output have the same shortcut,
    so that no convolution stands in its way.

    Args:
        in_channels: Channels of the input.
        out_channels: The same, or twice as many.
        stride: Of the 3x3 convolution.
        grid: Size and padding of the input.
        down_groups: Groups of a float 1x1 convolution where the channels double; 0 makes it
            binary.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, out_channels, ceil(H / stride), ceil(W / stride)).

    Raises:
        ConfigError: If the channels neither stay nor double.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        grid: Grid,
        down_groups: int = 0,
    ) -> None:
        super().__init__()
        self.doubles = out_channels != in_channels
        if out_channels not in (in_channels, 2 * in_channels):
            raise ConfigError(
                f"a block keeps its {in_channels} channels or doubles them, it cannot give "
                f"{out_channels}"
            )
        self.conv1 = grid.binary_conv(in_channels, in_channels, 3, stride, bconfig=_BCONFIG)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.act1 = RPReLU(in_channels)
        if self.doubles and down_groups:
            self.conv2 = nn.Conv2d(in_channels, out_channels, 1, groups=down_groups, bias=False)
        else:
            self.conv2 = layers.Conv2d(in_channels, out_channels, 1, bias=False, bconfig=_BCONFIG)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.act2 = RPReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the second activation."""
        x = self.act1(self.bn1(self.conv1(x)) + self.pool(x))
        shortcut = torch.cat((x, x), dim=1) if self.doubles else x
        out: Tensor = self.act2(self.bn2(self.conv2(x)) + shortcut)
        return out


class ReActNet(MobileShapeNet):
    """MobileNet's shape with binary convolutions, as ReActNet-A, -B and -C have it.

    Args:
        channels: Of the stem, then of each block. A block whose channels double, but the first,
            halves the size.
        num_classes: Outputs.
        in_channels: Channels of the image.
        down_groups: Groups of the 1x1 convolutions where channels double, which are float then;
            0 makes them binary, as all others are.
        input_size: The image's height and width, which only ``padding="tf"`` needs.
        padding: ``"torch"`` or ``"tf"``, see :class:`bnn.models.grid.Grid`.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, num_classes).

    Raises:
        ConfigError: If an argument is out of range.

    Reference:
        Liu et al., *ReActNet*, ECCV 2020. https://arxiv.org/abs/2003.03488

    Example:
        >>> ReActNet((8, 16, 32), 5)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        channels: Sequence[int] = _MOBILE_CHANNELS,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        down_groups: int = 0,
        input_size: int | Sequence[int] = 224,
        padding: str = "torch",
    ) -> None:
        super().__init__(
            channels,
            num_classes,
            lambda _, before, after, stride, grid: ReActBlock(
                before, after, stride, grid, down_groups
            ),
            in_channels=in_channels,
            input_size=input_size,
            padding=padding,
        )


_imagenet = functools.partial(
    register_model,
    input_shape=(3, 224, 224),
    num_classes=1000,
    paper="https://arxiv.org/abs/2003.03488",
    preprocessing=IMAGENET,
)
_mobile = functools.partial(
    _imagenet,
    network=ReActNet,
    tiny={"channels": (32, 32, 64, 64), "num_classes": 5, "input_size": 32},
    tiny_shape=(3, 32, 32),
)


@_mobile(
    summary="ReActNet-A, MobileNet's shape with binary convolutions",
    figures=Figures(params=29_343_592, bytes=7_893_280, macs={1: 4_816_896_000, 32: 11_862_016}),
    published=Published(top1=69.4),
)
def reactnet_a(**kwargs: Any) -> ReActNet:
    """Make a ReActNet-A; any argument of :class:`ReActNet` can be given by keyword.

    Example:
        >>> reactnet_a(num_classes=10).fc
        Linear(in_features=1024, out_features=10, bias=True)
    """
    return ReActNet(**kwargs)


@_mobile(
    summary="ReActNet-B: where channels double, float convolutions of 4 groups",
    figures=Figures(params=28_818_824, bytes=8_500_384, macs={1: 4_688_445_440, 32: 43_974_656}),
    published=Published(top1=70.1),
)
def reactnet_b(**kwargs: Any) -> ReActNet:
    """Make a ReActNet-B; see :func:`reactnet_a`.

    Example:
        >>> reactnet_b(num_classes=10).blocks[0].conv2.groups
        4
    """
    return ReActNet(**{"down_groups": 4, **kwargs})


@_mobile(
    summary="ReActNet-C: where channels double, float convolutions",
    figures=Figures(params=29_342_600, bytes=10_595_488, macs={1: 4_688_445_440, 32: 140_312_576}),
    published=Published(top1=71.4),
)
def reactnet_c(**kwargs: Any) -> ReActNet:
    """Make a ReActNet-C; see :func:`reactnet_a`.

    Example:
        >>> reactnet_c(num_classes=10).blocks[0].conv2.groups
        1
    """
    return ReActNet(**{"down_groups": 1, **kwargs})


@_imagenet(
    network=ReActResNet,
    summary="ReAct-ResNet-18, a shortcut around each binary convolution",
    tiny={"layers": (2, 1), "width": 32, "num_classes": 5, "input_size": 32},
    tiny_shape=(3, 32, 32),
    figures=Figures(params=11_704_424, bytes=4_248_992, macs={1: 1_676_279_808, 32: 137_793_536}),
    published=Published(top1=65.9),
)
def react_resnet18(**kwargs: Any) -> ReActResNet:
    """Make a ReAct-ResNet-18; any argument of :class:`ReActResNet` can be given by keyword.

    Example:
        >>> react_resnet18(num_classes=10).stages[0][0].act
        RPReLU(num_parameters=64)
    """
    return ReActResNet(**kwargs)
