"""Operators ``torch.ops.bnn.*``: checks, then the native kernel, or plain torch off the CPU.

All are NHWC: bits are words ``(N, *spatial, words)``, floats ``(N, *spatial, C)`` and contiguous.
:mod:`bnn.packed.functional` gives them the axes and defaults that a user of torch expects.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from bnn.errors import PackedError
from bnn.packed import checks, layout, runtime
from bnn.packed.conv_ops import bconv, weight_only_conv
from bnn.packed.library import check_whole, ready, register, remember
from bnn.packed.shapes import PoolShape, words

__all__ = [
    "avg_pool2d",
    "bconv",
    "channel_shuffle",
    "concat",
    "global_avg_pool",
    "max_pool2d",
    "pack",
    "unpack",
    "weight_only_conv",
]


# --- pack, unpack -----------------------------------------------------------------------------


_PACKED_TYPES = tuple(runtime.DTYPES)


def _pack_size(x: Tensor, scale: Tensor | None, shift: Tensor | None) -> tuple[int, ...]:
    checks.check_tensors("pack", {"x": x, "scale": scale, "shift": shift})
    checks.check_dtype("pack", "x", x, _PACKED_TYPES, "Convert it, for example with x.float().")
    shape = x.shape
    if len(shape) < 2 or shape[1] < 1:
        raise PackedError(
            f"pack: x has shape {tuple(shape)}; it must be (N, C, *) with at least one channel."
        )
    checks.check_vectors("pack", {"scale": scale, "shift": shift}, shape[1])
    return (shape[0], *shape[2:], words(shape[1]))


_SIZES: dict[Any, tuple[tuple[int, ...], tuple[int, int, int]]] = {}


def pack_cpu(x: Tensor, scale: Tensor | None, shift: Tensor | None) -> Tensor:
    """Compute ``bnn::pack`` of CPU tensors: what the operator does once torch has called it."""
    sizes = (x.shape, x.dtype)
    known = _SIZES.get(sizes)
    if known is None or x.requires_grad or scale is not None or shift is not None:
        size = _pack_size(x, scale, shift)
        batch, channels = x.shape[:2]
        known = remember(_SIZES, sizes, (size, (batch, channels, math.prod(size[1:-1]))))
        scale = None if scale is None else ready("pack", "scale", scale)
        shift = None if shift is None else ready("pack", "shift", shift)
    out = x.new_empty(known[0], dtype=torch.int64)
    if out.numel() == 0:
        return out
    channels_last = not x.is_contiguous()
    if channels_last and not _is_channels_last(x):
        x, channels_last = x.contiguous(), False
    check_whole("pack", "x", x)
    runtime.pack(
        x,
        out,
        sizes=known[1],
        channels_last=channels_last,
        scale=scale,
        shift=shift,
        isa=runtime.isa(),
    )
    return out


def _is_channels_last(x: Tensor) -> bool:
    if x.dim() == 4:  # without a view, which takes 1 us
        return x.is_contiguous(memory_format=torch.channels_last)
    return x.movedim(1, -1).is_contiguous()


def _pack_other(x: Tensor, scale: Tensor | None, shift: Tensor | None) -> Tensor:
    _pack_size(x, scale, shift)
    return layout.pack(x, scale, shift)


def _pack_fake(x: Tensor, scale: Tensor | None, shift: Tensor | None) -> Tensor:
    return x.new_empty(_pack_size(x, scale, shift), dtype=torch.int64)


pack = register(
    "pack(Tensor x, Tensor? scale, Tensor? shift) -> Tensor",
    cpu=pack_cpu,
    other=_pack_other,
    fake=_pack_fake,
)


# A name, not a ScalarType: torch crashes on a number that is none before a kernel can look at it.
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in runtime.DTYPES}


def _unpack_empty(x: Tensor, channels: int, dtype: str) -> Tensor:
    checks.check_words("unpack", "x", x, "", channels)
    if dtype not in _DTYPES:
        raise PackedError(f"unpack: dtype is {dtype}; allowed: {', '.join(_DTYPES)}.")
    return x.new_empty((*x.shape[:-1], channels), dtype=_DTYPES[dtype])


def _unpack_cpu(x: Tensor, channels: int, dtype: str) -> Tensor:
    out = _unpack_empty(x, channels, dtype)
    if out.numel():
        sizes = (1, channels, out.numel() // channels)
        x = ready("unpack", "x", x)
        runtime.unpack(x, out, sizes=sizes, channels_last=True, isa=runtime.isa())
    return out


def _unpack_other(x: Tensor, channels: int, dtype: str) -> Tensor:
    _unpack_empty(x, channels, dtype)
    return layout.unpack(x, channels, _DTYPES[dtype])


unpack = register(
    "unpack(Tensor x, SymInt channels, str dtype) -> Tensor",
    cpu=_unpack_cpu,
    other=_unpack_other,
    fake=_unpack_empty,
)

# --- between convolutions ---------------------------------------------------------------------


def _max_pool2d_shape(
    x: Tensor,
    channels: int,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    ceil_mode: bool,
) -> PoolShape:
    op = "max_pool2d"
    checks.check_tensors(op, {"x": x})
    checks.check_words(op, "x", x, "N, H, W, words", channels)
    sizes = (*x.shape[:-1], channels)
    return checks.pool_shape(op, sizes, kernel, stride, padding, dilation, ceil_mode)


def _pooled(x: Tensor, shape: PoolShape) -> Tensor:
    """Return the output, not yet written; its last axis is that of ``x``."""
    return x.new_empty((shape.batch, shape.out_h, shape.out_w, x.shape[-1]))


def _max_pool2d_fake(x: Tensor, *rest: Any) -> Tensor:
    return _pooled(x, _max_pool2d_shape(x, *rest))


def _max_pool2d_cpu(x: Tensor, *rest: Any) -> Tensor:
    shape = _max_pool2d_shape(x, *rest)
    out = _pooled(x, shape)
    if out.numel():
        runtime.max_pool2d(shape, ready("max_pool2d", "x", x), out, isa=runtime.isa())
    return out


def _max_pool2d_other(x: Tensor, *rest: Any) -> Tensor:
    return layout.max_pool2d(_max_pool2d_shape(x, *rest), x)


max_pool2d = register(
    "max_pool2d(Tensor x, SymInt channels, int[] kernel_size, int[] stride, int[] padding, "
    "int[] dilation, bool ceil_mode) -> Tensor",
    cpu=_max_pool2d_cpu,
    other=_max_pool2d_other,
    fake=_max_pool2d_fake,
)


def _global_avg_pool_empty(x: Tensor, channels: int) -> Tensor:
    checks.check_tensors("global_avg_pool", {"x": x})
    checks.check_words("global_avg_pool", "x", x, "N, H, W, words", channels)
    if x.shape[1] < 1 or x.shape[2] < 1:
        raise PackedError(f"global_avg_pool: x has shape {tuple(x.shape)}, so no pixels.")
    return x.new_empty((x.shape[0], channels), dtype=torch.float32)


def _global_avg_pool_cpu(x: Tensor, channels: int) -> Tensor:
    out = _global_avg_pool_empty(x, channels)
    if out.numel():
        batch, pixels = x.shape[0], x.shape[1] * x.shape[2]
        runtime.global_avg_pool(
            ready("global_avg_pool", "x", x),
            out,
            batch=batch,
            pixels=pixels,
            channels=channels,
            isa=runtime.isa(),
        )
    return out


def _global_avg_pool_other(x: Tensor, channels: int) -> Tensor:
    _global_avg_pool_empty(x, channels)
    return layout.global_avg_pool(x, channels)


global_avg_pool = register(
    "global_avg_pool(Tensor x, SymInt channels) -> Tensor",
    cpu=_global_avg_pool_cpu,
    other=_global_avg_pool_other,
    fake=_global_avg_pool_empty,
)


def _avg_pool2d_shape(
    x: Tensor,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    ceil_mode: bool,
    count_include_pad: bool,
) -> tuple[PoolShape, bool]:
    """Return the shape, and whether taps in the padding count in the divisor."""
    op = "avg_pool2d"
    checks.check_tensors(op, {"x": x})
    checks.check_dtype(op, "x", x, (torch.float32,), "Convert it with x.float().")
    if x.dim() != 4:
        raise PackedError(f"{op}: x has shape {tuple(x.shape)}; it must be an image of 4 axes.")
    shape = checks.pool_shape(op, x.shape, kernel, stride, padding, [1, 1], ceil_mode)
    # torch counts the taps of such a window up to the end of the padding: a third divisor.
    if count_include_pad and any(padding) and _hangs_over(shape):
        raise PackedError(
            f"{op}: ceil_mode makes windows that end behind the padding. Use "
            "count_include_pad=False, or torch.nn.functional.avg_pool2d."
        )
    return shape, count_include_pad and any(padding)


def _hangs_over(shape: PoolShape) -> bool:
    s = shape
    bottom = (s.out_h - 1) * s.stride_h + s.kernel_h - s.pad_top
    right = (s.out_w - 1) * s.stride_w + s.kernel_w - s.pad_left
    return bottom > s.height + s.pad_top or right > s.width + s.pad_left


def _avg_pool2d_fake(x: Tensor, *rest: Any) -> Tensor:
    return _pooled(x, _avg_pool2d_shape(x, *rest)[0])


def _avg_pool2d_cpu(x: Tensor, *rest: Any) -> Tensor:
    shape, counted = _avg_pool2d_shape(x, *rest)
    out = _pooled(x, shape)
    if out.numel():
        x = ready("avg_pool2d", "x", x)
        runtime.avg_pool2d(shape, x, out, count_include_pad=counted, isa=runtime.isa())
    return out


def _avg_pool2d_other(x: Tensor, *rest: Any) -> Tensor:
    shape, counted = _avg_pool2d_shape(x, *rest)
    return layout.avg_pool2d(shape, x, counted)


avg_pool2d = register(
    "avg_pool2d(Tensor x, int[] kernel_size, int[] stride, int[] padding, bool ceil_mode, "
    "bool count_include_pad) -> Tensor",
    cpu=_avg_pool2d_cpu,
    other=_avg_pool2d_other,
    fake=_avg_pool2d_fake,
)


def _concat_empty(inputs: list[Tensor], channels: list[int]) -> Tensor:
    op = "concat"
    if not inputs or len(inputs) != len(channels):
        raise PackedError(
            f"{op}: {len(inputs)} inputs and {len(channels)} channels; give one number of channels "
            "for each input, and at least one input."
        )
    names = [f"inputs[{i}]" for i in range(len(inputs))]
    checks.check_tensors(op, dict(zip(names, inputs, strict=True)))
    first = inputs[0]
    for name, x, count in zip(names, inputs, channels, strict=True):
        checks.check_words(op, name, x, "", count)
        if x.shape[:-1] != first.shape[:-1]:
            raise PackedError(
                f"{op}: {name} has shape {tuple(x.shape)} and inputs[0] {tuple(first.shape)}; all "
                "but the last axis must agree."
            )
    return first.new_empty((*first.shape[:-1], words(sum(channels))))


def _concat_cpu(inputs: list[Tensor], channels: list[int]) -> Tensor:
    out = _concat_empty(inputs, channels)
    if out.numel():
        parts = [ready("concat", f"inputs[{i}]", x) for i, x in enumerate(inputs)]
        rows = out.numel() // out.shape[-1]
        runtime.concat(parts, channels, out, rows=rows, isa=runtime.isa())
    return out


def _concat_other(inputs: list[Tensor], channels: list[int]) -> Tensor:
    _concat_empty(inputs, channels)
    return layout.concat(inputs, channels)


concat = register(
    "concat(Tensor[] inputs, SymInt[] channels) -> Tensor",
    cpu=_concat_cpu,
    other=_concat_other,
    fake=_concat_empty,
)


def _channel_shuffle_empty(x: Tensor, channels: int, groups: int) -> Tensor:
    checks.check_tensors("channel_shuffle", {"x": x})
    checks.check_words("channel_shuffle", "x", x, "", channels)
    checks.check_groups("channel_shuffle", groups, channels, "channels")
    return x.new_empty(x.shape)


def _channel_shuffle_cpu(x: Tensor, channels: int, groups: int) -> Tensor:
    out = _channel_shuffle_empty(x, channels, groups)
    if out.numel():
        x = ready("channel_shuffle", "x", x)
        rows = out.numel() // out.shape[-1]
        runtime.channel_shuffle(
            x, out, rows=rows, channels=channels, groups=groups, isa=runtime.isa()
        )
    return out


def _channel_shuffle_other(x: Tensor, channels: int, groups: int) -> Tensor:
    _channel_shuffle_empty(x, channels, groups)
    return layout.channel_shuffle(x, channels, groups)


channel_shuffle = register(
    "channel_shuffle(Tensor x, SymInt channels, int groups) -> Tensor",
    cpu=_channel_shuffle_cpu,
    other=_channel_shuffle_other,
    fake=_channel_shuffle_empty,
)
