"""Error decay estimator (IR-Net): a tanh gradient that sharpens while training goes on."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from bnn.errors import ConfigError
from bnn.ops.base import BinarizerBase, SignForm, binarizers, check_above_zero
from bnn.ops.sign import SignFunction, apply_sign, sign

_LEAST = 1e-38  # of t, whose inverse float32 holds


class ErrorDecaySign(SignFunction):
    """Sign with the slope k t (1 - tanh^2(t x)), k = max(1 / t, 1)."""

    @staticmethod
    def forward(x: Tensor, t: Tensor) -> Tensor:  # type: ignore[override]  # noqa: ARG004
        """Return ``sign(x)``."""
        return sign(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        """Keep both."""
        ctx.save_for_backward(*inputs)  # t is a tensor too: it moves, and compiled code need not

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of x."""
        x, t = ctx.saved_tensors
        t = t.to(x.dtype)
        k = (1 / t).clamp_min(1)
        return grad_output * (k * t * (1 - torch.tanh(t * x).square())), None


class ErrorDecay(BinarizerBase):
    """Base of the binarizers with IR-Net's gradient: the buffer ``t``, and its schedule.

    Example:
        >>> from bnn.ops import EDEBinarizer
        >>> binarizer = EDEBinarizer(t_min=0.1, t_max=10.0)
        >>> binarizer.set_progress_(0.5)
        >>> binarizer.t
        tensor(1.)
    """

    t: Tensor

    def __init__(self, t_min: float = 0.1, t_max: float = 10.0) -> None:
        super().__init__()
        check_above_zero(type(self).__name__, t_min=t_min, t_max=t_max)
        if not _LEAST <= t_min <= t_max:
            raise ConfigError(
                f"{type(self).__name__}: t_min is {t_min!r} and t_max {t_max!r}; it must be "
                f"{_LEAST} <= t_min <= t_max."
            )
        self.t_min, self.t_max = t_min, t_max
        self.register_buffer("t", torch.tensor(float(t_min)))

    def set_progress_(self, progress: float) -> None:
        """Let ``t`` grow from ``t_min`` to ``t_max`` by equal factors."""
        self.t.fill_(self.t_min * (self.t_max / self.t_min) ** progress)

    def _sign(self, x: Tensor) -> Tensor:
        return apply_sign(ErrorDecaySign, x, self.t)

    def extra_repr(self) -> str:
        """Show the bounds of ``t``."""
        return f"t_min={self.t_min}, t_max={self.t_max}"


@binarizers.register("EDEBinarizer")
class EDEBinarizer(ErrorDecay):
    r"""Binarize to {-1, +1} with IR-Net's gradient, which sharpens while training goes on.

    Forward:   :math:`q(x) = +1` if :math:`x \ge 0`, else :math:`-1`.
    Backward:  :math:`\partial q / \partial x = k t (1 - \tanh^2(t x))`,
    :math:`k = \max(1/t, 1)`, and :math:`\log t` goes evenly from :math:`\log t_{min}` to
    :math:`\log t_{max}` with the progress of training: see :func:`bnn.ops.set_progress_`.

    Args:
        t_min: :math:`t` at first. The paper has 0.1 to 10, its CIFAR-10 ResNet-20 0.001 to 10.
        t_max: :math:`t` at the end.

    Shape:
        - Input: :math:`(*)`, any floating dtype.
        - Output: same shape and dtype; every entry is -1 or +1, also at 0.

    Raises:
        ConfigError: If ``t_min`` is not above 0, or above ``t_max``, or one is not finite.

    Reference:
        Qin et al., *Forward and Backward Information Retention for Accurate Binary Neural
        Networks*, CVPR 2020. https://arxiv.org/abs/1909.10788

    Example:
        >>> binarizer = EDEBinarizer()
        >>> binarizer.set_progress_(1.0)
        >>> x = torch.tensor([0.0, 1.0], requires_grad=True)
        >>> binarizer(x).sum().backward()
        >>> round(x.grad[0].item(), 4), round(x.grad[1].item(), 4)
        (10.0, 0.0)
    """

    signs_input = True

    def depends_on(self) -> Hashable | None:
        """Return that it depends on nothing: ``t`` is the gradient's."""
        return self._state(EDEBinarizer)

    def sign_form(self, x: Tensor) -> SignForm | None:
        """Return the sign that is taken, and of what."""
        return None if self._state(EDEBinarizer) is None else SignForm(x, ErrorDecaySign, (self.t,))

    def forward(self, x: Tensor) -> Tensor:
        """Return the signs of ``x``."""
        return self._sign(x)
