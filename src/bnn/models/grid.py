"""Where windows lie on a feature map: "same" padding as PyTorch's habit and as TensorFlow have it.

Both give ceil(size / stride) pixels. PyTorch's networks pad by half the filter on both sides,
whatever the size. TensorFlow pads as little as it can, and the odd pixel goes to the bottom and
right: with stride 2 on an even size its windows start one pixel later. Weights that were trained
with one give something else with the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn
from torch.nn import functional as F

from bnn import layers
from bnn.config import BConfig
from bnn.errors import ConfigError
from bnn.models.checks import check_positive

PADDINGS = ("torch", "tf")

Pads = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Grid:
    """The size of a feature map while a network is built, and how windows are laid on it.

    Attributes:
        size: Height and width.
        padding: ``"torch"`` or ``"tf"``.

    Example:
        >>> Grid((224, 224), "tf").pads(3, stride=2)
        ((0, 1), (0, 1))
        >>> Grid((224, 224), "torch").pads(3, stride=2)
        ((1, 1), (1, 1))
        >>> Grid((224, 224), "tf").strided(2).size
        (112, 112)
    """

    size: tuple[int, int]
    padding: str

    @classmethod
    def of(cls, input_size: int | Sequence[int], padding: str) -> Grid:
        """Return the grid of a network's input.

        Raises:
            ConfigError: If the size is no number or pair of them, or the padding is unknown.
        """
        sizes = (input_size, input_size) if isinstance(input_size, int) else tuple(input_size)
        if len(sizes) != 2:
            raise ConfigError(f"input_size must be one number or height and width, not {sizes!r}")
        check_positive(**dict(zip(("input height", "input width"), sizes, strict=True)))
        if padding not in PADDINGS:
            raise ConfigError(f"padding must be one of {', '.join(PADDINGS)}, not {padding!r}")
        return cls((sizes[0], sizes[1]), padding)

    def pads(self, kernel: int, stride: int = 1, dilation: int = 1) -> Pads:
        """Return (before, after) of height and width, for an output of ceil(size / stride)."""
        extent = (kernel - 1) * dilation
        if self.padding == "torch":
            return ((extent // 2, extent - extent // 2),) * 2
        height, width = (
            max((-(-side // stride) - 1) * stride + extent + 1 - side, 0) for side in self.size
        )
        return (height // 2, height - height // 2), (width // 2, width - width // 2)

    def strided(self, stride: int) -> Grid:
        """Return the grid behind a window of "same" padding."""
        height, width = (-(-side // stride) for side in self.size)
        return replace(self, size=(height, width))

    def valid(self, kernel: int, stride: int = 1) -> Grid:
        """Return the grid behind a window without padding.

        Raises:
            ConfigError: If nothing is left.
        """
        height, width = ((side - kernel) // stride + 1 for side in self.size)
        if min(height, width) < 1:
            raise ConfigError(
                f"a window of {kernel}x{kernel} does not fit on the {self.size[0]}x{self.size[1]} "
                "pixels that the layers before it leave; give a larger input_size"
            )
        return replace(self, size=(height, width))

    def conv(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        *,
        groups: int = 1,
    ) -> nn.Conv2d:
        """Return a float convolution of "same" padding, without bias."""
        return PaddedConv2d.of(
            in_channels, out_channels, kernel, stride, self.pads(kernel, stride), groups
        )

    def binary_conv(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        *,
        bconfig: BConfig,
        dilation: int = 1,
        padding_value: int = 0,
    ) -> layers.Conv2d:
        """Return a binary convolution of "same" padding, without bias."""
        pads = self.pads(kernel, stride, dilation)
        return layers.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=_plain(pads) or pads,
            dilation=dilation,
            bias=False,
            padding_value=padding_value,
            bconfig=bconfig,
        )

    def max_pool(self, kernel: int, stride: int) -> nn.MaxPool2d:
        """Return a max pooling of "same" padding, which never sees the padded pixels."""
        if self.padding == "torch" and kernel % 2:
            return nn.MaxPool2d(kernel, stride, padding=kernel // 2)
        (top, _), (left, _) = self.pads(kernel, stride) if self.padding == "tf" else ((0, 0),) * 2
        return nn.MaxPool2d(kernel, stride, padding=(top, left), ceil_mode=True)


class PaddedConv2d(nn.Conv2d):
    """A float convolution with another padding before than after an axis.

    Attributes:
        pads: (before, after) of height and width.
    """

    pads: Pads = ((0, 0), (0, 0))

    @classmethod
    def of(
        cls,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int,
        pads: Pads,
        groups: int = 1,
        bias: bool = False,
    ) -> nn.Conv2d:
        """Return a plain nn.Conv2d where the pads are equal, else one of this class.

        Example:
            >>> PaddedConv2d.of(3, 8, 3, 2, ((1, 1), (1, 1)))
            Conv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), bias=False)
            >>> PaddedConv2d.of(3, 8, 3, 2, ((0, 1), (0, 1)))
            PaddedConv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), bias=False, \
pads=((0, 1), (0, 1)))
        """
        plain = _plain(pads)
        if plain is not None:
            return nn.Conv2d(
                in_channels, out_channels, kernel, stride, plain, groups=groups, bias=bias
            )
        conv = cls(in_channels, out_channels, kernel, stride, groups=groups, bias=bias)
        conv.pads = pads
        return conv

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as in nn
        """Return the convolution of the padded input."""
        (top, bottom), (left, right) = self.pads
        return super().forward(F.pad(input, (left, right, top, bottom)))

    def extra_repr(self) -> str:
        """Return what ``print(module)`` shows."""
        return f"{super().extra_repr()}, pads={self.pads}"


def _plain(pads: Pads) -> tuple[int, int] | None:
    """Return one padding for each axis, if it is the same before and after."""
    (top, bottom), (left, right) = pads
    return (top, left) if (top, left) == (bottom, right) else None
