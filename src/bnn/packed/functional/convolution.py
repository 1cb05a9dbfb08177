"""Bits with bits: convolutions and the linear layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, overload

import torch
from torch import Tensor

from bnn.errors import PackedError
from bnn.packed import ops
from bnn.packed.conv_ops import bconv_cpu
from bnn.packed.epilogue import Epilogue
from bnn.packed.functional.arguments import (
    Size,
    both_ends,
    channels_first,
    check_int,
    check_tensors,
    each_axis,
)
from bnn.packed.library import is_plain

Output = Literal["int32", "float", "bits", "float_and_bits"]

_NOTHING = Epilogue()


@overload
def bconv2d(
    x: Tensor,
    weight: Tensor,
    channels: int,
    *,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
    pad_value: int = 0,
    epilogue: Epilogue = ...,
    residual: Tensor | None = None,
    output: Literal["int32", "float", "bits"] = "float",
) -> Tensor: ...
@overload
def bconv2d(
    x: Tensor,
    weight: Tensor,
    channels: int,
    *,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
    pad_value: int = 0,
    epilogue: Epilogue = ...,
    residual: Tensor | None = None,
    output: Literal["float_and_bits"],
) -> tuple[Tensor, Tensor]: ...
def bconv2d(
    x: Tensor,
    weight: Tensor,
    channels: int,
    *,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
    pad_value: int = 0,
    epilogue: Epilogue = _NOTHING,
    residual: Tensor | None = None,
    output: Output = "float",
) -> Tensor | tuple[Tensor, Tensor]:
    """Convolve bits with bits; the sums are exact integers.

    Args:
        x: ``(N, H, W, words(C))``.
        weight: ``(O, kh, kw, words(C / groups))``. The order in which kernels read it is worked out
            once for each tensor and kept as long as it lives.
        channels: C.
        stride: One number, or (vertical, horizontal).
        padding: One number, (vertical, horizontal), or (top, bottom, left, right).
        dilation: As ``stride``.
        groups: Of channels.
        pad_value: 0: a padded tap contributes nothing; -1 or +1: the image is padded with it.
        epilogue: What happens to the sums.
        residual: ``(N, O, out_h, out_w)`` float32, where ``epilogue.residual_at`` asks for it.
        output: ``"int32"``: the sums, without an epilogue; ``"float"``; ``"bits"`` for the next
            binary layer; ``"float_and_bits"``: both.

    Returns:
        Sums and floats ``(N, O, out_h, out_w)`` in channels_last memory, bits
        ``(N, out_h, out_w, words(O))``.

    Example:
        >>> from bnn.packed.functional import pack
        >>> x, weight = pack(torch.randn(1, 100, 6, 6)), pack(torch.randn(8, 100, 3, 3))
        >>> bconv2d(x, weight, 100, padding=1, output="int32").shape
        torch.Size([1, 8, 6, 6])
        >>> bconv2d(x, weight, 100, epilogue=Epilogue(scale=torch.ones(8)), output="bits").shape
        torch.Size([1, 4, 4, 1])
    """
    return _bconv(
        "bconv2d", 2, x, weight, channels, stride, padding, dilation, groups, pad_value, epilogue,
        residual, output,
    )  # fmt: skip


def bconv1d(
    x: Tensor,
    weight: Tensor,
    channels: int,
    *,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
    pad_value: int = 0,
    epilogue: Epilogue = _NOTHING,
    residual: Tensor | None = None,
    output: Output = "float",
) -> Tensor | tuple[Tensor, Tensor]:
    """Convolve bits with bits along one axis: :func:`bconv2d` without a height.

    Args:
        x: ``(N, L, words(C))``.
        weight: ``(O, k, words(C / groups))``.
        channels: C.
        stride: One number.
        padding: One number, or (before, after).
        dilation: One number.
        groups: As in :func:`bconv2d`, like all that follow.
        pad_value: 0, -1 or +1.
        epilogue: What happens to the sums.
        residual: ``(N, O, out)`` float32.
        output: Which outputs.

    Returns:
        Sums and floats ``(N, O, out)``, bits ``(N, out, words(O))``.

    Example:
        >>> from bnn.packed.functional import pack
        >>> x, weight = pack(torch.randn(2, 33, 9)), pack(torch.randn(4, 33, 3))
        >>> bconv1d(x, weight, 33, padding=(2, 0)).shape
        torch.Size([2, 4, 9])
    """
    return _bconv(
        "bconv1d", 1, x, weight, channels, stride, padding, dilation, groups, pad_value, epilogue,
        residual, output,
    )  # fmt: skip


def blinear(
    x: Tensor,
    weight: Tensor,
    features: int,
    *,
    epilogue: Epilogue = _NOTHING,
    residual: Tensor | None = None,
    output: Output = "float",
) -> Tensor | tuple[Tensor, Tensor]:
    """Multiply bits with bits: a linear layer.

    Args:
        x: ``(*, words(K))``.
        weight: ``(O, words(K))``.
        features: K.
        epilogue: What happens to the sums.
        residual: ``(*, O)`` float32.
        output: As in :func:`bconv2d`.

    Returns:
        Sums and floats ``(*, O)``, bits ``(*, words(O))``.

    Example:
        >>> from bnn.packed.functional import pack
        >>> x, weight = pack(torch.ones(1, 70)), pack(torch.ones(3, 70))
        >>> blinear(x, weight, 70, output="int32")
        tensor([[70, 70, 70]], dtype=torch.int32)
    """
    op = "blinear"
    check_tensors(op, x=x, weight=weight, residual=residual)
    if x.dim() < 1:
        raise PackedError(f"{op}: x has no axis; it must be (*, words).")
    if residual is not None and residual.dim() < 1:
        raise PackedError(f"{op}: residual has no axis; it must be (*, O).")
    if weight.dim() != 2:
        raise PackedError(f"{op}: weight has shape {tuple(weight.shape)}; it must be (O, words).")
    lead = x.shape[:-1]
    if x.dim() != 2:  # a view takes 1 us
        x = x.reshape(math.prod(lead), x.shape[-1])
    if residual is not None:
        residual = residual.reshape(math.prod(lead), residual.shape[-1])
    results = _call(op, x, weight, features, (), (), (), 1, 0, epilogue, residual, output)
    if len(lead) != 1:
        results = [result.view(*lead, result.shape[-1]) for result in results]
    return results[0] if len(results) == 1 else (results[0], results[1])


def _bconv(
    op: str,
    axes: int,
    x: Tensor,
    weight: Tensor,
    channels: int,
    stride: Size,
    padding: Size,
    dilation: Size,
    groups: int,
    pad_value: int,
    epilogue: Epilogue,
    residual: Tensor | None,
    output: str,
) -> Tensor | tuple[Tensor, Tensor]:
    check_tensors(op, x=x, weight=weight, residual=residual)
    if weight.dim() != axes + 2:
        names = {1: "(O, k, words)", 2: "(O, kh, kw, words)"}[axes]
        raise PackedError(f"{op}: weight has shape {tuple(weight.shape)}; it must be {names}.")
    if residual is not None:
        if residual.dim() != axes + 2:
            raise PackedError(
                f"{op}: residual has shape {tuple(residual.shape)}; it must have the output's "
                f"{axes + 2} axes, channels second."
            )
        residual = residual.movedim(1, -1)
    results = _call(
        op,
        x,
        weight,
        channels,
        each_axis(op, "stride", stride, axes),
        both_ends(op, padding, axes),
        each_axis(op, "dilation", dilation, axes),
        groups,
        pad_value,
        epilogue,
        residual,
        output,
    )
    return results[0] if len(results) == 1 else (results[0], results[1])


def _call(
    op: str,
    x: Tensor,
    weight: Tensor,
    channels: int,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    pad_value: int,
    epilogue: Epilogue,
    residual: Tensor | None,
    output: str,
) -> list[Tensor]:
    if not isinstance(epilogue, Epilogue):
        raise PackedError(f"{op}: epilogue is a {type(epilogue).__name__}; give an Epilogue.")
    if not isinstance(output, str):
        raise PackedError(f"{op}: output is {output!r}; give a name, such as 'float'.")
    given = (
        x,
        weight,
        check_int(op, "features" if op == "blinear" else "channels", channels),
        stride,
        padding,
        dilation,
        check_int(op, "groups", groups),
        check_int(op, "pad_value", pad_value),
        output,
    )
    # Torch takes 6 us to hand over two dozen arguments, most of them None.
    if (
        not torch.compiler.is_compiling()
        and epilogue.is_plain
        and (is_plain(x, weight) if residual is None else is_plain(x, weight, residual))
    ):
        return bconv_cpu(*given, epilogue=epilogue, residual=residual, channels_second=True)
    results: list[Tensor] = ops.bconv(*given, residual=residual, **epilogue.given())
    return [channels_first(results[0]), *results[1:]] if output != "bits" else results
