"""Sign with the derivative of a smooth function as its gradient."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bnn.ops.base import BinarizerBase, SignForm, binarizers, check_finite
from bnn.ops.sign import SignFunction, sign
from bnn.registry import Registry


class _SignWithSurrogate(torch.autograd.Function):
    """sign(x) forward; the whole gradient goes to ``surrogate``.

    Written as a function because ``surrogate + (sign(x) - surrogate).detach()`` rounds: its
    result is not exactly -1 or +1.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(surrogate: Tensor, x: Tensor) -> Tensor:  # noqa: ARG004 - takes the gradient
        return sign(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return grad_output, None


class _SmoothSign(SignFunction):
    """The same of x itself: the surrogate is computed in the backward pass."""

    @staticmethod
    def forward(  # type: ignore[override]
        x: Tensor,
        function: Callable[[Tensor], Tensor],  # noqa: ARG004 - of the gradient
        t: float,  # noqa: ARG004
    ) -> Tensor:
        return sign(x)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        function, t = ctx.parameters
        twice = torch.is_grad_enabled()
        with torch.enable_grad():
            if not (twice and x.requires_grad):
                x = x.detach().requires_grad_()
            surrogate = function(t * x)
            (grad,) = torch.autograd.grad(surrogate, x, grad_output, create_graph=twice)
        return grad, None, None


surrogates: Registry[Callable[[Tensor], Tensor]] = Registry("surrogate")
surrogates.register("tanh")(torch.tanh)
surrogates.register("erf")(torch.erf)
surrogates.register("softsign")(F.softsign)


@binarizers.register("AdvancedInputBinarizer")
class AdvancedInputBinarizer(BinarizerBase):
    r"""Binarize to {-1, +1}; backward, the derivative of a smooth function.

    Forward:   :math:`q(x) = +1` if :math:`x \ge 0`, else :math:`-1`.
    Backward:  :math:`\partial q / \partial x = \frac{d}{dx} f(t x)`; for the default
    :math:`f = \tanh` that is :math:`t (1 - \tanh^2(t x))`.

    Args:
        derivative_funct: :math:`f`, elementwise and differentiable, or, as recipes write it, its
            name: ``"tanh"``, ``"erf"`` or ``"softsign"``.
        t: Sharpness; the larger, the closer :math:`f(t x)` is to a sign.

    Shape:
        - Input: :math:`(*)`, any floating dtype.
        - Output: same shape and dtype; every entry is -1 or +1, also at 0.

    Raises:
        UnknownNameError: If there is no surrogate of the given name.
        ConfigError: If ``t`` is not finite.

    Reference:
        Bulat et al., *Improved training of binary networks for human pose estimation and image
        recognition*, 2019. https://arxiv.org/abs/1904.05868

    Example:
        >>> x = torch.tensor([0.0], requires_grad=True)
        >>> y = AdvancedInputBinarizer(t=5)(x)
        >>> y.backward()
        >>> y.item(), x.grad.item()
        (1.0, 5.0)
    """

    signs_input = True

    def __init__(
        self, derivative_funct: Callable[[Tensor], Tensor] | str = torch.tanh, t: float = 5
    ) -> None:
        super().__init__()
        if isinstance(derivative_funct, str):
            derivative_funct = surrogates[derivative_funct]
        self.derivative_funct = derivative_funct
        check_finite("AdvancedInputBinarizer", t=t)
        self.t = t

    def depends_on(self) -> Hashable | None:
        """Return that it depends on nothing: the function is the gradient's."""
        return self._state(AdvancedInputBinarizer)

    def sign_form(self, x: Tensor) -> SignForm | None:
        """Return the sign that is taken, and of what."""
        if self._state(AdvancedInputBinarizer) is None:
            return None
        return SignForm(x, _SmoothSign, (self.derivative_funct, self.t))

    def forward(self, x: Tensor) -> Tensor:
        """Return the signs of ``x``."""
        surrogate = self.derivative_funct(self.t * x)
        return _SignWithSurrogate.apply(surrogate, x.detach())  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        """Show the function and its sharpness."""
        name = getattr(self.derivative_funct, "__name__", repr(self.derivative_funct))
        return f"derivative_funct={name}, t={self.t}"
