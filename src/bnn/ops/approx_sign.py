"""ApproxSign (Bi-Real Net): sign with a piecewise linear gradient."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from torch import Tensor

from bnn.ops.base import BinarizerBase, SignForm, binarizers
from bnn.ops.sign import SignFunction, apply_sign


def approx_slope(x: Tensor) -> Tensor:
    """Return ``max(0, 2 - 2 abs(x))``, the slope of Bi-Real Net's piecewise quadratic sign."""
    return (2 - 2 * x.abs()).clamp_min(0)


class ApproxSign(SignFunction):
    r"""Sign, as ``ApproxSign.apply(x)``, with the slope :math:`\max(0, 2 - 2|x|)`."""

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        """Pass the gradient times the slope."""
        (x,) = ctx.saved_tensors
        return grad_output * approx_slope(x)


@binarizers.register("ApproxSignBinarizer")
class ApproxSignBinarizer(BinarizerBase):
    r"""Binarize to {-1, +1} with Bi-Real Net's triangular gradient.

    Forward:   :math:`q(x) = +1` if :math:`x \ge 0`, else :math:`-1`.
    Backward:  :math:`\partial q / \partial x = \max(0,\, 2 - 2|x|)`.

    Shape:
        - Input: :math:`(*)`, any floating dtype.
        - Output: same shape and dtype; every entry is -1 or +1, also at 0.

    Reference:
        Liu et al., *Bi-Real Net*, ECCV 2018. https://arxiv.org/abs/1808.00278

    Example:
        >>> x = torch.tensor([-0.25, 0.0, 2.0], requires_grad=True)
        >>> ApproxSignBinarizer()(x).sum().backward()
        >>> x.grad
        tensor([1.5000, 2.0000, 0.0000])
    """

    signs_input = True

    def depends_on(self) -> Hashable | None:
        """Return that it depends on nothing."""
        return self._state(ApproxSignBinarizer)

    def sign_form(self, x: Tensor) -> SignForm | None:
        """Return the sign that is taken, and of what."""
        return None if self._state(ApproxSignBinarizer) is None else SignForm(x, ApproxSign)

    def forward(self, x: Tensor) -> Tensor:
        """Return the signs of ``x``."""
        return apply_sign(ApproxSign, x)
