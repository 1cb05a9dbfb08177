"""Operators of convolution: ``bnn::bconv`` and ``bnn::weight_only_conv``, along 0, 1 or 2 axes.

A linear layer is a convolution along no axis: one operator, and the weight says which it is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bnn.errors import PackedError
from bnn.packed import checks, layout, runtime
from bnn.packed.epilogue import FIELDS, TENSORS, Epilogue
from bnn.packed.library import is_ready, ready, register, remember
from bnn.packed.panels import panel_for
from bnn.packed.shapes import ConvShape, words

OUTPUTS = ("int32", "float", "bits", "float_and_bits")
_OPS = (  # by the axes of the image: name, axes of bits and of the weight
    ("linear", "N, words", "O, words"),
    ("conv1d", "N, L, words", "O, k, words"),
    ("conv2d", "N, H, W, words", "O, kh, kw, words"),
)


def _op(kind: str, weight: Tensor) -> tuple[str, str, str]:
    """Return the row of _OPS that this weight is for."""
    if not 2 <= weight.dim() <= 4:
        raise PackedError(
            f"{kind}: weight has shape {tuple(weight.shape)}; it must be (O, words), "
            "(O, k, words) or (O, kh, kw, words)."
        )
    return _OPS[weight.dim() - 2]


def _check_weight(op: str, weight: Tensor, axes: str, group_channels: int) -> None:
    checks.check_words(op, "weight", weight, axes, group_channels, "input channels of a group")


def _pixels(shape: ConvShape, axes: int) -> tuple[int, ...]:
    """Return batch and height and width of the output, as many as there are axes."""
    return (shape.batch, *(shape.out_h, shape.out_w)[2 - axes :])


class _Plan(NamedTuple):
    """What the checks of a binary convolution have found."""

    op: str
    shape: ConvShape
    pixels: tuple[int, ...]
    float_size: tuple[int, ...]
    bits_size: tuple[int, ...]
    channels_second: tuple[Any, ...] = ()  # size and stride of the float output, (N, O, *)


def _check(
    x: Tensor,
    weight: Tensor,
    channels: int,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    pad_value: int,
    output: str,
    *,
    epilogue: Epilogue,
    residual: Tensor | None,
) -> _Plan:
    name, x_axes, weight_axes = _op("bconv", weight)
    op = f"b{name}"
    vectors = epilogue.tensors()
    checks.check_tensors(op, {"x": x, "weight": weight, "residual": residual, **vectors})
    checks.check_words(op, "x", x, x_axes, channels)
    checks.check_groups(op, groups, channels, "channels")
    _check_weight(op, weight, weight_axes, channels // groups)
    shape = checks.conv_shape(
        op,
        (*x.shape[:-1], channels),
        weight.shape[:-1],
        stride,
        padding,
        dilation,
        groups,
        pad_value,
    )
    checks.check_scratch(op, shape)
    checks.check_vectors(op, vectors, shape.out_channels)
    pixels = _pixels(shape, x.dim() - 2)
    plan = _Plan(
        op,
        shape,
        pixels,
        (*pixels, shape.out_channels),
        (*pixels, words(shape.out_channels)),
    )
    _check_output(plan, output, epilogue, residual)
    return plan


def _check_output(plan: _Plan, output: str, epilogue: Epilogue, residual: Tensor | None) -> None:
    op = plan.op
    if output not in OUTPUTS:
        raise PackedError(f"{op}: output is {output!r}; allowed: {OUTPUTS}.")
    if (residual is None) != (epilogue.residual_at is None):
        raise PackedError(
            f"{op}: residual is {'missing' if residual is None else 'given'}, but the "
            f"epilogue's residual_at is {epilogue.residual_at!r}; give both or neither."
        )
    if residual is not None:
        remedy = "It is added in float32."
        checks.check_dtype(op, "residual", residual, (torch.float32,), remedy)
        if tuple(residual.shape) != plan.float_size:
            raise PackedError(
                f"{op}: residual has shape {tuple(residual.shape)} with channels last; "
                f"it is added to the output, {plan.float_size}."
            )
    if output == "int32" and epilogue.given():
        raise PackedError(
            f"{op}: output 'int32' is the sums themselves, but the epilogue has "
            f"{', '.join(epilogue.given())}. Ask for 'float', or leave the epilogue out."
        )


def _empty(plan: _Plan, output: str, like: Tensor, channels_second: bool = False) -> list[Tensor]:
    """Return the outputs, not yet written: one of sums or floats, then bits."""
    outputs = []
    if output != "bits":
        dtype = torch.int32 if output == "int32" else torch.float32
        if channels_second:
            outputs.append(like.new_empty_strided(*plan.channels_second, dtype=dtype))
        else:
            outputs.append(like.new_empty(plan.float_size, dtype=dtype))
    if "bits" in output:
        outputs.append(like.new_empty(plan.bits_size))
    return outputs


_PLANS: dict[tuple[Any, ...], _Plan] = {}


def _are_ready(
    plan: _Plan, x: Tensor, weight: Tensor, epilogue: Epilogue, residual: Tensor | None
) -> bool:
    """Say whether tensors of a known plan's shapes pass all checks, and are ready as they are."""
    if not (is_ready(x, torch.int64) and is_ready(weight, torch.int64)):
        return False
    if residual is not None and not is_ready(residual, torch.float32):
        return False
    size = (plan.shape.out_channels,)
    for vector in epilogue.vectors:
        # That they are plain is kept with the epilogue, but `.data` can be set to a negated view.
        if vector.shape != size or not is_ready(vector, torch.float32) or vector.is_neg():
            return False
    return True


def bconv_cpu(
    x: Tensor,
    weight: Tensor,
    channels: int,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    pad_value: int,
    output: str,
    *,
    epilogue: Epilogue,
    residual: Tensor | None,
    channels_second: bool = False,
) -> list[Tensor]:
    """Compute ``bnn::bconv`` of CPU tensors: what the operator does once torch has called it.

    Args: the operator's, its epilogue in one piece; and whether sums and floats are ``(N, O, *)``,
    in the same memory: a view made afterwards takes 1 us.
    """
    sizes = (
        x.shape, weight.shape, channels, tuple(stride), tuple(padding), tuple(dilation), groups,
        pad_value, output, epilogue.names, None if residual is None else residual.shape,
    )  # fmt: skip
    plan = _PLANS.get(sizes)
    if plan is None or not _are_ready(plan, x, weight, epilogue, residual):
        plan = _check(
            x, weight, channels, stride, padding, dilation, groups, pad_value, output,
            epilogue=epilogue, residual=residual,
        )  # fmt: skip
        seen = torch.empty(plan.float_size, device="meta").movedim(-1, 1)
        plan = remember(_PLANS, sizes, plan._replace(channels_second=(seen.shape, seen.stride())))
        x, weight = ready(plan.op, "x", x), ready(plan.op, "weight", weight)
        residual = None if residual is None else ready(plan.op, "residual", residual)
        vectors = epilogue.tensors().items()
        steps: dict[str, Any] = {name: ready(plan.op, name, v) for name, v in vectors}
        epilogue = dataclasses.replace(epilogue, **steps)
    outputs = _empty(plan, output, x, channels_second)
    if math.prod(plan.pixels):
        isa = runtime.isa()
        runtime.bconv2d(
            plan.shape,
            x,
            weight,
            panel_for(plan.shape, weight, isa),
            epilogue,
            out_int32=outputs[0] if output == "int32" else None,
            out=outputs[0] if "float" in output else None,
            bits=outputs[-1] if "bits" in output else None,
            residual=residual,
            isa=isa,
        )
    return outputs


def _bconv_cpu(
    x: Tensor, weight: Tensor, *rest: Any, residual: Tensor | None = None, **steps: Any
) -> list[Tensor]:
    return bconv_cpu(x, weight, *rest, epilogue=Epilogue(**steps), residual=residual)


def _bconv_other(
    x: Tensor, weight: Tensor, *rest: Any, residual: Tensor | None = None, **steps: Any
) -> list[Tensor]:
    epilogue, output = Epilogue(**steps), rest[-1]
    plan = _check(x, weight, *rest, epilogue=epilogue, residual=residual)
    acc = layout.bconv2d(plan.shape, _as_images(x), _as_images(weight)).view(plan.float_size)
    if output == "int32":
        return [acc.contiguous()]
    v = layout.finish(acc, epilogue, residual).contiguous()
    outputs = [v] if output != "bits" else []
    return outputs + ([layout.threshold(v, epilogue)] if output != "float" else [])


def _bconv_fake(
    x: Tensor, weight: Tensor, *rest: Any, residual: Tensor | None = None, **steps: Any
) -> list[Tensor]:
    # Sizes may be symbols, which no dictionary takes for a key.
    plan = _check(x, weight, *rest, epilogue=Epilogue(**steps), residual=residual)
    return _empty(plan, rest[-1], x)


def _as_images(x: Tensor) -> Tensor:
    """Return ``(N, *spatial, C)`` with axes of size 1 in front of fewer than two spatial ones."""
    return x.reshape(x.shape[0], *[1] * (4 - x.dim()), *x.shape[1:])


_STEPS = ", ".join(f"{'Tensor' if name in TENSORS else 'str'}? {name}=None" for name in FIELDS)

bconv = register(
    "bconv(Tensor x, Tensor weight, SymInt channels, int[] stride, int[] padding, int[] dilation, "
    f"int groups, int pad_value, str output, *, Tensor? residual=None, {_STEPS}) -> Tensor[]",
    cpu=_bconv_cpu,
    other=_bconv_other,
    fake=_bconv_fake,
)


def _weight_only_shape(
    x: Tensor,
    weight: Tensor,
    scale: Tensor | None,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
) -> ConvShape:
    name, _, weight_axes = _op("weight_only_conv", weight)
    op = f"weight_only_{name}"
    tensors = {"x": x, "weight": weight, "scale": scale, "bias": bias}
    checks.check_tensors(op, tensors)
    checks.check_dtype(op, "x", x, (torch.float32,), "Convert it with x.float().")
    if x.dim() != weight.dim():
        raise PackedError(
            f"{op}: x has {x.dim()} axes and weight, whose last one is words, {weight.dim()}; they "
            "must have as many."
        )
    checks.check_groups(op, groups, x.shape[-1], "channels")
    _check_weight(op, weight, weight_axes, x.shape[-1] // groups)
    shape = checks.conv_shape(
        op, x.shape, weight.shape[:-1], stride, padding, dilation, groups, pad_value=0
    )
    checks.check_vectors(op, {"scale": scale, "bias": bias}, shape.out_channels)
    return shape


def _weight_only_fake(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    shape = _weight_only_shape(x, weight, *rest)
    return x.new_empty((*_pixels(shape, x.dim() - 2), shape.out_channels))


def _weight_only_cpu(
    x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None, *rest: Any
) -> Tensor:
    shape = _weight_only_shape(x, weight, scale, bias, *rest)
    out = x.new_empty((*_pixels(shape, x.dim() - 2), shape.out_channels))
    if out.numel():
        op = "weight_only_conv"
        runtime.weight_only_conv2d(
            shape,
            ready(op, "x", x),
            ready(op, "weight", weight),
            None if scale is None else ready(op, "scale", scale),
            None if bias is None else ready(op, "bias", bias),
            out,
            isa=runtime.isa(),
        )
    return out


def _weight_only_other(
    x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None, *rest: Any
) -> Tensor:
    shape = _weight_only_shape(x, weight, scale, bias, *rest)
    out = layout.weight_only_conv2d(shape, _as_images(x), _as_images(weight), scale, bias)
    return out.reshape(*_pixels(shape, x.dim() - 2), shape.out_channels).contiguous()


weight_only_conv = register(
    "weight_only_conv(Tensor x, Tensor weight, Tensor? scale, Tensor? bias, int[] stride, "
    "int[] padding, int[] dilation, int groups) -> Tensor",
    cpu=_weight_only_cpu,
    other=_weight_only_other,
    fake=_weight_only_fake,
)
