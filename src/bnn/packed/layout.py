"""The bit layout and every 1-bit operation in plain torch: slow, obvious, on any device.

A bit is ``x < 0``: +1 is 0, -1 is 1. 64 of them make an ``int64`` word, the first in its least
significant bit, along the channels, which are the last axis (NHWC). The unused bits of a last word,
the pad bits, are 0.

The native kernels are tested against this file, and tensors on other devices than the CPU are
computed by it. Arguments are not checked here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bnn.packed.epilogue import Epilogue
from bnn.packed.shapes import WORD_BITS, ConvShape, PoolShape


def pack_bits(bits: Tensor) -> Tensor:
    """Return ``(..., C)`` booleans as ``(..., words(C))`` words.

    Example:
        >>> pack_bits(torch.tensor([True, False, True]))
        tensor([5])
    """
    padded = F.pad(bits.to(torch.int64), (0, -bits.shape[-1] % WORD_BITS))
    place = torch.arange(WORD_BITS, device=bits.device)
    placed: Tensor = padded.unflatten(-1, (-1, WORD_BITS)) << place
    return placed.sum(-1)


def pack(x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
    """Return the bits ``fma(x, scale, shift) < 0``, ``(N, C, *) -> (N, *, words(C))``.

    Example:
        >>> pack(torch.tensor([[0.5, -1.0, -2.0]]))
        tensor([[6]])
    """
    x = x.movedim(1, -1)
    if scale is not None or shift is not None:
        x = fused(x.float(), scale, shift)
    return pack_bits(x < 0)


def unpack(x: Tensor, channels: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return +1 and -1, ``(..., words(C)) -> (..., C)``.

    Example:
        >>> unpack(torch.tensor([6]), 3)
        tensor([ 1., -1., -1.])
    """
    place = torch.arange(WORD_BITS, device=x.device)
    bits = (x.unsqueeze(-1) >> place & 1).flatten(-2)[..., :channels]
    return (1 - 2 * bits).to(dtype)


def bgemm(a: Tensor, b: Tensor, k: int) -> Tensor:
    """Return the int32 products ``(M, words(k)) x (N, words(k)) -> (M, N)``.

    Example:
        >>> bgemm(torch.tensor([[0b01]]), torch.tensor([[0b11], [0b01]]), k=2)
        tensor([[0, 2]], dtype=torch.int32)
    """
    exact = _exact(k)
    return _integers(unpack(a, k, exact) @ unpack(b, k, exact).T)


def bconv2d(shape: ConvShape, x: Tensor, weight: Tensor) -> Tensor:
    """Return the sums of a convolution, int32.

    Args:
        shape: The sizes; the tensors have them.
        x: ``(N, H, W, words(C))``.
        weight: ``(O, kh, kw, words(C / groups))``.

    Returns:
        ``(N, out_h, out_w, O)``.
    """
    exact = _exact(shape.taps_bits)
    image = unpack(x, shape.channels, exact).movedim(-1, 1)
    pads = (shape.pad_left, shape.pad_right, shape.pad_top, shape.pad_bottom)
    image = F.pad(image, pads, value=shape.pad_value)
    filters = unpack(weight, shape.group_channels, exact).movedim(-1, 1)
    out = F.conv2d(
        _in_order(image),
        _in_order(filters),
        stride=shape[7:9],
        dilation=shape[9:11],
        groups=shape.groups,
    )
    return _integers(out.movedim(1, -1))


def _in_order(x: Tensor) -> Tensor:
    """Return ``x`` with its axes in memory as they are in its shape.

    torch 2.13 reads beyond channels_last images of one channel, with strides such as (1, 2).
    """
    return x.clone(memory_format=torch.contiguous_format)


def _exact(largest: int) -> torch.dtype:
    """Return the type that holds every sum of so many +-1 exactly."""
    return torch.float32 if largest <= 2**24 else torch.float64


def _integers(sums: Tensor) -> Tensor:
    """Return the sums as int32; an FFT, which a GPU may take, is a little beside them."""
    return sums.round().to(torch.int32)


def finish(acc: Tensor, epilogue: Epilogue, residual: Tensor | None = None) -> Tensor:
    """Return the epilogue's ``out``: ``(..., O)`` int32 and float32 -> float32."""
    e = epilogue
    v = _affine(_affine(acc.float(), e.scale, e.bias), e.post_scale, None)
    v = _activate(v, e.first_activation, e.first_slope)
    v = fused(v, e.affine_scale, e.affine_shift)
    if residual is not None and e.residual_at == "before_activation":
        v = v + residual
    v = _affine(v, None, e.second_shift_in)
    v = _activate(v, e.second_activation, e.second_slope)
    v = _affine(v, None, e.second_shift_out)
    if residual is not None and e.residual_at == "after_activation":
        v = v + residual
    return v


def threshold(v: Tensor, epilogue: Epilogue) -> Tensor:
    """Return the epilogue's bits for its ``out``: ``(..., O) -> (..., words(O))``."""
    return pack_bits(fused(v, epilogue.bit_scale, epilogue.bit_shift) < 0)


def _affine(v: Tensor, scale: Tensor | None, shift: Tensor | None) -> Tensor:
    if scale is not None:
        v = v * scale
    if shift is not None:
        v = v + shift
    return v


def fused(v: Tensor, scale: Tensor | None, shift: Tensor | None) -> Tensor:
    """Return ``v * scale + shift``, rounded once."""
    if scale is None or shift is None:
        return _affine(v, scale, shift)
    product = v.double() * scale.double()  # exact: 24 + 24 bits
    total = product + shift.double()
    # What that sum lost. Where it did, its last bit is made odd: rounding it to float32 then goes
    # the way that the exact sum would (Boldo and Melquiond, 2008).
    back = total - product
    lost = (product - (total - back)) + (shift.double() - back)
    bits = total.view(torch.int64)
    towards = torch.where((lost > 0) == (total > 0), 1, -1)
    inexact = (lost != 0) & lost.isfinite() & (bits & 1 == 0)
    return torch.where(inexact, bits + towards, bits).view(torch.float64).float()


def _activate(v: Tensor, activation: str | None, slope: Tensor | None) -> Tensor:
    if activation == "relu":
        return F.relu(v)
    if activation == "hardtanh":
        return F.hardtanh(v)
    if slope is not None:  # PReLU
        return torch.where(v < 0, v * slope, v)
    return v


def max_pool2d(shape: PoolShape, x: Tensor) -> Tensor:
    """Return the maximum of each window, bits to bits: ``(N, H, W, words) -> (N, h, w, words)``."""
    # No window is all padding, so padding with the smaller of the two values takes no part.
    image = F.pad(unpack(x, shape.channels), _frame(shape), value=-1)
    largest = torch.stack([*_taps(shape, image)]).amax(0)
    return pack_bits(largest < 0)


def global_avg_pool(x: Tensor, channels: int) -> Tensor:
    """Return the mean over the pixels, ``(N, H, W, words(C)) -> (N, C)`` float32."""
    pixels = x.shape[1] * x.shape[2]
    return unpack(x, channels, torch.int64).sum((1, 2)).float() / pixels


def avg_pool2d(shape: PoolShape, x: Tensor, count_include_pad: bool) -> Tensor:
    """Return the mean of each window, taps added row by row: ``(N, H, W, C)`` floats."""
    total = torch.zeros((), device=x.device)
    inside = torch.zeros((), device=x.device)
    ones = x.new_ones((1, shape.height, shape.width, 1))
    for tap, one in zip(
        _taps(shape, F.pad(x, _frame(shape))), _taps(shape, F.pad(ones, _frame(shape))), strict=True
    ):
        total = total + tap
        inside = inside + one
    return total / (shape.kernel_h * shape.kernel_w if count_include_pad else inside)


def _frame(shape: PoolShape) -> tuple[int, ...]:
    """Return the pads of an NHWC image with which every window lies inside it."""

    def after(size: int, out: int, stride: int, kernel: int, dilation: int, before: int) -> int:
        return max((out - 1) * stride + (kernel - 1) * dilation + 1 - before - size, 0)

    s = shape
    right = after(s.width, s.out_w, s.stride_w, s.kernel_w, s.dilation_w, s.pad_left)
    bottom = after(s.height, s.out_h, s.stride_h, s.kernel_h, s.dilation_h, s.pad_top)
    return (0, 0, s.pad_left, right, s.pad_top, bottom)


def _taps(shape: PoolShape, image: Tensor) -> list[Tensor]:
    """Return, for each tap of the window, row by row, what all windows see there."""
    s = shape
    height, width = (s.out_h - 1) * s.stride_h + 1, (s.out_w - 1) * s.stride_w + 1
    return [
        image[:, y : y + height : s.stride_h, x : x + width : s.stride_w]
        for y in range(0, s.kernel_h * s.dilation_h, s.dilation_h)
        for x in range(0, s.kernel_w * s.dilation_w, s.dilation_w)
    ]


def concat(inputs: list[Tensor], channels: list[int]) -> Tensor:
    """Return the channels of all inputs in a row, ``(..., words(C_i)) -> (..., words(sum C_i))``.

    Example:
        >>> concat([torch.tensor([0b101]), torch.tensor([0b1])], [3, 1])
        tensor([13])
    """
    values = [unpack(x, count) for x, count in zip(inputs, channels, strict=True)]
    return pack_bits(torch.cat(values, -1) < 0)


def channel_shuffle(x: Tensor, channels: int, groups: int) -> Tensor:
    """Return channel ``g * (C / groups) + c`` as channel ``c * groups + g``.

    Example:
        >>> channel_shuffle(torch.tensor([0b0011]), 4, 2)  # channels 0, 1, 2, 3 -> 0, 2, 1, 3
        tensor([5])
    """
    values = unpack(x, channels).unflatten(-1, (groups, -1))
    return pack_bits(values.transpose(-1, -2).flatten(-2) < 0)


def weight_only_conv2d(
    shape: ConvShape, x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None
) -> Tensor:
    """Return ``sum(x * sign(w)) * scale + bias``, float32 ``(N, H, W, C) -> (N, h, w, O)``."""
    pads = (shape.pad_left, shape.pad_right, shape.pad_top, shape.pad_bottom)
    out = F.conv2d(
        _in_order(F.pad(x.movedim(-1, 1), pads)),
        _in_order(unpack(weight, shape.group_channels).movedim(-1, 1)),
        stride=shape[7:9],
        dilation=shape[9:11],
        groups=shape.groups,
    )
    return _affine(out.movedim(1, -1), scale, bias)
