"""BiPer: weights binarized by a square wave."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor

from bnn.ops.base import SignForm, WeightBinarizer, binarizers, check_above_zero
from bnn.ops.sign import ClippedSign


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

    def sign_form(self, x: Tensor) -> SignForm | None:
        """Return the sign of the sine; the gradient passes it, and has the sine's slope."""
        if self._state(BiPerWeightBinarizer) is None or not self.binarize:
            return None
        return SignForm(torch.sin(self.frequency * x), ClippedSign, (None,))

    def decompose(self, weight: Tensor) -> tuple[Tensor, None]:
        """Return the signs, or the sines, and no scale."""
        wave = torch.sin(self.frequency * weight)
        return ClippedSign.apply(wave, None) if self.binarize else wave, None

    def extra_repr(self) -> str:
        """Show the arguments."""
        return f"frequency={self.frequency}, binarize={self.binarize}"
