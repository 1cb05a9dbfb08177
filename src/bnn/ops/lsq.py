"""Learnt step size quantization (LSQ) to one bit."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor, nn

from bnn.ops.base import SignForm, WeightBinarizer, binarizers
from bnn.ops.filters import nonzero, output_count, transposed_groups
from bnn.ops.sign import SignFunction, sign


class _SteppedSign(SignFunction):
    """Sign of w; the gradient is divided by the step s, which multiplies it later, up to s.

    Of a step of 0 it is 0 instead, and the factor that multiplies it is 1 and has no gradient: the
    step has it here.
    """

    @staticmethod
    def forward(w: Tensor, step: Tensor) -> Tensor:  # type: ignore[override]
        return sign(w) * (step != 0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor]:
        w, step = ctx.saved_tensors
        of_w = torch.where(w.abs() <= step.abs(), grad_output / nonzero(step), 0)
        return of_w, torch.where(step == 0, (grad_output * sign(w)).sum(), 0)


class _ScaledGradient(torch.autograd.Function):
    """x; the gradient is multiplied."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, factor: float) -> Tensor:  # noqa: ARG004 - of the gradient
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.factor = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        return grad_output * ctx.factor, None


@binarizers.register("LSQWeightBinarizer")
class LSQWeightBinarizer(WeightBinarizer):
    r"""Binarize a weight to :math:`s\,\mathrm{sign}(w)` with one learnt scale for the layer.

    Forward:   :math:`q(w) = s\,\mathrm{sign}(w)`; at first :math:`s = \mathrm{mean}|w|`.
    Backward:  :math:`\partial q / \partial w = 1` if :math:`|w| \le |s|`, else 0;
    :math:`\partial q / \partial s = \mathrm{sign}(w) / \sqrt{N}`, summed over the layer's N
    weights.

    Args:
        module: The layer: gives the first scale, dtype and device, and where the filters lie.

    Shape:
        - Input: a weight, ``(O, I/groups, *kernel)``, or ``(I, O/groups, *kernel)`` for a
          transposed convolution.
        - Output: same shape and dtype.

    Reference:
        Esser et al., *Learned Step Size Quantization*, ICLR 2020.
        https://arxiv.org/abs/1902.08153

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> _ = layer.weight.data.copy_(torch.tensor([[0.5, -1.5]]))
        >>> LSQWeightBinarizer(layer)(layer.weight).tolist()
        [[1.0, -1.0]]
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        weight: Tensor = module.weight  # type: ignore[assignment]  # nn.Module is untyped here
        self.scale = nn.Parameter(weight.detach().abs().mean())
        self._transposed = transposed_groups(module)

    def depends_on(self) -> Hashable | None:
        """Return the scale, and where the filters are."""
        return self._state(LSQWeightBinarizer, self.scale.item(), self._transposed)

    def sign_form(self, x: Tensor) -> SignForm | None:
        """Return the sign that is taken, unless the scale is 0: there the signs are none."""
        if self._state(LSQWeightBinarizer) is None or not self.scale:
            return None
        scale = _ScaledGradient.apply(self.scale.to(x.dtype), max(x.numel(), 1) ** -0.5)
        scales = scale.repeat(output_count(x, self._transposed))
        return SignForm(x, _SteppedSign, (scale,), scales)

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the signs, and the scale as a vector of shape ``(O,)``; if s is 0, 0 and 1."""
        scale = self.scale.to(weight.dtype)
        scale = _ScaledGradient.apply(scale, max(weight.numel(), 1) ** -0.5)
        signs = _SteppedSign.apply(weight, scale)
        return signs, nonzero(scale).expand(output_count(weight, self._transposed))
