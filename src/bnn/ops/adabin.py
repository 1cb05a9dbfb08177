"""AdaBin: two levels of their own for each filter, and for each layer's activations."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor, nn

from bnn.ops.approx_sign import approx_slope
from bnn.ops.base import InputBinarizer, WeightBinarizer, binarizers, check_finite
from bnn.ops.ede import ErrorDecay
from bnn.ops.filters import by_filter, filter_size, nonzero, transposed_groups
from bnn.ops.sign import SignFunction, sign


class _ShiftedSign(SignFunction):
    """sign(u) of u = distance / alpha, with the slope of ApproxSign at u.

    The sign is not taken of the quotient, which may round to 0 where the distance is not 0, and
    beyond its slope no gradient is: at an alpha of 0 all are 0.
    """

    @staticmethod
    def forward(distance: Tensor, alpha: Tensor) -> Tensor:  # type: ignore[override]
        return sign(distance * sign(alpha))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor]:
        distance, alpha = ctx.saved_tensors
        alpha = nonzero(alpha)
        u = (distance / alpha).clamp(-1, 1)  # the slope is 0 from there on, and infinity times 0 no
        of_distance = grad_output / alpha * approx_slope(u)
        return of_distance, -(of_distance * u).sum()


@binarizers.register("AdaBinInputBinarizer")
class AdaBinInputBinarizer(InputBinarizer):
    r"""Binarize activations to two learnt values, :math:`\beta \pm \alpha`.

    Forward:   :math:`q(x) = \alpha\,\mathrm{sign}(u) + \beta`, :math:`u = (x - \beta) / \alpha`.
    Backward:  with :math:`h(u) = \max(0,\, 2 - 2|u|)`: :math:`\partial q / \partial x = h(u)`,
    :math:`\partial q / \partial \alpha = \mathrm{sign}(u) - u\,h(u)`,
    :math:`\partial q / \partial \beta = 1 - h(u)`.

    Args:
        alpha: Half the distance of the values, at first.
        beta: Their centre, at first.

    Shape:
        - Input: :math:`(*)`, any floating dtype.
        - Output: same shape and dtype.

    Raises:
        ConfigError: If an argument is not finite.

    Reference:
        Tu et al., *AdaBin: Improving Binary Neural Networks with Adaptive Binary Sets*, ECCV 2022.
        https://arxiv.org/abs/2208.08084

    Example:
        >>> AdaBinInputBinarizer(alpha=0.5, beta=0.25)(torch.tensor([0.3, 0.2])).tolist()
        [0.75, -0.25]
    """

    def __init__(self, alpha: float = 1.0, beta: float = 0.0) -> None:
        super().__init__()
        check_finite("AdaBinInputBinarizer", alpha=alpha, beta=beta)
        self.alpha = nn.Parameter(torch.tensor(float(alpha)))
        self.beta = nn.Parameter(torch.tensor(float(beta)))

    def depends_on(self) -> Hashable | None:
        """Return the two values."""
        return self._state(AdaBinInputBinarizer, self.alpha.item(), self.beta.item())

    def decompose(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the signs, alpha and beta."""
        alpha, beta = self.alpha.to(x.dtype), self.beta.to(x.dtype)
        return _ShiftedSign.apply(x - beta, alpha), alpha, beta


@binarizers.register("AdaBinWeightBinarizer")
class AdaBinWeightBinarizer(ErrorDecay, WeightBinarizer):
    r"""Binarize each filter to two values of its own, :math:`\beta_f \pm \alpha_f`.

    Forward:   :math:`\beta_f = \mathrm{mean}_f(w)`, :math:`\alpha_f = \sqrt{\mathrm{mean}_f (w -
    \beta_f)^2}`, :math:`q(w) = \alpha_f\,\mathrm{sign}(u) + \beta_f`,
    :math:`u = (w - \beta_f) / \alpha_f`.
    Backward:  :math:`k t (1 - \tanh^2(t u))` as in :class:`EDEBinarizer` through the sign, autograd
    through :math:`u`, :math:`\alpha_f` and :math:`\beta_f`.

    Args:
        t_min: :math:`t` at first.
        t_max: :math:`t` at the end.
        module: The layer, given by it: a transposed convolution's filters lie on other axes.

    Shape:
        - Input: a weight, ``(O, I/groups, *kernel)``, or ``(I, O/groups, *kernel)`` for a
          transposed convolution.
        - Output: same shape and dtype.

    Raises:
        ConfigError: If ``t_min`` is not above 0, or above ``t_max``, or one is not finite.

    Reference:
        Tu et al., *AdaBin: Improving Binary Neural Networks with Adaptive Binary Sets*, ECCV 2022.
        https://arxiv.org/abs/2208.08084

    Example:
        >>> AdaBinWeightBinarizer()(torch.tensor([[1.0, 3.0, 1.0, 3.0], [0.0, 0.0, 0.0, 4.0]]))
        tensor([[ 1.0000,  3.0000,  1.0000,  3.0000],
                [-0.7321, -0.7321, -0.7321,  2.7321]])
    """

    levels = None

    def __init__(
        self, t_min: float = 0.1, t_max: float = 10.0, *, module: nn.Module | None = None
    ) -> None:
        super().__init__(t_min, t_max)
        self._transposed = transposed_groups(module)

    def depends_on(self) -> Hashable | None:
        """Return where the filters are: ``t`` is the gradient's."""
        return self._state(AdaBinWeightBinarizer, self._transposed)

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the signs, alpha and beta of shape ``(O,)``."""
        w, axes = by_filter(weight, self._transposed)
        beta = w.mean(axes, keepdim=True)
        distance = w - beta
        # Of a filter whose entries are all the same the norm has the gradient 0; a root, infinity.
        norm = torch.linalg.vector_norm(distance, dim=axes, keepdim=True)
        alpha = norm / filter_size(weight, self._transposed) ** 0.5
        signs = self._sign(distance / alpha.clamp_min(torch.finfo(w.dtype).tiny))
        return signs.view(weight.shape), alpha.flatten(), beta.flatten()
