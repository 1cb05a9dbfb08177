"""The product of a binary layer's operands, as 1-bit convolutions and what is added to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bnn.errors import PackedError
from bnn.layers import BinaryLayer
from bnn.layers.levels import Factors, leaves_taps_out, times
from bnn.packed import functional
from bnn.packed.decompose import float32
from bnn.packed.graph import ValueRef
from bnn.packed.lower.builder import Builder
from bnn.packed.lower.inputs import Input
from bnn.packed.lower.modules import pad_evenly, per_channel
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
        scale = times(a, scale)
        if scale is not None:
            scale = scale.expand(len(w.integers))
        bits = self._bits()
        vector, spatial = self._rest(bits, b)
        out = self._sums(bits, w.integers, _float(scale), vector)
        if spatial is None:
            return out
        return self.builder.emit("binary", [out, spatial], function="add")

    # --- sums of integers ---------------------------------------------------------------------

    def _bits(self) -> list[ValueRef]:
        if self.given is None:
            return []
        return [self.builder.emit("pack", [v], axis=self.axis) for v in self.given.values]

    def _sums(
        self,
        bits: list[ValueRef],
        integers: Tensor,
        scale: Tensor | None,
        shift: Tensor | None,
    ) -> ValueRef:
        """Emit ``sums * scale + shift``, of the input with the integers of a weight."""
        planes, signs = weight_planes(integers)
        own = self.given.planes if self.given is not None else None
        constant = own.constant if own else 0.0
        inputs: list[ValueRef | None] = [*bits] or [None]
        words = [functional.pack(plane.to(torch.int8)).contiguous() for plane in signs]
        pairs = [
            (x, first * second, plane)
            for x, first in zip(inputs, own.coefficients if own else (1.0,), strict=True)
            for second, plane in zip(planes.coefficients, words, strict=True)
        ]
        if len(pairs) == 1 and pairs[0][1] == 1 and not constant:
            return self._convolve(pairs[0][0], words[0], scale, shift)
        total: ValueRef | None = None
        for x, coefficient, plane in pairs:  # all of these are exact
            factor = torch.full((len(plane),), coefficient) if coefficient != 1 else None
            first = None
            if constant and total is None:
                first = constant * integers.flatten(1).sum(1).float()
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
        self, bits: ValueRef | None, words: Tensor, scale: Tensor | None, bias: Tensor | None
    ) -> ValueRef:
        tensors = {"weight": words, "scale": scale, "bias": bias}
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
        """Return what is added for each filter, and for each filter and place."""
        w = self.w
        vector = None if self.layer.bias is None else float32(self.layer.bias)
        spatial: ValueRef | None = None
        if b is not None:
            factor = _float(times(b, w.scale))
            assert factor is not None  # noqa: S101 - b is given
            counts = _counts(w.integers)
            if leaves_taps_out(self.layer):
                spatial = self._by_filter(self._sums_of_ones(counts), factor)
            else:
                shift = counts.flatten(1).sum(1) * factor
                vector = shift if vector is None else shift + vector
        if w.offset is not None:
            seen = self._for_filters(self._seen(bits, b), float32(w.offset))
            if spatial is not None:
                seen = self.builder.emit("binary", [spatial, seen], function="add")
            spatial = seen
        return vector, spatial

    def _seen(self, bits: list[ValueRef], b: Tensor | None) -> ValueRef:
        """Emit the sums of the input under each position of the filter, of each group."""
        builder, name = self.builder, self.builder.layer
        groups = self.geometry["groups"]
        box = self.w.integers.new_ones((groups, *self.w.integers.shape[1:]))
        counts = _counts(box)
        a = self.given.scale if self.given is not None else None
        scale, shift = None if a is None else a.expand(groups), None
        padded = leaves_taps_out(self.layer)
        if b is not None and not padded:
            shift = counts.flatten(1).sum(1) * b
        builder.layer = f"{name}{BOX}"
        try:
            seen = self._sums(bits, box, scale, shift)
        finally:
            builder.layer = name
        if b is not None and padded:
            count = self._by_filter(self._sums_of_ones(counts), b)
            seen = builder.emit("binary", [seen, count], function="add")
        return seen

    def _for_filters(self, seen: ValueRef, offset: Tensor) -> ValueRef:
        """Emit the product of each group's sums and each of its filters' offset.

        As a convolution of one channel, whose sums are one product each.
        """
        builder, geometry = self.builder, self.geometry
        if len(geometry["stride"]) == 0:  # a linear layer
            return self._by_filter(seen, offset)
        axes = builder.rank(seen) - 2
        return builder.emit(
            "conv",
            [seen],
            {"weight": offset.view(-1, 1, *[1] * axes)},
            stride=[1] * axes,
            padding=[0] * axes,
            dilation=[1] * axes,
            groups=geometry["groups"],
        )

    def _sums_of_ones(self, counts: Tensor) -> ValueRef:
        """Emit a convolution of an image of ones with the weight's sums over its channels.

        All are integers, so a float convolution is exact.
        """
        builder = self.builder
        ones = builder.emit("slice", [self.x], dim=1, start=0, stop=1, step=1)
        ones = builder.emit("unary", [ones], function="zeros_like")
        ones = builder.emit("scalar", [ones], function="add", value=1.0)
        geometry = self.geometry
        ones, pads = pad_evenly(builder, ones, geometry["padding"])
        return builder.emit(
            "conv",
            [ones],
            {"weight": counts},
            stride=geometry["stride"],
            padding=pads,
            dilation=geometry["dilation"],
            groups=1,
        )

    def _by_filter(self, x: ValueRef, vector: Tensor) -> ValueRef:
        """Emit the product of each filter's floats and its number.

        As ``binary``, not as the epilogue of what is before: of a float convolution's weight it
        would become a part, and exact sums would be no more.
        """
        rank = self.builder.rank(x)
        shape = [1] * rank
        shape[self.axis % rank] = -1
        constant = self.builder.emit("constant", [], {"value": vector.view(shape)})
        return self.builder.emit("binary", [x, constant], function="mul")


def _counts(integers: Tensor) -> Tensor:
    """Return a weight summed over its input channels, which are left as one."""
    return integers.float().sum(1, keepdim=True)


def _float(scale: Tensor | None) -> Tensor | None:
    return None if scale is None else float32(scale)
