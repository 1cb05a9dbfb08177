"""The kernels of compact training, as :mod:`bnn.ops.compact` finds them.

Tensors are float32 on the CPU, without gaps in memory.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bnn.ops import (
    AdaBinInputBinarizer,
    AdaBinWeightBinarizer,
    DoReFaInputBinarizer,
    DoReFaWeightBinarizer,
    HeavisideInputBinarizer,
    TernaryWeightBinarizer,
)
from bnn.packed import ops, runtime
from bnn.packed.conv_ops import bconv_cpu
from bnn.packed.epilogue import Epilogue
from bnn.packed.planes import Planes, input_planes, odd_planes, ternary_planes
from bnn.packed.runtime import native
from bnn.packed.shapes import words

__all__ = [
    "bconv",
    "clip_bits",
    "keep_bits_",
    "latent_gradient_",
    "native",
    "planes_of_input",
    "planes_of_weight",
    "prelu_gradient",
    "scaled_signs",
    "sign_bits",
    "signs_of_bits",
]


def sign_bits(x: Tensor) -> Tensor:
    """Return the signs of ``x``, ``(N, C, *)`` or ``(N, C)``, as words along the channels."""
    return ops.pack_cpu(x.detach(), None, None)


def signs_of_bits(bits: Tensor, channels: int, channels_last: bool) -> Tensor:
    """Return +1 and -1, ``(N, C, *)``; in memory the channels are last, or second."""
    batch, *pixels = bits.shape[:-1]
    shape = (batch, *pixels, channels) if channels_last else (batch, channels, *pixels)
    out = bits.new_empty(shape, dtype=torch.float32)
    sizes = (batch, channels, math.prod(pixels))
    runtime.unpack(bits, out, sizes=sizes, channels_last=channels_last, isa=runtime.isa())
    return out.movedim(-1, 1) if channels_last else out


def clip_bits(x: Tensor) -> Tensor:
    """Return a bit for each element in the order of memory: whether its magnitude is at most 1."""
    out = x.new_empty(words(x.numel()), dtype=torch.int64)
    runtime.clip_bits(x, out, isa=runtime.isa())
    return out


def keep_bits_(x: Tensor, bits: Tensor) -> Tensor:
    """Set ``x`` to 0 where its bit, in the order of memory, is 0; return it."""
    runtime.keep_bits_(x, bits, isa=runtime.isa())
    return x


def scaled_signs(x: Tensor, scale: Tensor | None) -> Tensor:
    """Return the signs of ``x``, times the scale of each row of axis 0, in ``x``'s layout."""
    out = torch.empty_like(x)
    runtime.write_signs(x, scale, out, isa=runtime.isa())
    return out


def latent_gradient_(
    grad: Tensor, weight: Tensor, scale: Tensor | None, *, mean: bool, along: bool
) -> Tensor | None:
    """Turn the gradient of a weight's unscaled signs into that of the weight, in place.

    Both have the same layout, with axis 0 outermost. The estimator is the straight-through one.

    Args:
        grad: Changed.
        weight: What the signs are taken of.
        scale: ``(O,)``, what the signs were multiplied by.
        mean: It is the mean magnitude of each row, and the gradient goes through that too.
        along: Whether the gradient of the scale is wanted.

    Returns:
        The gradient of the scale, ``(O,)``, if it is wanted.
    """
    out = weight.new_empty(weight.shape[0]) if along else None
    runtime.latent_gradient_(grad, weight, scale, mean=mean, along=out, isa=runtime.isa())
    return out


def prelu_gradient(x: Tensor, slope: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of ``x`` and of the slopes.

    Args:
        x: ``(N, C, *)``, contiguous or with the channels last; any shape with one slope.
        slope: ``(C,)`` or ``(1,)``.
        grad: That of the output, in the layout of ``x``.
    """
    if slope.numel() == 1:  # planes that threads can share
        planes = next(n for n in (64, 16, 4, 1) if x.numel() % n == 0)
        sizes, channels_last = (planes, 1, x.numel() // planes), False
    else:
        batch, channels = x.shape[:2]
        sizes = (batch, channels, x.numel() // (batch * channels))
        channels_last = not x.is_contiguous()
    grad_x, along = torch.empty_like(x), x.new_empty(sizes[:2])
    runtime.prelu_gradient(
        x, slope, grad, grad_x, along,
        sizes=sizes, channels_last=channels_last, isa=runtime.isa(),
    )  # fmt: skip
    return grad_x, along.sum(0)


def bconv(
    x: Tensor,
    weight: Tensor,
    channels: int,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    pad_value: int,
    scale: Tensor | None,
    bias: Tensor | None,
) -> Tensor:
    """Return the convolution of packed operands, ``(N, O, *)`` with the channels last in memory.

    Args:
        x: Words ``(N, *spatial, words)``.
        weight: Words ``(O, *kernel, words)``.
        channels: Of the image.
        stride: One number for each axis.
        padding: Two for each axis.
        dilation: One for each axis.
        groups: Of channels.
        pad_value: 0, -1 or +1.
        scale: ``(O,)`` or None.
        bias: ``(O,)`` or None.
    """
    # A new object: its panel goes with it, and only the bits stay for the backward pass.
    weight = weight.view(weight.shape)
    epilogue = Epilogue(scale=scale, bias=bias)
    return bconv_cpu(
        x, weight, channels, stride, padding, dilation, groups, pad_value, "float",
        epilogue=epilogue, residual=None, channels_second=True,
    )[0]  # fmt: skip


def planes_of_input(
    binarizer: nn.Module, integers: Tensor, signs: bool
) -> tuple[Planes, list[Tensor]] | None:
    """Return how the integers of an input are made of signs, and the signs of each plane.

    Args:
        binarizer: It gave the integers.
        integers: Of the input.
        signs: Whether they are known to be signs.

    Returns:
        None where nothing is known, or they are no integers.
    """
    if signs or isinstance(binarizer, AdaBinInputBinarizer):
        return Planes(), [integers]
    if not isinstance(binarizer, HeavisideInputBinarizer | DoReFaInputBinarizer):
        return None
    if not bool(integers.min() >= 0):  # NaN, which plain operations pass on
        return None
    planes = input_planes(binarizer)
    return planes, planes.split(integers)


def planes_of_weight(
    binarizer: nn.Module, integers: Tensor, signs: bool
) -> tuple[Planes, list[Tensor]] | None:
    """Return the same of a weight; see :func:`planes_of_input`."""
    if signs or isinstance(binarizer, AdaBinWeightBinarizer):
        return Planes(), [integers]
    if isinstance(binarizer, TernaryWeightBinarizer):
        return ternary_planes(integers)
    if isinstance(binarizer, DoReFaWeightBinarizer) and binarizer.bits > 1:
        if integers.isnan().any():
            return None
        planes = odd_planes(binarizer.bits)
        return planes, planes.split(integers)
    return None
