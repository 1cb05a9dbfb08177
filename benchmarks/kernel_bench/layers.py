"""The layers that are measured, with their data and their exact results."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from bnn.packed.shapes import ConvShape


@dataclass(frozen=True)
class Layer:
    """A convolution of square images; a linear layer is one of images of one pixel."""

    name: str
    channels: int
    size: int
    out_channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    dilation: int = 1
    groups: int = 1
    batch: int = 1

    @property
    def is_linear(self) -> bool:
        """Whether torch would compute it with F.linear."""
        return self.size == 1

    @property
    def out_size(self) -> int:
        """Height and width of the output."""
        return self.shape().out_h

    @property
    def operations(self) -> int:
        """Two for each multiplication and addition, those of padded taps included."""
        pixels = self.batch * self.out_size**2
        return 2 * pixels * self.out_channels * self.shape().taps_bits

    def shape(self, pad_value: int = 0) -> ConvShape:
        """Return the native part's description."""
        return ConvShape(
            self.batch,
            self.size,
            self.size,
            self.channels,
            self.out_channels,
            *[self.kernel] * 2,
            *[self.stride] * 2,
            *[self.dilation] * 2,
            *[self.padding] * 4,
            self.groups,
            pad_value,
        )


def _conv(name: str, channels: int, size: int, **rest: int) -> Layer:
    return Layer(name, channels, size, channels, **rest)


def _linear(features: int, batch: int) -> Layer:
    name = f"Linear {features}x{features} batch {batch}"
    return Layer(name, features, 1, features, kernel=1, padding=0, batch=batch)


SIX = (
    _conv("3x3 64@56", 64, 56),
    _conv("3x3 128@28", 128, 28),
    _conv("3x3 256@14", 256, 14),
    _conv("3x3 512@7", 512, 7),
    _conv("3x3 256@56", 256, 56),
    _conv("3x3 256@14 batch 8", 256, 14, batch=8),
)
LAYERS = (
    *SIX,
    _conv("1x1 256@14", 256, 14, kernel=1, padding=0),
    _conv("3x3 stride 2 128@28", 128, 28, stride=2),
    _conv("3x3 groups 4 256@14", 256, 14, groups=4),
    _conv("3x3 depthwise 256@14", 256, 14, groups=256),
    _conv("3x3 dilation 2 256@14", 256, 14, dilation=2, padding=2),
    _conv("3x3 100@28", 100, 28),
    *(_linear(features, batch) for features in (1024, 4096) for batch in (1, 16, 64)),
)
WEIGHT_ONLY = (
    _linear(1024, 1),
    _linear(4096, 1),
    _conv("3x3 64@56", 64, 56),
    _conv("3x3 256@14", 256, 14),
)
PACK = SIX[:5]


class Problem:
    """A layer with random data. Images are NHWC in memory and NCHW in torch's axes.

    Attributes:
        layer: What it is.
        x: ``(N, C, H, W)`` float32, channels_last. None of it is 0, where peers differ in the sign.
        weight: ``(O, C / groups, k, k)`` float32.
        scale: ``(O,)``, of both signs.
        bit_scale: ``(O,)``: with ``bit_shift``, the next layer's folded batch norm.
        bit_shift: ``(O,)``.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        random = torch.Generator().manual_seed(0)

        def normal(*size: int) -> Tensor:
            return torch.randn(*size, generator=random)

        x = normal(layer.batch, layer.channels, layer.size, layer.size)
        self.x = x.where(x != 0, 1.0).contiguous(memory_format=torch.channels_last)
        self.weight = normal(
            layer.out_channels, layer.channels // layer.groups, layer.kernel, layer.kernel
        )
        self.scale = normal(layer.out_channels) / layer.shape().taps_bits
        self.bit_scale = normal(layer.out_channels)
        self.bit_shift = normal(layer.out_channels) * math.sqrt(layer.shape().taps_bits)

    @property
    def x_nhwc(self) -> Tensor:
        """``x`` as the native part sees it, contiguous."""
        return self.x.movedim(1, -1)

    @cached_property
    def signs(self) -> Tensor:
        """The weight's signs, channels_last."""
        signs = torch.where(self.weight < 0, -1.0, 1.0)
        return signs.contiguous(memory_format=torch.channels_last)

    def sums(self, pad_value: int) -> Tensor:
        """Return the exact result of the signs, ``(N, O, H, W)``, by torch.

        They are integers below 2^24, which float32 adds without rounding in any order.
        """
        signs = torch.where(self.x < 0, -1.0, 1.0)
        return self.convolve(F.pad(signs, [self.layer.padding] * 4, value=pad_value), padding=0)

    def weight_only(self) -> Tensor:
        """Return the result of floats with the weight's signs, in float64."""
        return self.convolve(self.x.double(), self.layer.padding, self.signs.double())

    def convolve(self, x: Tensor, padding: int, weight: Tensor | None = None) -> Tensor:
        """Return torch's convolution of ``x``, by default with the weight's signs."""
        layer = self.layer
        return F.conv2d(
            x,
            self.signs if weight is None else weight,
            stride=layer.stride,
            padding=padding,
            dilation=layer.dilation,
            groups=layer.groups,
        )
