"""torch's own modules, each as operations of the graph.

A module is translated by its exact class, since a subclass may compute something else. One more
line here is one more module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bnn.layers import PReLU, RPReLU
from bnn.packed import layout
from bnn.packed.graph import ValueRef
from bnn.packed.lower.builder import Builder, Untranslated

Translator = Callable[[Builder, Any, ValueRef], ValueRef]


def per_channel(
    builder: Builder, x: ValueRef, scale: Tensor | None, shift: Tensor | None, axis: int = 1
) -> ValueRef:
    """Emit ``x * scale[c] + shift[c]``."""
    return builder.emit("map", [x], {"affine_scale": scale, "affine_shift": shift}, axis=axis)


def activate(
    builder: Builder, x: ValueRef, activation: str, slope: Tensor | None = None
) -> ValueRef:
    """Emit one of the epilogue's activations."""
    return builder.emit("map", [x], {"second_slope": slope}, second_activation=activation, axis=1)


def pad_as_layer(builder: Builder, conv: Any, x: ValueRef) -> tuple[ValueRef, list[int]]:
    """Return the input, padded if the padding is not one of a constant, and the pads that are left.

    The pads are (before, after) of each axis, the first axis first.
    """
    last_first: list[int] = list(conv._reversed_padding_repeated_twice)  # 'same' has numbers there
    if conv.padding_mode == "zeros":
        pairs = [last_first[i : i + 2] for i in range(len(last_first) - 2, -1, -2)]
        return x, [pad for pair in pairs for pad in pair]
    x = builder.emit("pad", [x], pads=last_first, mode=conv.padding_mode, value=0.0)
    return x, [0] * len(last_first)


def pad_evenly(builder: Builder, x: ValueRef, pads: list[int]) -> tuple[ValueRef, list[int]]:
    """Return the input, padded where (before, after) differ, and one pad for each axis."""
    if any(pads[i] != pads[i + 1] for i in range(0, len(pads), 2)):  # 'same' of an even kernel
        last_first = [pad for i in range(len(pads) - 2, -1, -2) for pad in pads[i : i + 2]]
        x = builder.emit("pad", [x], pads=last_first, mode="constant", value=0.0)
        pads = [0] * len(pads)
    return x, pads[::2]


def convolve(builder: Builder, conv: Any, x: ValueRef) -> ValueRef:
    """Emit a convolution with the arguments of ``conv``."""
    if builder.rank(x) != conv.weight.dim():
        raise Untranslated("a convolution without a batch axis")
    x, pads = pad_evenly(builder, *pad_as_layer(builder, conv, x))
    return builder.emit(
        "conv",
        [x],
        {"weight": conv.weight, "bias": conv.bias},
        stride=list(conv.stride),
        padding=pads,
        dilation=list(conv.dilation),
        groups=conv.groups,
    )


def _conv_transpose(builder: Builder, conv: Any, x: ValueRef) -> ValueRef:
    if builder.rank(x) != conv.weight.dim():
        raise Untranslated("a convolution without a batch axis")
    return builder.emit(
        "conv_transpose",
        [x],
        {"weight": conv.weight, "bias": conv.bias},
        stride=list(conv.stride),
        padding=list(conv.padding),
        output_padding=list(conv.output_padding),
        dilation=list(conv.dilation),
        groups=conv.groups,
    )


def linear(builder: Builder, linear: Any, x: ValueRef) -> ValueRef:
    """Emit a linear layer with the weight and bias of ``linear``."""
    axis = 1 if builder.rank(x) == 2 else -1
    return builder.emit("linear", [x], {"weight": linear.weight, "bias": linear.bias}, axis=axis)


def _batch_norm(builder: Builder, norm: Any, x: ValueRef) -> ValueRef:
    if norm.running_mean is None or builder.rank(x) < 2:
        raise Untranslated("a batch norm without running statistics")
    # As torch's own kernel computes them: rsqrt in float32 (torch.sqrt is not rounded correctly
    # everywhere), and the shift rounded once.
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    bias = torch.zeros_like(scale) if norm.bias is None else norm.bias
    return per_channel(builder, x, scale, layout.fused(-norm.running_mean, scale, bias))


def _relu(builder: Builder, _: nn.ReLU, x: ValueRef) -> ValueRef:
    return activate(builder, x, "relu")


def _prelu(builder: Builder, prelu: nn.PReLU, x: ValueRef) -> ValueRef:
    if builder.rank(x) < 2:
        raise Untranslated("a PReLU of a vector")
    if prelu.weight.numel() == 1:
        return leaky_relu(builder, x, float(prelu.weight))
    return activate(builder, x, "prelu", prelu.weight.expand(builder.shape(x)[1]))


def _rprelu(builder: Builder, rprelu: RPReLU, x: ValueRef) -> ValueRef:
    if builder.rank(x) < 2:
        raise Untranslated("an RPReLU of a vector")
    channels = builder.shape(x)[1]
    shift_in, slope, shift_out = (
        value.expand(channels) for value in (-rprelu.shift_in, rprelu.weight, rprelu.shift_out)
    )
    x = builder.emit("map", [x], {"second_shift_in": shift_in}, axis=1)
    x = activate(builder, x, "prelu", slope)
    return builder.emit("map", [x], {"second_shift_out": shift_out}, axis=1)


def leaky_relu(builder: Builder, x: ValueRef, slope: float) -> ValueRef:
    """Emit a leaky ReLU: a PReLU whose slopes are equal."""
    if builder.channel_axis(x) != 1:
        return builder.emit("parametric", [x], function="leaky_relu", value=float(slope))
    return activate(builder, x, "prelu", torch.full((builder.shape(x)[1],), float(slope)))


def hardtanh(builder: Builder, x: ValueRef, least: float, most: float) -> ValueRef:
    """Emit a hardtanh of any bounds."""
    if (least, most) == (-1, 1):
        return activate(builder, x, "hardtanh")
    return builder.emit("clamp", [x], min=float(least), max=float(most))


def ints(value: int | Sequence[int], axes: int) -> list[int]:
    """Return one number for each axis."""
    return [int(value)] * axes if isinstance(value, int) else [int(item) for item in value]


def max_pool(builder: Builder, pool: Any, x: ValueRef, axes: int) -> ValueRef:
    """Emit a max pooling with the arguments of ``pool``."""
    if getattr(pool, "return_indices", False) or builder.rank(x) != axes + 2:
        raise Untranslated("indices, or no batch axis")
    stride = pool.kernel_size if pool.stride is None else pool.stride
    return builder.emit(
        "max_pool",
        [x],
        kernel_size=ints(pool.kernel_size, axes),
        stride=ints(stride, axes),
        padding=ints(pool.padding, axes),
        dilation=ints(pool.dilation, axes),
        ceil_mode=bool(pool.ceil_mode),
    )


def avg_pool(builder: Builder, pool: Any, x: ValueRef, axes: int) -> ValueRef:
    """Emit an average pooling with the arguments of ``pool``."""
    if getattr(pool, "divisor_override", None) is not None or builder.rank(x) != axes + 2:
        raise Untranslated("a divisor, or no batch axis")
    stride = pool.kernel_size if pool.stride is None else pool.stride
    return builder.emit(
        "avg_pool",
        [x],
        kernel_size=ints(pool.kernel_size, axes),
        stride=ints(stride, axes),
        padding=ints(pool.padding, axes),
        ceil_mode=bool(pool.ceil_mode),
        count_include_pad=bool(pool.count_include_pad),
    )


def adaptive_pool(builder: Builder, op: str, x: ValueRef, size: Any, axes: int) -> ValueRef:
    """Emit an adaptive pooling."""
    sizes = [size] * axes if isinstance(size, int) else list(size)
    if any(item is None for item in sizes) or builder.rank(x) != axes + 2:
        raise Untranslated("an open size, or no batch axis")
    return builder.emit(op, [x], output_size=sizes)


def _layer_norm(builder: Builder, norm: nn.LayerNorm, x: ValueRef) -> ValueRef:
    return builder.emit(
        "layer_norm",
        [x],
        {"weight": norm.weight, "bias": norm.bias},
        shape=list(norm.normalized_shape),
        eps=norm.eps,
    )


def _group_norm(builder: Builder, norm: nn.GroupNorm, x: ValueRef) -> ValueRef:
    return builder.emit(
        "group_norm",
        [x],
        {"weight": norm.weight, "bias": norm.bias},
        groups=norm.num_groups,
        eps=norm.eps,
    )


def _same(builder: Builder, _: nn.Module, x: ValueRef) -> ValueRef:  # noqa: ARG001
    return x


def unary(function: str) -> Translator:
    """Return the translator of a module without arguments."""
    return lambda builder, _, x: builder.emit("unary", [x], function=function)


def _gelu(builder: Builder, gelu: nn.GELU, x: ValueRef) -> ValueRef:
    function = "gelu_tanh" if gelu.approximate == "tanh" else "gelu"
    return builder.emit("unary", [x], function=function)


def softmax(builder: Builder, x: ValueRef, dim: int | None, log: bool) -> ValueRef:
    """Emit a softmax or its logarithm."""
    if dim is None:
        raise Untranslated("a softmax without dim")
    return builder.emit("softmax", [x], dim=dim, log=log)


def _constant_pad(builder: Builder, pad: Any, x: ValueRef) -> ValueRef:
    value = float(getattr(pad, "value", 0.0))
    return builder.emit("pad", [x], pads=list(pad.padding), mode="constant", value=value)


def _upsample(builder: Builder, up: nn.Upsample, x: ValueRef) -> ValueRef:
    if up.scale_factor is None or up.recompute_scale_factor:
        raise Untranslated("an upsampling to a fixed size")
    axes = builder.rank(x) - 2
    factors = up.scale_factor
    return builder.emit(
        "interpolate",
        [x],
        factors=[float(factors)] * axes
        if isinstance(factors, (int, float))
        else [float(f) for f in factors],
        mode=up.mode,
        align_corners=bool(up.align_corners),
    )


MODULES: dict[type[nn.Module], Translator] = {
    nn.Conv1d: convolve,
    nn.Conv2d: convolve,
    nn.Conv3d: convolve,
    nn.ConvTranspose1d: _conv_transpose,
    nn.ConvTranspose2d: _conv_transpose,
    nn.ConvTranspose3d: _conv_transpose,
    nn.Linear: linear,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm3d: _batch_norm,
    nn.SyncBatchNorm: _batch_norm,
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
    nn.ReLU: _relu,
    nn.ReLU6: unary("relu6"),
    nn.PReLU: _prelu,
    PReLU: _prelu,
    RPReLU: _rprelu,
    nn.LeakyReLU: lambda b, m, x: leaky_relu(b, x, m.negative_slope),
    nn.Hardtanh: lambda b, m, x: hardtanh(b, x, m.min_val, m.max_val),
    nn.ELU: lambda b, m, x: b.emit("parametric", [x], function="elu", value=float(m.alpha)),
    nn.Sigmoid: unary("sigmoid"),
    nn.Tanh: unary("tanh"),
    nn.SiLU: unary("silu"),
    nn.Mish: unary("mish"),
    nn.Hardswish: unary("hardswish"),
    nn.Hardsigmoid: unary("hardsigmoid"),
    nn.Softsign: unary("softsign"),
    nn.GELU: _gelu,
    nn.Softmax: lambda b, m, x: softmax(b, x, m.dim, log=False),
    nn.LogSoftmax: lambda b, m, x: softmax(b, x, m.dim, log=True),
    nn.MaxPool1d: lambda b, m, x: max_pool(b, m, x, 1),
    nn.MaxPool2d: lambda b, m, x: max_pool(b, m, x, 2),
    nn.MaxPool3d: lambda b, m, x: max_pool(b, m, x, 3),
    nn.AvgPool1d: lambda b, m, x: avg_pool(b, m, x, 1),
    nn.AvgPool2d: lambda b, m, x: avg_pool(b, m, x, 2),
    nn.AvgPool3d: lambda b, m, x: avg_pool(b, m, x, 3),
    nn.AdaptiveAvgPool1d: lambda b, m, x: adaptive_pool(
        b, "adaptive_avg_pool", x, m.output_size, 1
    ),
    nn.AdaptiveAvgPool2d: lambda b, m, x: adaptive_pool(
        b, "adaptive_avg_pool", x, m.output_size, 2
    ),
    nn.AdaptiveAvgPool3d: lambda b, m, x: adaptive_pool(
        b, "adaptive_avg_pool", x, m.output_size, 3
    ),
    nn.AdaptiveMaxPool1d: lambda b, m, x: adaptive_pool(
        b, "adaptive_max_pool", x, m.output_size, 1
    ),
    nn.AdaptiveMaxPool2d: lambda b, m, x: adaptive_pool(
        b, "adaptive_max_pool", x, m.output_size, 2
    ),
    nn.AdaptiveMaxPool3d: lambda b, m, x: adaptive_pool(
        b, "adaptive_max_pool", x, m.output_size, 3
    ),
    nn.Flatten: lambda b, m, x: b.emit("flatten", [x], start=m.start_dim, end=m.end_dim),
    nn.ChannelShuffle: lambda b, m, x: b.emit("channel_shuffle", [x], groups=m.groups),
    nn.PixelShuffle: lambda b, m, x: b.emit("pixel_shuffle", [x], factor=m.upscale_factor),
    nn.ZeroPad1d: _constant_pad,
    nn.ZeroPad2d: _constant_pad,
    nn.ZeroPad3d: _constant_pad,
    nn.ConstantPad1d: _constant_pad,
    nn.ConstantPad2d: _constant_pad,
    nn.ConstantPad3d: _constant_pad,
    nn.Upsample: _upsample,
    nn.Identity: _same,
    nn.Dropout: _same,
    nn.Dropout1d: _same,
    nn.Dropout2d: _same,
    nn.Dropout3d: _same,
    nn.AlphaDropout: _same,
    nn.FeatureAlphaDropout: _same,
}
