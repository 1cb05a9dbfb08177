"""The product of a binary layer's operands, as 1-bit convolutions and what is added to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bnn.errors import PackedError
from bnn.layers import BinaryLayer
from bnn.layers.levels import Factors
from bnn.packed import functional
from bnn.packed.decompose import float32
from bnn.packed.graph import ValueRef
from bnn.packed.lower.builder import Builder
from bnn.packed.lower.inputs import Input
from bnn.packed.lower.modules import per_channel
from bnn.packed.planes import BOX, weight_planes


@dataclass
class Product:
    """A layer's product while it is translated, in the order of :mod:`bnn.layers.levels`.

    Attributes:
        builder: Where to.
        layer: Gives the bias.
        given: The input in terms of signs, or None: it is floats.
        x: The layer's input, padded as far as its mode asks.
        w: The weight.
        geometry: Attributes of the convolution, without ``pad_value`` and ``axis``.
        axis: Of the output's channels.
    """

    builder: Builder
    layer: BinaryLayer
    given: Input | None
    x: ValueRef
    w: Factors
    geometry: dict[str, Any]
    axis: int

    def emit(self) -> ValueRef:
        """Emit everything but the last stage of the layer."""
        w, given = self.w, self.given
        scale, a, b = w.scale, None, None
        if given is not None:
            a, b = given.scale, given.offset
        if getattr(self.layer, "padding_value", 0) and (
            given is None or a is not None or b is not None or given.planes.constant
        ):
            raise PackedError(
                "a padding of -1 or +1 is packed only where the activations are signs."
            )
        scale = _times(a, scale)
        if scale is not None:
            scale = scale.expand(len(w.integers))
        bits = self._bits()
        vector, spatial = self._rest(bits, b)
        out = self._sums(bits, _float(scale), vector)
        if spatial is None:
            return out
        return self.builder.emit("binary", [out, spatial], function="add")

    # --- sums of integers ---------------------------------------------------------------------

    def _bits(self) -> list[ValueRef]:
        if self.given is None:
            return []
        return [self.builder.emit("pack", [v], axis=self.axis) for v in self.given.values]

    def _sums(self, bits: list[ValueRef], scale: Tensor | None, shift: Tensor | None) -> ValueRef:
        """Emit ``integers * scale + shift``."""
        planes, signs = weight_planes(self.w.integers)
        own = self.given.planes if self.given is not None else None
        constant = own.constant if own else 0.0
        inputs: list[ValueRef | None] = [*bits] or [None]
        pairs = [
            (x, first * second, plane)
            for x, first in zip(inputs, own.coefficients if own else (1.0,), strict=True)
            for second, plane in zip(planes.coefficients, signs, strict=True)
        ]
        if len(pairs) == 1 and pairs[0][1] == 1 and not constant:
            return self._convolve(pairs[0][0], signs[0], scale, shift)
        total: ValueRef | None = None
        for x, coefficient, plane in pairs:  # all of these are exact
            factor = torch.full((len(plane),), coefficient) if coefficient != 1 else None
            first = None
            if constant and total is None:
                first = constant * self.w.integers.flatten(1).sum(1).float()
            part = self._convolve(x, plane, factor, first)
            total = (
                part
                if total is None
                else self.builder.emit("binary", [total, part], function="add")
            )
        assert total is not None  # noqa: S101 - there is a pair
        if scale is not None:
            total = per_channel(self.builder, total, scale, None, self.axis)
        if shift is not None:
            total = per_channel(self.builder, total, None, shift, self.axis)
        return total

    def _convolve(
        self, bits: ValueRef | None, signs: Tensor, scale: Tensor | None, bias: Tensor | None
    ) -> ValueRef:
        tensors = {"weight": functional.pack(signs.to(torch.int8)), "scale": scale, "bias": bias}
        if bits is None:
            return self.builder.emit("weight_only_conv", [self.x], tensors, **self.geometry)
        pad_value = getattr(self.layer, "padding_value", 0)
        if self.given is not None and self.given.planes.pad:
            pad_value = self.given.planes.pad
        return self.builder.emit(
            "binary_conv", [bits], tensors, **self.geometry, pad_value=pad_value, axis=self.axis
        )

    # --- what is added ------------------------------------------------------------------------

    def _rest(
        self, bits: list[ValueRef], b: Tensor | None
    ) -> tuple[Tensor | None, ValueRef | None]:
        """Return what is added for each filter, or for each filter and place."""
        builder, w = self.builder, self.w
        vector = None if self.layer.bias is None else float32(self.layer.bias)
        spatial: ValueRef | None = None
        if b is not None:
            factor = _float(_times(b, w.scale))
            assert factor is not None  # noqa: S101 - b is given
            counts = _counts(w.integers)
            if not any(self.geometry["padding"]):
                shift = counts.flatten(1).sum(1) * factor
                vector = shift if vector is None else shift + vector
            else:
                spatial = self._sums_of_ones(counts)
                spatial = self._by_filter("mul", spatial, factor.expand(len(w.integers)))
                if vector is not None:
                    spatial, vector = self._by_filter("add", spatial, vector), None
        if w.offset is not None:
            seen = self._seen(bits, b)
            seen = self._by_filter("mul", seen, float32(w.offset))
            if vector is not None:  # the order is that of the layer: this, then the products
                seen, vector = self._by_filter("add", seen, vector), None
            spatial = (
                seen if spatial is None else builder.emit("binary", [spatial, seen], function="add")
            )
        return vector, spatial

    def _seen(self, bits: list[ValueRef], b: Tensor | None) -> ValueRef:
        """Emit the sums of the input under each position of the filter, of each group."""
        builder, name = self.builder, self.builder.layer
        weight, groups = self.w.integers, self.geometry["groups"]
        box = weight.new_ones((groups, *weight.shape[1:]))
        counts = _counts(box)
        a = self.given.scale if self.given is not None else None
        scale = None if a is None else a.expand(groups)
        padded = any(self.geometry["padding"])
        shift = None
        if b is not None and not padded:
            shift = counts.flatten(1).sum(1) * b
        whole = self.w
        builder.layer = f"{name}{BOX}"
        try:
            self.w = Factors(box)
            seen = self._sums(bits, scale, shift)
        finally:
            self.w, builder.layer = whole, name
        if b is not None and padded:
            count = self._sums_of_ones(counts[:1])
            count = builder.emit("scalar", [count], function="mul", value=float(b))
            seen = builder.emit("binary", [seen, count], function="add")
        if groups > 1:
            repeats = len(weight) // groups
            seen = builder.emit("repeat_interleave", [seen], repeats=repeats, dim=self.axis)
        return seen

    def _sums_of_ones(self, counts: Tensor) -> ValueRef:
        """Emit a convolution of an image of ones with the weight's sums over its channels.

        All are integers, so a float convolution is exact.
        """
        builder, g = self.builder, self.geometry
        ones = builder.emit("slice", [self.x], dim=1, start=0, stop=1, step=1)
        ones = builder.emit("unary", [ones], function="zeros_like")
        ones = builder.emit("scalar", [ones], function="add", value=1.0)
        pads = g["padding"]
        if any(pads[i] != pads[i + 1] for i in range(0, len(pads), 2)):
            last_first = [pad for i in range(len(pads) - 2, -1, -2) for pad in pads[i : i + 2]]
            ones = builder.emit("pad", [ones], pads=last_first, mode="constant", value=0.0)
            pads = [0] * len(pads)
        return builder.emit(
            "conv",
            [ones],
            {"weight": counts},
            stride=g["stride"],
            padding=pads[::2],
            dilation=g["dilation"],
            groups=1,
        )

    def _by_filter(self, function: str, x: ValueRef, vector: Tensor) -> ValueRef:
        """Emit a function of each filter's floats and its number.

        As ``binary``, not as the epilogue of what is before: of a float convolution's weight it
        would become a part, and exact sums would be no more.
        """
        rank = self.builder.rank(x)
        axis = self.axis % rank
        shape = [1] * rank
        shape[axis] = -1
        constant = self.builder.emit("constant", [], {"value": vector.view(shape)})
        return self.builder.emit("binary", [x, constant], function=function)


def _counts(integers: Tensor) -> Tensor:
    """Return a weight summed over its input channels, which are left as one."""
    return integers.float().sum(1, keepdim=True)


def _float(scale: Tensor | None) -> Tensor | None:
    return None if scale is None else float32(scale)


def _times(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """Return the product of what is given, as :func:`bnn.layers.levels.product` has it."""
    if a is None or b is None:
        return b if a is None else a
    return a * b
