"""Operands of more than one bit as sums of signs, so that 1-bit kernels compute with them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bnn.errors import PackedError
from bnn.ops import DoReFaInputBinarizer, HeavisideInputBinarizer
from bnn.ops.sign import sign

BOX = "#box"
"""Behind a layer's name: a node that sums the input alone, for the offsets of the weight."""


class Planes(NamedTuple):
    """How integers are made of signs: ``constant + sum(coefficient * signs)``.

    Attributes:
        coefficients: Of each plane, the largest first.
        constant: What is left.
        pad: The sign that every plane has where the integers are 0: what is padded with. 0 where no
            sign gives 0; a padded tap is left out then.

    Example:
        >>> two_bits = Planes((1.0, 0.5), 1.5, -1)
        >>> [plane.tolist() for plane in two_bits.split(torch.tensor([0.0, 1.0, 2.0, 3.0]))]
        [[-1.0, -1.0, 1.0, 1.0], [-1.0, 1.0, -1.0, 1.0]]
    """

    coefficients: tuple[float, ...] = (1.0,)
    constant: float = 0.0
    pad: int = 0

    def split(self, integers: Tensor) -> list[Tensor]:
        """Return the signs of each plane."""
        rest, found = integers - self.constant, []
        for coefficient in self.coefficients:
            signs = sign(rest if coefficient > 0 else -rest)
            rest = rest - coefficient * signs
            found.append(signs)
        return found


def input_planes(binarizer: nn.Module) -> Planes:
    """Return how the integers of an ``activation_pre_process`` are made of signs."""
    if isinstance(binarizer, HeavisideInputBinarizer) or (
        isinstance(binarizer, DoReFaInputBinarizer) and binarizer.bits == 1
    ):
        # The sign is -1 exactly where the value is 1: a bit is 1 below 0, and so is a threshold
        # above which the value is 1, but at which it is 0.
        return Planes((-0.5,), 0.5, 1)
    if isinstance(binarizer, DoReFaInputBinarizer):
        n = 2**binarizer.bits - 1
        return Planes(tuple(2.0 ** (j - 1) for j in reversed(range(binarizer.bits))), n / 2, -1)
    return Planes()


def weight_planes(integers: Tensor) -> tuple[Planes, list[Tensor]]:
    """Return how a weight's integers are made of signs, and the signs of each plane.

    Raises:
        PackedError: If they are no signs, not of -1, 0 and +1, and not odd.

    Example:
        >>> planes, signs = weight_planes(torch.tensor([-1.0, 0.0, 1.0]))
        >>> planes.coefficients, [plane.tolist() for plane in signs]
        ((0.5, 0.5), [[-1.0, 1.0, 1.0], [-1.0, -1.0, 1.0]])
    """
    magnitudes = integers.abs()
    largest = float(magnitudes.max()) if magnitudes.numel() else 1.0
    if largest <= 1 and bool(((magnitudes == 0) | (magnitudes == 1)).all()):
        if bool(magnitudes.all()):
            return Planes(), [integers]
        return ternary_planes(integers)
    if largest <= 2**8 and bool((magnitudes % 2 == 1).all()):
        planes = odd_planes(int(largest).bit_length())
        return planes, planes.split(integers)
    found = ", ".join(f"{value:g}" for value in torch.unique(integers)[:4].tolist())
    raise PackedError(
        f"the layer's weight has {found} and so on before it is scaled; packed are signs, ternary "
        "weights and odd integers."
    )


def ternary_planes(integers: Tensor) -> tuple[Planes, list[Tensor]]:
    """Return how -1, 0 and +1 are made of signs, and the signs of each plane.

    Example:
        >>> [plane.tolist() for plane in ternary_planes(torch.tensor([-1.0, 0.0, 1.0]))[1]]
        [[-1.0, 1.0, 1.0], [-1.0, -1.0, 1.0]]
    """
    return Planes((0.5, 0.5)), [sign(integers + 0.5), sign(integers - 0.5)]


def odd_planes(bits: int) -> Planes:
    """Return how odd integers below ``2 ** bits`` in magnitude are made of signs.

    Example:
        >>> odd_planes(2).coefficients
        (2.0, 1.0)
    """
    return Planes(tuple(2.0**j for j in reversed(range(bits))))
