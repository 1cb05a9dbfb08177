"""Checks of what the operators are given: the native part trusts its arguments.

They are made once, inside the operators of :mod:`bnn.packed.ops`, so that a direct call of
``torch.ops.bnn`` and a call through :mod:`bnn.packed.functional` meet the same ones, and the fake
kernels too. Sizes may be symbolic there, so nothing is compared that need not be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bnn.errors import PackedError
from bnn.packed.shapes import WORD_BITS, ConvShape, PoolShape, padded_words, pool_out, words

_LARGEST = 2**31 - 1  # of a size that no tensor bounds: a stride, a pad
_MOST_SCRATCH = 2**31  # bytes that a convolution may take beside its tensors
_MOST_TAPS = 2**24  # of a pooling window
_HOW_TO_PACK = "Words come from bnn.packed.functional.pack."


def check_tensors(op: str, tensors: Mapping[str, Tensor | None]) -> None:
    """Raise PackedError if one needs a gradient, or they are on different devices."""
    device = None
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if tensor.requires_grad and torch.is_grad_enabled():
            raise PackedError(
                f"{op}: {name} requires a gradient, and 1-bit operations have none. Run packed "
                "networks under torch.no_grad() or torch.inference_mode(), and train the layers "
                "of bnn.layers."
            )
        device = device or tensor.device
        if tensor.device != device:
            first = next(iter(tensors))
            raise PackedError(
                f"{op}: {name} is on {tensor.device}, but {first} on {device}. Move both to one "
                f"device, as {name}.to({first}.device) does."
            )


def check_dtype(op: str, name: str, x: Tensor, allowed: Sequence[torch.dtype], remedy: str) -> None:
    """Raise PackedError if ``x`` has none of these types."""
    if x.dtype not in allowed:
        raise PackedError(
            f"{op}: {name} is {x.dtype}; allowed: {', '.join(map(str, allowed))}. {remedy}"
        )


def check_words(op: str, name: str, x: Tensor, axes: str, bits: int, of: str = "channels") -> None:
    """Raise PackedError if ``x`` is not words of ``bits`` bits with these axes before them.

    Args:
        op: The operator, for the message.
        name: The argument, for the message.
        x: The tensor.
        axes: Its axes, as in ``"N, H, W, words"``; empty for any.
        bits: How many bits each row of words holds.
        of: What ``bits`` is called.
    """
    check_dtype(op, name, x, (torch.int64,), _HOW_TO_PACK)
    if bits < 1:
        raise PackedError(f"{op}: {of} is {bits}; it must be at least 1.")
    if x.dim() != (len(axes.split(",")) if axes else max(x.dim(), 1)):
        raise PackedError(
            f"{op}: {name} has shape {_shape(x)}; it must be ({axes or '*, words'}). {_HOW_TO_PACK}"
        )
    if x.shape[-1] != words(bits):
        raise PackedError(
            f"{op}: {name} has {x.shape[-1]} words in its last axis; {bits} {of} take "
            f"{words(bits)} of {WORD_BITS} bits. {_HOW_TO_PACK}"
        )


def check_vectors(op: str, vectors: Mapping[str, Tensor | None], size: int) -> None:
    """Raise PackedError if one is not ``(size,)`` in float32."""
    for name, vector in vectors.items():
        if vector is None:
            continue
        check_dtype(op, name, vector, (torch.float32,), f"Convert it with {name}.float().")
        if vector.dim() != 1 or vector.shape[0] != size:
            raise PackedError(
                f"{op}: {name} has shape {_shape(vector)}; one value for each channel is ({size},)."
            )


def _shape(x: Tensor) -> str:
    return str(tuple(x.shape))


def check_sizes(op: str, name: str, sizes: Sequence[int], count: int, least: int) -> None:
    """Raise PackedError if there are not ``count`` numbers from ``least`` up."""
    if len(sizes) != count:
        raise PackedError(f"{op}: {name} is {list(sizes)}; it must be {count} numbers.")
    for size in sizes:
        if not least <= size <= _LARGEST:
            raise PackedError(
                f"{op}: {name} is {list(sizes)}; each must be from {least} to {_LARGEST}."
            )


def conv_shape(
    op: str,
    sizes: Sequence[int],
    weight: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    pad_value: int,
) -> ConvShape:
    """Return the shape of a convolution along 0, 1 or 2 axes.

    Args:
        op: The operator, for messages.
        sizes: ``(N, *spatial, C)``, of channels, not words.
        weight: ``(O, *kernel)``.
        stride: One number for each axis.
        padding: Two for each axis: before and after.
        dilation: One for each axis.
        groups: Of channels.
        pad_value: 0, -1 or +1.

    Raises:
        PackedError: If these make no convolution.
    """
    batch, *image, channels = sizes
    out_channels, *kernel = weight
    axes = len(kernel)
    check_sizes(op, "stride", stride, axes, 1)
    check_sizes(op, "padding", padding, 2 * axes, 0)
    check_sizes(op, "dilation", dilation, axes, 1)
    check_groups(op, groups, channels, "channels")
    check_groups(op, groups, out_channels, "out channels")
    if pad_value not in (-1, 0, 1):
        raise PackedError(f"{op}: pad_value is {pad_value}; allowed: -1, 0, 1.")
    lead = 2 - axes  # axes of size 1 in front
    pads = [0] * (2 * lead) + list(padding)
    shape = ConvShape._make(
        (
            batch,
            *[1] * lead,
            *image,
            channels,
            out_channels,
            *[1] * lead,
            *kernel,
            *[1] * lead,
            *stride,
            *[1] * lead,
            *dilation,
            *pads,
            groups,
            pad_value,
        )
    )
    _check_fits(op, "height", shape.height, shape.extent_h, pads[:2])
    _check_fits(op, "width", shape.width, shape.extent_w, pads[2:])
    if shape.taps_bits > _LARGEST:
        raise PackedError(
            f"{op}: a filter of {shape.taps_bits} bits; a sum holds at most {_LARGEST}."
        )
    return shape


def check_groups(op: str, groups: int, channels: int, what: str) -> None:
    """Raise PackedError if the channels are not that many equal groups."""
    if groups < 1 or channels < 1 or channels % groups:
        raise PackedError(
            f"{op}: {channels} {what} in {groups} groups; groups must divide the {what}, and both "
            "be at least 1."
        )


def _check_fits(op: str, axis: str, size: int, extent: int, pads: Sequence[int]) -> None:
    if size < 1 or extent < 1:
        raise PackedError(f"{op}: the {axis} of image and kernel must be at least 1.")
    if extent > size + pads[0] + pads[1]:
        raise PackedError(
            f"{op}: the kernel takes {extent} of {axis}, dilation included, but x has {size} and "
            f"padding {pads[0]} + {pads[1]}. Pad more, or use a smaller kernel."
        )


def check_scratch(op: str, shape: ConvShape) -> None:
    """Raise PackedError if the native part would take gigabytes beside its tensors."""
    if not any(shape[11:15]):
        return
    if shape.pad_value:
        size = 8 * padded_words(shape)
    else:
        # It lists, for each kind of border pixel, the taps that lie inside the image.
        kinds_h = min(shape.out_h, 2 * shape.kernel_h + 1) if any(shape[11:13]) else 1
        kinds_w = min(shape.out_w, 2 * shape.kernel_w + 1) if any(shape[13:15]) else 1
        size = 32 * kinds_h * kinds_w * shape.kernel_h * shape.kernel_w
    if size > _MOST_SCRATCH:
        raise PackedError(
            f"{op}: padding this image for this kernel takes {size / 2**30:.1f} GiB of working "
            f"memory; at most {_MOST_SCRATCH / 2**30:.0f} are allowed. Pad less, or cut the batch."
        )


def pool_shape(
    op: str,
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> PoolShape:
    """Return the shape of a pooling of ``sizes = (N, H, W, C)``.

    Raises:
        PackedError: If there is no window, or one that lies in the padding alone.
    """
    check_sizes(op, "kernel_size", kernel, 2, 1)
    check_sizes(op, "stride", stride, 2, 1)
    check_sizes(op, "padding", padding, 2, 0)
    check_sizes(op, "dilation", dilation, 2, 1)
    if math.prod(kernel) > _MOST_TAPS:
        raise PackedError(
            f"{op}: kernel_size is {list(kernel)}; a window has at most {_MOST_TAPS} taps. For the "
            "mean of a whole image use global_avg_pool."
        )
    batch, height, width, channels = sizes
    out = []
    for axis, size, k, s, p, d in zip(
        ("height", "width"), (height, width), kernel, stride, padding, dilation, strict=True
    ):
        _check_fits(op, axis, size, d * (k - 1) + 1, (p, p))
        windows = pool_out(size, k, s, p, d, ceil_mode)
        # Windows that begin before the image may step over all of it.
        for begin in range(-p, 0, s)[:_MOST_TAPS] if p else ():
            first = -(begin // d) * d + begin  # the first tap that is not before the image
            if first >= size or first > begin + (k - 1) * d:
                raise PackedError(
                    f"{op}: padding {p} leaves a window without a pixel along the {axis} "
                    f"(size {size}, kernel {k}, dilation {d}). Pad at most half of the window."
                )
        out.append(windows)
    sizes = (batch, height, width, channels)
    return PoolShape._make((*sizes, *kernel, *stride, *padding, *dilation, *out))
