"""SwishSign (BNN+): sign with the derivative of a sign-shaped swish."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from bnn.ops.base import BinarizerBase, SignForm, binarizers, check_above_zero
from bnn.ops.sign import SignFunction, apply_sign, sign


class _SwishSign(SignFunction):
    """Sign; the slope is that of 2 sigmoid(b x) (1 + b x (1 - sigmoid(b x))) - 1."""

    @staticmethod
    def forward(x: Tensor, beta: float) -> Tensor:  # type: ignore[override]  # noqa: ARG004
        return sign(x)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        (beta,) = ctx.parameters
        z = x if x.dtype == torch.float64 else x.float()
        # cosh overflows, and infinity over infinity is NaN, where the slope has long been 0.
        z = (beta * z).clamp(-80, 80)
        slope = beta * (2 - z * torch.tanh(z / 2)) / (1 + torch.cosh(z))
        return grad_output * slope.to(x.dtype), None


@binarizers.register("SwishSignBinarizer")
class SwishSignBinarizer(BinarizerBase):
    r"""Binarize to {-1, +1} with the gradient of BNN+'s SignSwish.

    Forward:   :math:`q(x) = +1` if :math:`x \ge 0`, else :math:`-1`.
    Backward:  :math:`\partial q / \partial x = \beta (2 - \beta x \tanh(\beta x / 2)) / (1 +
    \cosh(\beta x))`: :math:`\beta` at 0, and below 0 where :math:`|\beta x|` is above 2.4.

    Args:
        beta: Sharpness.

    Shape:
        - Input: :math:`(*)`, any floating dtype.
        - Output: same shape and dtype; every entry is -1 or +1, also at 0.

    Raises:
        ConfigError: If ``beta`` is not above 0.

    Reference:
        Darabi et al., *BNN+: Improved Binary Network Training*, 2018.
        https://arxiv.org/abs/1812.11800

    Example:
        >>> x = torch.tensor([0.0, 9.0], requires_grad=True)
        >>> SwishSignBinarizer(beta=5)(x).sum().backward()
        >>> x.grad[0].item(), x.grad[1].abs().item() < 1e-15
        (5.0, True)
    """

    signs_input = True

    def __init__(self, beta: float = 5.0) -> None:
        super().__init__()
        check_above_zero("SwishSignBinarizer", beta=beta)
        self.beta = beta

    def depends_on(self) -> Hashable | None:
        """Return that it depends on nothing: the sharpness is the gradient's."""
        return self._state(SwishSignBinarizer)

    def sign_form(self, x: Tensor) -> SignForm | None:
        """Return the sign that is taken, and of what."""
        return (
            None
            if self._state(SwishSignBinarizer) is None
            else SignForm(x, _SwishSign, (self.beta,))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the signs of ``x``."""
        return apply_sign(_SwishSign, x, self.beta)

    def extra_repr(self) -> str:
        """Show the sharpness."""
        return f"beta={self.beta}"
