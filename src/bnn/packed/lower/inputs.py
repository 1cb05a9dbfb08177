"""What a binary layer's input stage becomes: bits, or floats where the weight is not binary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bnn.errors import PackedError
from bnn.ops import (
    AdaBinInputBinarizer,
    DoReFaInputBinarizer,
    HeavisideInputBinarizer,
    RSignInputBinarizer,
)
from bnn.packed.decompose import check_activation, float32, is_sign, sign_names
from bnn.packed.graph import ValueRef
from bnn.packed.lower.builder import Builder
from bnn.packed.lower.modules import per_channel
from bnn.packed.planes import Planes, input_planes

Translator = Callable[[Builder, Any, ValueRef, int], ValueRef]


@dataclass
class Input:
    """An input in terms of signs: ``(constant + sum(coefficient * signs)) * scale + offset``.

    Attributes:
        values: Floats of which the planes' signs are taken, one for each plane.
        planes: The coefficients and the constant.
        scale: Of no axes, float32, or None.
        offset: Likewise.
    """

    values: list[ValueRef]
    planes: Planes
    scale: Tensor | None = None
    offset: Tensor | None = None


def lower_input(builder: Builder, binarizer: nn.Module, x: ValueRef, axis: int) -> Input:
    """Emit what comes before the bits of a layer's input.

    Args:
        builder: Where to.
        binarizer: The layer's ``activation_pre_process``.
        x: What it is applied to.
        axis: Of its channels.

    Raises:
        PackedError: If it cannot be packed; the message names it.
    """
    if is_sign(binarizer):
        check_activation(binarizer)
        return Input([x], Planes())
    known = next((cls for cls in _BEFORE if isinstance(binarizer, cls)), None)
    if known is None or any(
        getattr(type(binarizer), method, None) is not getattr(known, method, None)
        for method in ("forward", "decompose")
    ):
        allowed = ", ".join((sign_names(), *sorted(cls.__name__ for cls in _BEFORE)))
        raise PackedError(
            f"the layer's activation_pre_process is {type(binarizer).__name__}; allowed: {allowed}."
        )
    planes = input_planes(binarizer)
    if isinstance(binarizer, DoReFaInputBinarizer) and binarizer.bits > 1:
        n = 2**binarizer.bits - 1
        values = [
            builder.emit("level", [x], axis=axis, levels=n, plane=j) for j in range(binarizer.bits)
        ]
        return Input(values, planes, scale=torch.tensor(1 / n))
    found = Input([_BEFORE[known](builder, binarizer, x, axis)], planes)
    if isinstance(binarizer, AdaBinInputBinarizer):
        found.scale, found.offset = float32(binarizer.alpha), float32(binarizer.beta)
    return found


def lower_values(builder: Builder, binarizer: nn.Module, x: ValueRef, axis: int) -> ValueRef:
    """Emit a layer's binarized input as floats."""
    given = lower_input(builder, binarizer, x, axis)
    total: ValueRef | None = None
    for value, coefficient in zip(given.values, given.planes.coefficients, strict=True):
        part = builder.emit("unary", [value], function="sign")
        if coefficient != 1:
            part = builder.emit("scalar", [part], function="mul", value=coefficient)
        total = part if total is None else builder.emit("binary", [total, part], function="add")
    assert total is not None  # noqa: S101 - there is a plane
    if given.planes.constant:
        total = builder.emit("scalar", [total], function="add", value=given.planes.constant)
    if given.scale is not None:
        total = builder.emit("scalar", [total], function="mul", value=float(given.scale))
    if given.offset is not None:
        total = builder.emit("scalar", [total], function="add", value=float(given.offset))
    return total


def _channels(builder: Builder, x: ValueRef, value: Tensor, axis: int) -> Tensor:
    return value.expand(builder.shape(x)[axis])


def _adabin(builder: Builder, binarizer: AdaBinInputBinarizer, x: ValueRef, axis: int) -> ValueRef:
    """Emit the distance from beta, negative where alpha is: only its sign is read."""
    beta = _channels(builder, x, float32(binarizer.beta), axis)
    if binarizer.alpha < 0:
        return per_channel(builder, x, -torch.ones_like(beta), beta, axis)
    return per_channel(builder, x, None, -beta, axis)


def _rsign(builder: Builder, binarizer: RSignInputBinarizer, x: ValueRef, axis: int) -> ValueRef:
    return per_channel(builder, x, None, -float32(binarizer.threshold).flatten(), axis)


def _heaviside(builder: Builder, _: nn.Module, x: ValueRef, axis: int) -> ValueRef:
    minus = -torch.ones(builder.shape(x)[axis])
    return per_channel(builder, x, minus, None, axis)


def _dorefa(builder: Builder, _: nn.Module, x: ValueRef, axis: int) -> ValueRef:
    """Emit what is negative where one bit is 1: above 0.5, but not at it, which rounds to even."""
    ones = torch.ones(builder.shape(x)[axis])
    return per_channel(builder, x, -ones, 0.5 * ones, axis)


_BEFORE: dict[type[nn.Module], Translator] = {
    AdaBinInputBinarizer: _adabin,
    DoReFaInputBinarizer: _dorefa,
    HeavisideInputBinarizer: _heaviside,
    RSignInputBinarizer: _rsign,
}
