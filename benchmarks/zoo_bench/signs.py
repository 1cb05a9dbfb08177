"""The model's logits for the signs that the packed network computed with.

A float next to 0 that is rounded another way gives another sign, and that more and more of them,
layer by layer. So the model is given the packed network's signs in each layer: then nothing adds
up, every sign that differs must be of a float next to 0, and the logits must be the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import bnn
from benchmarks.network_bench.competitors import WrongResultError
from bnn.layers import BinaryLayer
from bnn.layers.levels import input_factors
from bnn.packed import functional
from bnn.packed.onebit import OneBit, one_bit_layers
from bnn.packed.planes import input_planes, weight_planes

NEXT_TO_0 = 1e-6
"""How far from where its sign changes a float may be, relative to the largest of the layer."""


@torch.inference_mode()
def given_signs_of(model: nn.Module, network: bnn.PackedNetwork, image: Tensor) -> Tensor:
    """Return the model's output with the signs of the packed network in each 1-bit layer.

    Args:
        model: What was packed, evaluating.
        network: Its packed form; no part of it is run by Python.
        image: One.

    Raises:
        WrongResultError: If a sign is none that rounding could give.
    """
    uses = one_bit_layers(network)
    places = [place for layer in uses.values() for place in layer]
    values = [place.value for place in places if place.value is not None]
    bits = dict(zip(values, network.tap(values, image), strict=True))
    hooks = [
        module.register_forward_pre_hook(_Give(name, uses[name], bits))
        for name, module in model.named_modules()
        if isinstance(module, BinaryLayer) and name in uses
    ]
    try:
        result: Tensor = model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return result


class _Give:
    """Moves a layer's input as little as gives it the packed network's signs."""

    def __init__(self, name: str, uses: list[OneBit], bits: dict[int, Tensor]) -> None:
        self.name, self.bits = name, bits
        self.uses = iter(uses)

    def __call__(self, layer: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x, binarizer = args[0], layer.activation_pre_process
        wanted = self._integers(layer)
        if wanted.shape != x.shape:
            raise WrongResultError(
                f"{self.name}: the input has shape {tuple(x.shape)}, but packed "
                f"{tuple(wanted.shape)}: its signs cannot be compared"
            )
        step = NEXT_TO_0 * x.abs().max()
        near = x
        for moved in (x + step, x - step):
            wrong = input_factors(binarizer, near).integers != wanted
            near = torch.where(wrong, moved, near)
        wrong = input_factors(binarizer, near).integers != wanted
        if wrong.any():
            raise WrongResultError(
                f"{self.name}: {int(wrong.sum())} signs differ, of floats that are not next to 0"
            )
        return (near, *args[1:])

    def _integers(self, layer: BinaryLayer) -> Tensor:
        """Return what the packed layer's next call computes with."""
        planes = input_planes(layer.activation_pre_process)
        weights = len(weight_planes(layer._factors().integers)[0].coefficients)
        found: Any = planes.constant
        for coefficient in planes.coefficients:
            for _ in range(weights):  # each meets the same signs
                use = next(self.uses)
            assert use.value is not None  # noqa: S101 - no part is run by Python
            found = found + coefficient * functional.unpack(self.bits[use.value], use.channels)
        return found  # type: ignore[no-any-return]
