"""Binary layers: sign, 1-bit convolution, and the factors of their stages."""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from bnn import layers
from bnn.errors import PackedError
from bnn.layers import BinaryLayer
from bnn.ops import (
    BasicScaleBinarizer,
    RealToBinaryGateBinarizer,
    XNORPlusPlusScaleBinarizer,
    XNORScaleBinarizer,
)
from bnn.packed.decompose import check_kind, post_scale, weight_factors
from bnn.packed.graph import ValueRef
from bnn.packed.lower.builder import Builder
from bnn.packed.lower.inputs import lower_input, lower_values
from bnn.packed.lower.modules import MODULES, activate, linear, pad_as_layer, per_channel
from bnn.packed.lower.product import Product

_KINDS: tuple[type[BinaryLayer], ...] = (layers.Linear, layers.Conv1d, layers.Conv2d)


def lower_binary(builder: Builder, layer: BinaryLayer, x: ValueRef) -> ValueRef:
    """Translate a binary layer: both its operands binary, one of them, or none.

    Raises:
        PackedError: If it cannot be packed; the message says why.
    """
    kind = next((kind for kind in _KINDS if isinstance(layer, kind)), None)
    if kind is None:
        names = ", ".join(kind.__name__ for kind in _KINDS)
        raise PackedError(f"a binary {type(layer).__name__} has no 1-bit kernel; {names} have one.")
    if kind is not layers.Linear and builder.rank(x) != layer.weight.dim():
        raise PackedError("a convolution without a batch axis is not packed.")
    check_kind(layer, kind)
    axis = -1 if kind is layers.Linear and builder.rank(x) > 2 else 1
    y = _product(builder, layer, kind, x, axis)
    return _post_process(builder, layer.activation_post_process, y, x, axis)


def _product(
    builder: Builder, layer: BinaryLayer, kind: type[BinaryLayer], x: ValueRef, axis: int
) -> ValueRef:
    """Emit all but the last stage."""
    binarizer = layer.activation_pre_process
    float_input = isinstance(binarizer, nn.Identity)
    if isinstance(layer.weight_pre_process, nn.Identity):
        if not float_input:
            x = lower_values(builder, binarizer, x, axis)
            if getattr(layer, "padding_value", 0):
                raise PackedError("float weights with a padding of -1 or +1 are not packed.")
        return MODULES[kind.float_class()](builder, layer, x)
    w = weight_factors(layer)
    if kind is layers.Linear:
        geometry: dict[str, Any] = {
            "in_channels": int(layer.weight.shape[1]),
            "stride": [],
            "padding": [],
            "dilation": [],
            "groups": 1,
        }
    else:
        conv: Any = layer
        x, pads = pad_as_layer(builder, conv, x)
        geometry = {
            "in_channels": conv.in_channels,
            "stride": list(conv.stride),
            "padding": pads,
            "dilation": list(conv.dilation),
            "groups": conv.groups,
        }
    given = None if float_input else lower_input(builder, binarizer, x, axis)
    return Product(builder, layer, given, x, w, geometry, axis).emit()


def _post_process(
    builder: Builder, post: nn.Module, y: ValueRef, x: ValueRef, axis: int
) -> ValueRef:
    """Emit the last stage, for a layer's output and its input."""
    if isinstance(post, XNORScaleBinarizer) and (type(post).forward is XNORScaleBinarizer.forward):
        return builder.emit("binary", [y, _input_scale(builder, post, x)], function="mul")
    if isinstance(post, RealToBinaryGateBinarizer) and (
        type(post).forward is RealToBinaryGateBinarizer.forward
    ):
        return builder.emit("binary", [y, _gate(builder, post, x)], function="mul")
    if isinstance(post, XNORPlusPlusScaleBinarizer) and (
        type(post).forward is XNORPlusPlusScaleBinarizer.forward
    ):
        if post.form == "channel":
            return per_channel(builder, y, post.alpha.detach().flatten().float(), None, axis)
        gamma = post.gamma_of(torch.empty(builder.shape(y), device="meta")).detach().float()
        scales = builder.emit("constant", [], {"value": gamma.unsqueeze(0)})
        return builder.emit("binary", [y, scales], function="mul")
    if _is_spatial(post):
        alpha = builder.emit("constant", [], {"value": post.alpha.detach().float()})
        return builder.emit("binary", [y, alpha], function="mul")
    scale = post_scale(post, builder.shape(y)[axis])
    return y if scale is None else per_channel(builder, y, scale.detach().float(), None, axis)


def _is_spatial(post: nn.Module) -> TypeGuard[BasicScaleBinarizer]:
    """Say whether the output stage has a scale for more than each channel."""
    if not isinstance(post, BasicScaleBinarizer) or (
        type(post).forward is not BasicScaleBinarizer.forward
    ):
        return False
    alpha: Tensor = post.alpha
    return alpha.numel() != 1 and (alpha.dim() < 2 or alpha.numel() != alpha.shape[1])


def _gate(builder: Builder, gate: RealToBinaryGateBinarizer, x: ValueRef) -> ValueRef:
    """Translate Real-to-Binary's gate."""
    if gate.axes:
        dims = list(range(2, gate.axes + 2))
        x = builder.emit("reduce", [x], function="mean", dims=dims, keepdim=False)
    x = activate(builder, linear(builder, gate.reduce, x), "relu")
    x = builder.emit("unary", [linear(builder, gate.expand, x)], function="sigmoid")
    for _ in range(gate.axes):
        x = builder.emit("unsqueeze", [x], dim=-1)
    return x


def _input_scale(builder: Builder, scale: XNORScaleBinarizer, x: ValueRef) -> ValueRef:
    """Translate XNOR-Net's K, step by step as XNORScaleBinarizer computes it."""
    magnitude = builder.emit("unary", [x], function="abs")
    if not scale.groups:
        return builder.emit("reduce", [magnitude], function="mean", dims=[-1], keepdim=True)
    box: Tensor = scale.box  # type: ignore[assignment]  # a buffer
    spatial = box.dim() - 2
    channels = builder.shape(x)[1]
    if scale.groups > 1:  # (N, C, *) -> (N, groups, C / groups, *)
        sizes = [builder.emit_int("size", [x], dim=dim) for dim in (0, *range(2, spatial + 2))]
        split = [None, scale.groups, channels // scale.groups, *[None] * spatial]
        magnitude = builder.emit("reshape", [magnitude, *sizes], shape=split)
        a = builder.emit("reduce", [magnitude], function="mean", dims=[2], keepdim=False)
    else:
        a = builder.emit("reduce", [magnitude], function="mean", dims=[1], keepdim=True)
    if any(scale.pad):
        a = builder.emit(
            "pad", [a], pads=list(scale.pad), mode=scale.pad_mode, value=scale.pad_value
        )
    k = builder.emit(
        "conv",
        [a],
        {"weight": box.float()},
        stride=list(scale.stride),
        padding=[0] * spatial,
        dilation=list(scale.dilation),
        groups=scale.groups,
    )
    if scale.groups > 1:
        k = builder.emit("repeat_interleave", [k], repeats=scale.repeats, dim=1)
    return k
