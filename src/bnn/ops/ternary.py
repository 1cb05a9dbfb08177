"""Ternary weights: -1, 0 or +1."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Literal

import torch
from torch import Tensor

from bnn.errors import ConfigError
from bnn.ops.base import WeightBinarizer, binarizers, check_above_zero


class _Ternary(torch.autograd.Function):
    """+1 where w >= t, -1 where w <= -t, else 0; the straight-through estimator backward."""

    generate_vmap_rule = True

    @staticmethod
    def forward(w: Tensor, threshold: Tensor) -> Tensor:
        return (w >= threshold).to(w.dtype) - (w <= -threshold).to(w.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        (w,) = ctx.saved_tensors
        return torch.where(w.abs() <= 1, grad_output, 0), None


@binarizers.register("TernaryWeightBinarizer")
class TernaryWeightBinarizer(WeightBinarizer):
    r"""Round a weight to {-1, 0, +1}.

    Forward:   :math:`q(w) = +1` if :math:`w \ge t`, :math:`-1` if :math:`w \le -t`, else :math:`0`.
    Backward:  the straight-through estimator: 1 if :math:`|w| \le 1`, else 0.

    Args:
        threshold: :math:`t`, or ``"twn"`` for that of ternary weight networks,
            :math:`0.7\,\mathrm{mean}|w|` over the layer, through which no gradient goes.

    Shape:
        - Input: a weight of any shape.
        - Output: same shape and dtype; every entry is -1, 0 or +1.

    Raises:
        ConfigError: If ``threshold`` is neither a number above 0 nor ``"twn"``.

    Reference:
        Li et al., *Ternary weight networks*, 2016. https://arxiv.org/abs/1605.04711

    Example:
        >>> TernaryWeightBinarizer()(torch.tensor([[-0.3, 0.0, 0.04, 0.2]]))
        tensor([[-1.,  0.,  0.,  1.]])
        >>> TernaryWeightBinarizer("twn")(torch.tensor([[-0.3, 0.0, 0.04, 0.9]]))
        tensor([[-1.,  0.,  0.,  1.]])
    """

    levels = (-1.0, 0.0, 1.0)

    def __init__(self, threshold: float | Literal["twn"] = 0.05) -> None:
        super().__init__()
        if isinstance(threshold, str):
            if threshold != "twn":
                raise ConfigError(
                    f"TernaryWeightBinarizer: threshold is {threshold!r}; give a number above 0 or "
                    "'twn'."
                )
        else:
            check_above_zero("TernaryWeightBinarizer", threshold=threshold)
        self.threshold = threshold

    def depends_on(self) -> Hashable | None:
        """Return the threshold."""
        return self._state(TernaryWeightBinarizer, self.threshold)

    def decompose(self, weight: Tensor) -> tuple[Tensor, None]:
        """Return -1, 0 and +1, and no scale."""
        if isinstance(self.threshold, str):
            threshold = 0.7 * weight.detach().abs().mean()
        else:
            threshold = weight.new_full((), self.threshold)
        return _Ternary.apply(weight, threshold), None

    def extra_repr(self) -> str:
        """Show the threshold."""
        return f"threshold={self.threshold!r}"
