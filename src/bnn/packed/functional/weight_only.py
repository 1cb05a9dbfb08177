"""Floats with signs: layers of which the weight alone is binary."""

from __future__ import annotations

import math

from torch import Tensor

from bnn.errors import PackedError
from bnn.packed import ops
from bnn.packed.functional.arguments import (
    Size,
    both_ends,
    channels_first,
    check_int,
    check_tensors,
    each_axis,
)


def weight_only_conv2d(
    x: Tensor,
    weight: Tensor,
    scale: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve floats with signs: ``sum(x * sign(w)) * scale + bias`` in float32.

    Args:
        x: ``(N, C, H, W)`` float32; quickest in channels_last memory.
        weight: ``(O, kh, kw, words(C / groups))``.
        scale: ``(O,)`` float32.
        bias: ``(O,)`` float32.
        stride: One number, or (vertical, horizontal).
        padding: With 0: one number, (vertical, horizontal), or (top, bottom, left, right).
        dilation: As ``stride``.
        groups: Of channels.

    Returns:
        ``(N, O, out_h, out_w)`` in channels_last memory. Floats are added in no fixed order.

    Example:
        >>> from bnn.packed.functional import pack
        >>> weight = pack(torch.tensor([[[[1.0]], [[-1.0]]]]))
        >>> weight_only_conv2d(torch.tensor([[[[5.0]], [[2.0]]]]), weight).item()
        3.0
    """
    op = "weight_only_conv2d"
    check_tensors(op, x=x, weight=weight, scale=scale, bias=bias)
    if x.dim() != 4 or weight.dim() != 4:
        raise PackedError(
            f"{op}: x has shape {tuple(x.shape)} and weight {tuple(weight.shape)}; they must be "
            "(N, C, H, W) and (O, kh, kw, words)."
        )
    out = ops.weight_only_conv(
        x.movedim(1, -1),
        weight,
        scale,
        bias,
        each_axis(op, "stride", stride, 2),
        both_ends(op, padding, 2),
        each_axis(op, "dilation", dilation, 2),
        check_int(op, "groups", groups),
    )
    return channels_first(out)


def weight_only_linear(
    x: Tensor, weight: Tensor, scale: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """Multiply floats with signs: ``(x @ sign(w).T) * scale + bias`` in float32.

    Args:
        x: ``(*, K)`` float32.
        weight: ``(O, words(K))``.
        scale: ``(O,)`` float32.
        bias: ``(O,)`` float32.

    Returns:
        ``(*, O)``. Floats are added in no fixed order.

    Example:
        >>> from bnn.packed.functional import pack
        >>> weight_only_linear(torch.tensor([5.0, 2.0]), pack(torch.tensor([[1.0, -1.0]])))
        tensor([3.])
    """
    op = "weight_only_linear"
    check_tensors(op, x=x, weight=weight, scale=scale, bias=bias)
    if x.dim() < 1 or weight.dim() != 2:
        raise PackedError(
            f"{op}: x has shape {tuple(x.shape)} and weight {tuple(weight.shape)}; they must be "
            "(*, K) and (O, words)."
        )
    lead = x.shape[:-1]
    rows = x.reshape(math.prod(lead), x.shape[-1])
    out: Tensor = ops.weight_only_conv(rows, weight, scale, bias, [], [], [], 1)
    return out.view(*lead, out.shape[-1])
