"""Sizes of a packed operation, in the order in which the native part takes them."""

from __future__ import annotations

import math
from typing import NamedTuple

WORD_BITS = 64


def words(bits: int) -> int:
    """Return how many 64-bit words hold ``bits`` bits.

    Example:
        >>> words(64), words(65)
        (1, 2)
    """
    return (bits + WORD_BITS - 1) // WORD_BITS


class ConvShape(NamedTuple):
    """A convolution: native/include/bnn/bconv2d.h's struct of that name.

    A linear layer is a 1x1 convolution of 1x1 images; a 1-D convolution has height 1.

    Example:
        >>> shape = ConvShape(1, 5, 7, 100, 8, 3, 3, pad_left=1, pad_right=1)
        >>> shape.out_h, shape.out_w, shape.taps_bits
        (3, 7, 900)
    """

    batch: int
    height: int
    width: int
    channels: int
    out_channels: int
    kernel_h: int
    kernel_w: int
    stride_h: int = 1
    stride_w: int = 1
    dilation_h: int = 1
    dilation_w: int = 1
    pad_top: int = 0
    pad_bottom: int = 0
    pad_left: int = 0
    pad_right: int = 0
    groups: int = 1
    pad_value: int = 0

    @property
    def extent_h(self) -> int:
        """Rows of the image that one output pixel sees."""
        return self.dilation_h * (self.kernel_h - 1) + 1

    @property
    def extent_w(self) -> int:
        """Columns of the image that one output pixel sees."""
        return self.dilation_w * (self.kernel_w - 1) + 1

    @property
    def out_h(self) -> int:
        """Height of the output."""
        padded = self.height + self.pad_top + self.pad_bottom
        return (padded - self.extent_h) // self.stride_h + 1

    @property
    def out_w(self) -> int:
        """Width of the output."""
        padded = self.width + self.pad_left + self.pad_right
        return (padded - self.extent_w) // self.stride_w + 1

    @property
    def group_channels(self) -> int:
        """Input channels of one group."""
        return self.channels // self.groups

    @property
    def taps_bits(self) -> int:
        """Bits of one filter: the largest sum there can be."""
        return self.kernel_h * self.kernel_w * self.group_channels


class PoolShape(NamedTuple):
    """A pooling window over images: native/include/bnn/pool.h's struct of that name."""

    batch: int
    height: int
    width: int
    channels: int
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    pad_top: int
    pad_left: int
    dilation_h: int
    dilation_w: int
    out_h: int
    out_w: int


def pool_out(size: int, kernel: int, stride: int, pad: int, dilation: int, ceil_mode: bool) -> int:
    """Return the windows along one axis, as ``nn.MaxPool2d`` counts them.

    Example:
        >>> pool_out(6, 3, 2, 0, 1, False), pool_out(6, 3, 2, 0, 1, True)
        (2, 3)
    """
    room = size + 2 * pad - dilation * (kernel - 1) - 1
    if not ceil_mode:
        return room // stride + 1
    out = -(-room // stride) + 1
    # A window that begins in the padding behind the image is dropped.
    return out - 1 if (out - 1) * stride >= size + pad else out


def padded_words(shape: ConvShape) -> int:
    """Return the words of the batch once it is padded."""
    height = shape.height + shape.pad_top + shape.pad_bottom
    width = shape.width + shape.pad_left + shape.pad_right
    return math.prod((shape.batch, height, width, words(shape.channels)))
