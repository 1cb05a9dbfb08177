"""Floats to bits and back, and bits beside bits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bnn.errors import PackedError
from bnn.packed import ops
from bnn.packed.functional.arguments import channels_first, check_int, check_tensors
from bnn.packed.library import is_plain


def pack(x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
    """Pack the sign of each value, or of ``x * scale + shift``, into one bit.

    bit = ``x * scale[c] + shift[c] < 0``, in float32, multiplied, rounded, added, rounded: a batch
    norm and a sign in one. NaN and -0.0 give 0, which is +1.

    Args:
        x: ``(N, C, *spatial)`` in float32, float16, bfloat16 or int8; channels_last memory is read
            as it is. A convolution's weight packs too: ``(O, C, kh, kw) -> (O, kh, kw, words)``.
        scale: ``(C,)`` float32.
        shift: ``(C,)`` float32.

    Returns:
        ``(N, *spatial, ceil(C / 64))`` int64.

    Example:
        >>> pack(torch.tensor([[1.0, -1.0, -1.0]]))
        tensor([[6]])
    """
    check_tensors("pack", x=x, scale=scale, shift=shift)
    if scale is None and shift is None and not torch.compiler.is_compiling() and is_plain(x):
        return ops.pack_cpu(x, None, None)
    packed: Tensor = ops.pack(x, scale, shift)
    return packed


def unpack(x: Tensor, channels: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the bits as +1 and -1.

    Args:
        x: ``(N, *spatial, words(C))`` int64.
        channels: C.
        dtype: float32, float16, bfloat16 or int8.

    Returns:
        ``(N, C, *spatial)``, in channels_last memory.

    Example:
        >>> unpack(torch.tensor([[6]]), channels=3)
        tensor([[ 1., -1., -1.]])
    """
    check_tensors("unpack", x=x)
    if x.dim() < 2:
        raise PackedError(f"unpack: x has shape {tuple(x.shape)}; it must be (N, *spatial, words).")
    if not isinstance(dtype, torch.dtype):
        raise PackedError(f"unpack: dtype is {dtype!r}; give a torch.dtype.")
    name = str(dtype).removeprefix("torch.")
    return channels_first(ops.unpack(x, check_int("unpack", "channels", channels), name))


def concat(inputs: Sequence[Tensor], channels: Sequence[int]) -> Tensor:
    """Return the channels of all inputs in a row: ``torch.cat`` for bits.

    Args:
        inputs: Words ``(*, words(C_i))``; all but the last axis agree.
        channels: C_i of each.

    Returns:
        ``(*, words(sum of C_i))``.

    Example:
        >>> concat([pack(torch.ones(1, 40)), pack(-torch.ones(1, 40))], [40, 40]).shape
        torch.Size([1, 2])
    """
    op = "concat"
    if not isinstance(inputs, (list, tuple)):
        raise PackedError(f"{op}: inputs is a {type(inputs).__name__}; give a list of tensors.")
    if not inputs:  # no tensor says to torch on which device to compute
        raise PackedError(f"{op}: inputs is empty; give at least one tensor.")
    if not isinstance(channels, (list, tuple)):
        raise PackedError(
            f"{op}: channels is {channels!r}; give a list, one number for each input."
        )
    check_tensors(op, **{f"inputs[{i}]": x for i, x in enumerate(inputs)})
    counts = [check_int(op, f"channels[{i}]", count) for i, count in enumerate(channels)]
    joined: Tensor = ops.concat(list(inputs), counts)
    return joined


def channel_shuffle(x: Tensor, channels: int, groups: int) -> Tensor:
    """Return the channels of all groups taken in turn. As ``F.channel_shuffle``.

    Args:
        x: ``(*, words(C))``.
        channels: C.
        groups: Divides C.

    Returns:
        ``(*, words(C))``: channel g * (C / groups) + c has become c * groups + g.

    Example:
        >>> x = pack(torch.tensor([[-1.0, -1.0, 1.0, 1.0]]))
        >>> unpack(channel_shuffle(x, 4, groups=2), 4)
        tensor([[-1.,  1., -1.,  1.]])
    """
    op = "channel_shuffle"
    check_tensors(op, x=x)
    channels, groups = check_int(op, "channels", channels), check_int(op, "groups", groups)
    shuffled: Tensor = ops.channel_shuffle(x, channels, groups)
    return shuffled
