"""Operators of convolution: ``bnn::bconv`` and ``bnn::weight_only_conv``, along 0, 1 or 2 axes.

A linear layer is a convolution along no axis: one operator, and the weight says which it is.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from bnn.errors import PackedError
from bnn.packed import checks, layout, runtime
from bnn.packed.epilogue import FIELDS, TENSORS, Epilogue
from bnn.packed.library import ready, register
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


# Layers see the same sizes again and again, and checking them takes 7 us.
@functools.lru_cache(maxsize=4096)
def _known_shape(
    op: str,
    sizes: tuple[int, ...],
    weight: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    pad_value: int,
) -> ConvShape:
    shape = checks.conv_shape(op, sizes, weight, stride, padding, dilation, groups, pad_value)
    checks.check_scratch(op, shape)
    return shape


class _Conv:
    """A convolution's arguments once they are checked; the operator's parameters are its own."""

    conv_shape: ClassVar[Callable[..., ConvShape]] = staticmethod(_known_shape)

    def __init__(
        self,
        x: Tensor,
        weight: Tensor,
        channels: int,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
        groups: int,
        pad_value: int,
        output: str,
        *,
        residual: Tensor | None = None,
        **steps: Any,
    ) -> None:
        name, x_axes, weight_axes = _op("bconv", weight)
        self.op = op = f"b{name}"
        self.output = output
        self.epilogue = Epilogue(**steps)
        vectors = self.epilogue.tensors()
        checks.check_tensors(op, {"x": x, "weight": weight, "residual": residual, **vectors})
        checks.check_words(op, "x", x, x_axes, channels)
        checks.check_groups(op, groups, channels, "channels")
        _check_weight(op, weight, weight_axes, channels // groups)
        self.shape = self.conv_shape(
            op,
            (*x.shape[:-1], channels),
            tuple(weight.shape[:-1]),
            tuple(stride),
            tuple(padding),
            tuple(dilation),
            groups,
            pad_value,
        )
        checks.check_vectors(op, vectors, self.shape.out_channels)
        self.pixels = _pixels(self.shape, x.dim() - 2)
        self.float_size = (*self.pixels, self.shape.out_channels)
        self.bits_size = (*self.pixels, words(self.shape.out_channels))
        self._check_output(residual)

    def _check_output(self, residual: Tensor | None) -> None:
        if self.output not in OUTPUTS:
            raise PackedError(f"{self.op}: output is {self.output!r}; allowed: {OUTPUTS}.")
        if (residual is None) != (self.epilogue.residual_at is None):
            raise PackedError(
                f"{self.op}: residual is {'missing' if residual is None else 'given'}, but the "
                f"epilogue's residual_at is {self.epilogue.residual_at!r}; give both or neither."
            )
        if residual is not None:
            remedy = "It is added in float32."
            checks.check_dtype(self.op, "residual", residual, (torch.float32,), remedy)
            if tuple(residual.shape) != self.float_size:
                raise PackedError(
                    f"{self.op}: residual has shape {tuple(residual.shape)} with channels last; "
                    f"it is added to the output, {self.float_size}."
                )
        if self.output == "int32" and self.epilogue.given():
            raise PackedError(
                f"{self.op}: output 'int32' is the sums themselves, but the epilogue has "
                f"{', '.join(self.epilogue.given())}. Ask for 'float', or leave the epilogue out."
            )

    def ready_epilogue(self) -> Epilogue:
        """Return the epilogue with tensors that the native part can read."""
        given = self.epilogue.tensors()
        contiguous: dict[str, Any] = {name: ready(self.op, name, x) for name, x in given.items()}
        if all(contiguous[name] is x for name, x in given.items()):
            return self.epilogue
        return dataclasses.replace(self.epilogue, **contiguous)

    def empty(self, like: Tensor) -> dict[str, Tensor]:
        """Return the outputs, not yet written, by their names in the native part."""
        outputs = {}
        if self.output == "int32":
            outputs["out_int32"] = like.new_empty(self.float_size, dtype=torch.int32)
        if self.output in ("float", "float_and_bits"):
            outputs["out"] = like.new_empty(self.float_size, dtype=torch.float32)
        if self.output in ("bits", "float_and_bits"):
            outputs["bits"] = like.new_empty(self.bits_size)
        return outputs


class _SymbolicConv(_Conv):
    """The same of sizes that may be symbols, which no dictionary takes for a key."""

    conv_shape = staticmethod(checks.conv_shape)


def _bconv_cpu(
    x: Tensor, weight: Tensor, *rest: Any, residual: Tensor | None = None, **steps: Any
) -> list[Tensor]:
    conv = _Conv(x, weight, *rest, residual=residual, **steps)
    outputs = conv.empty(x)
    if math.prod(conv.pixels):
        weight = ready(conv.op, "weight", weight)
        isa = runtime.isa()
        runtime.bconv2d(
            conv.shape,
            ready(conv.op, "x", x),
            weight,
            panel_for(conv.shape, weight, isa),
            conv.ready_epilogue(),
            residual=None if residual is None else ready(conv.op, "residual", residual),
            isa=isa,
            **outputs,
        )
    return list(outputs.values())


def _bconv_other(
    x: Tensor, weight: Tensor, *rest: Any, residual: Tensor | None = None, **steps: Any
) -> list[Tensor]:
    conv = _Conv(x, weight, *rest, residual=residual, **steps)
    acc = layout.bconv2d(conv.shape, _as_images(x), _as_images(weight)).view(conv.float_size)
    if conv.output == "int32":
        return [acc.contiguous()]
    v = layout.finish(acc, conv.epilogue, residual).contiguous()
    outputs = [v] if conv.output != "bits" else []
    return outputs + ([layout.threshold(v, conv.epilogue)] if conv.output != "float" else [])


def _bconv_fake(
    x: Tensor, weight: Tensor, *rest: Any, residual: Tensor | None = None, **steps: Any
) -> list[Tensor]:
    return list(_SymbolicConv(x, weight, *rest, residual=residual, **steps).empty(x).values())


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
