"""BiPer: weights binarized by a square wave."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from bnn.ops.base import WeightBinarizer, binarizers, check_above_zero
from bnn.ops.sign import SignFunction, sign


class _SquareWave(SignFunction):
    """sign(sin(f w)) with the slope of sin(f w)."""

    @staticmethod
    def forward(w: Tensor, frequency: float) -> Tensor:  # type: ignore[override]
        return sign(torch.sin(frequency * w))

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        (w,) = ctx.saved_tensors
        (frequency,) = ctx.parameters
        return grad_output * (frequency * torch.cos(frequency * w)), None


@binarizers.register("BiPerWeightBinarizer")
class BiPerWeightBinarizer(WeightBinarizer):
    r"""Binarize a weight to the sign of its sine, a square wave.

    Forward:   :math:`q(w) = \mathrm{sign}(\sin(\omega_0 w))`; the first of the paper's two stages
    of training has the sine itself.
    Backward:  :math:`\partial q / \partial w = \omega_0 \cos(\omega_0 w)`.

    Args:
        frequency: :math:`\omega_0`.
        binarize: False gives :math:`\sin(\omega_0 w)`, for the first stage.

    Shape:
        - Input: a weight of any shape.
        - Output: same shape and dtype; every entry is -1 or +1 if ``binarize``.

    Raises:
        ConfigError: If ``frequency`` is not above 0.

    Reference:
        Vargas et al., *BiPer: Binary Neural Networks using a Periodic Function*, CVPR 2024.
        https://arxiv.org/abs/2404.01278

    Example:
        >>> BiPerWeightBinarizer(frequency=20)(torch.tensor([-0.1, 0.0, 0.1, 0.2]))
        tensor([-1.,  1.,  1., -1.])
    """

    def __init__(self, frequency: float = 20.0, binarize: bool = True) -> None:
        super().__init__()
        check_above_zero("BiPerWeightBinarizer", frequency=frequency)
        self.frequency, self.binarize = frequency, binarize

    def depends_on(self) -> Hashable | None:
        """Return the arguments."""
        return self._state(BiPerWeightBinarizer, self.frequency, self.binarize)

    def decompose(self, weight: Tensor) -> tuple[Tensor, None]:
        """Return the signs, or the sines, and no scale."""
        if not self.binarize:
            return torch.sin(self.frequency * weight), None
        return _SquareWave.apply(weight, self.frequency), None

    def extra_repr(self) -> str:
        """Show the arguments."""
        return f"frequency={self.frequency}, binarize={self.binarize}"
