"""Pooling of bits and of floats."""

from __future__ import annotations

from torch import Tensor

from bnn.errors import PackedError
from bnn.packed import ops
from bnn.packed.functional.arguments import (
    Size,
    channels_first,
    check_int,
    check_tensors,
    each_axis,
)


def max_pool2d(
    x: Tensor,
    channels: int,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Return the maximum of each window: +1 if any of its pixels is. As ``F.max_pool2d``.

    Args:
        x: ``(N, H, W, words(C))``.
        channels: C.
        kernel_size: One number, or (vertical, horizontal), like all that follow.
        stride: Default: ``kernel_size``.
        padding: Takes no part in the maximum; no window may lie in it alone.
        dilation: Distance of the taps.
        ceil_mode: Keep the windows that end behind the image.

    Returns:
        ``(N, out_h, out_w, words(C))``.

    Example:
        >>> from bnn.packed.functional import pack, unpack
        >>> x = pack(torch.tensor([[[[-1.0, 1.0], [-1.0, -1.0]]]]))
        >>> unpack(max_pool2d(x, 1, kernel_size=(1, 2)), 1).flatten()
        tensor([ 1., -1.])
    """
    op = "max_pool2d"
    check_tensors(op, x=x)
    kernel = each_axis(op, "kernel_size", kernel_size, 2)
    pooled: Tensor = ops.max_pool2d(
        x,
        check_int(op, "channels", channels),
        kernel,
        kernel if stride is None else each_axis(op, "stride", stride, 2),
        each_axis(op, "padding", padding, 2),
        each_axis(op, "dilation", dilation, 2),
        bool(ceil_mode),
    )
    return pooled


def global_avg_pool(x: Tensor, channels: int) -> Tensor:
    """Return each channel's mean over the pixels: an exact sum, divided once.

    Args:
        x: ``(N, H, W, words(C))``.
        channels: C.

    Returns:
        ``(N, C)`` float32.

    Example:
        >>> from bnn.packed.functional import pack
        >>> global_avg_pool(pack(torch.tensor([[[[-1.0, 1.0, 1.0, 1.0]]]])), 1)
        tensor([[0.5000]])
    """
    check_tensors("global_avg_pool", x=x)
    mean: Tensor = ops.global_avg_pool(x, check_int("global_avg_pool", "channels", channels))
    return mean


def avg_pool2d(
    x: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Return the mean of each window of floats, taps added row by row. As ``F.avg_pool2d``.

    Args:
        x: ``(N, C, H, W)`` float32; quickest in channels_last memory.
        kernel_size: One number, or (vertical, horizontal), like all that follow.
        stride: Default: ``kernel_size``.
        padding: With 0.
        ceil_mode: Keep the windows that end behind the image.
        count_include_pad: Divide by the window's size, not by its pixels inside the image.

    Returns:
        ``(N, C, out_h, out_w)`` in channels_last memory.

    Example:
        >>> avg_pool2d(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]), 2)
        tensor([[[[3.]]]])
    """
    op = "avg_pool2d"
    check_tensors(op, x=x)
    if x.dim() != 4:
        raise PackedError(f"{op}: x has shape {tuple(x.shape)}; it must be (N, C, H, W).")
    kernel = each_axis(op, "kernel_size", kernel_size, 2)
    out = ops.avg_pool2d(
        x.movedim(1, -1),
        kernel,
        kernel if stride is None else each_axis(op, "stride", stride, 2),
        each_axis(op, "padding", padding, 2),
        bool(ceil_mode),
        bool(count_include_pad),
    )
    return channels_first(out)
