"""FDA-BNN: sign with the gradient of a Fourier series."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from bnn.errors import ConfigError
from bnn.ops.base import BinarizerBase, SignForm, binarizers, check_above_zero
from bnn.ops.sign import SignFunction, apply_sign, sign


class _FourierSign(SignFunction):
    """Sign with the slope of the first terms of a square wave's series."""

    @staticmethod
    def forward(x: Tensor, frequency: float, terms: int) -> Tensor:  # type: ignore[override]  # noqa: ARG004
        return sign(x)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        frequency, terms = ctx.parameters
        series = torch.cos(frequency * x)
        for i in range(1, terms + 1):
            series = series + torch.cos((2 * i + 1) * frequency * x)
        slope = 4 * frequency / math.pi * series
        return torch.where(x.abs() <= 1, grad_output * slope, 0), None, None


@binarizers.register("FDABinarizer")
class FDABinarizer(BinarizerBase):
    r"""Binarize to {-1, +1} with the gradient of a square wave's Fourier series.

    Forward:   :math:`q(x) = +1` if :math:`x \ge 0`, else :math:`-1`.
    Backward:  :math:`\partial q / \partial x = \frac{4 \omega}{\pi} \sum_{i=0}^{n}
    \cos((2i + 1)\,\omega x)` if :math:`|x| \le 1`, else 0.

    The paper adds the output of a small network for what the series leaves out; that is not here.

    Args:
        frequency: :math:`\omega`.
        terms: :math:`n`.

    Shape:
        - Input: :math:`(*)`, any floating dtype.
        - Output: same shape and dtype; every entry is -1 or +1, also at 0.

    Raises:
        ConfigError: If ``frequency`` is not above 0 or ``terms`` no int from 0 up.

    Reference:
        Xu et al., *Learning Frequency Domain Approximation for Binary Neural Networks*, NeurIPS
        2021. https://arxiv.org/abs/2103.00841

    Example:
        >>> x = torch.tensor([0.0, 2.0], requires_grad=True)
        >>> FDABinarizer()(x).sum().backward()
        >>> x.grad
        tensor([1.2732, 0.0000])
    """

    signs_input = True

    def __init__(self, frequency: float = 0.1, terms: int = 9) -> None:
        super().__init__()
        check_above_zero("FDABinarizer", frequency=frequency)
        if type(terms) is not int or terms < 0:
            raise ConfigError(f"FDABinarizer: terms is {terms!r}; it must be an int from 0 up.")
        self.frequency, self.terms = frequency, terms

    def depends_on(self) -> Hashable | None:
        """Return that it depends on nothing: the series is the gradient's."""
        return self._state(FDABinarizer)

    def sign_form(self, x: Tensor) -> SignForm | None:
        """Return the sign that is taken, and of what."""
        return (
            None
            if self._state(FDABinarizer) is None
            else SignForm(x, _FourierSign, (self.frequency, self.terms))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the signs of ``x``."""
        return apply_sign(_FourierSign, x, self.frequency, self.terms)

    def extra_repr(self) -> str:
        """Show the series."""
        return f"frequency={self.frequency}, terms={self.terms}"
