"""Heaviside step: 0 or 1."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from bnn.ops.base import BinarizerBase, binarizers


class _Step(torch.autograd.Function):
    """1 where x > 0, else 0; the straight-through estimator backward."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where(x.abs() <= 1, grad_output, 0)


@binarizers.register("HeavisideInputBinarizer")
class HeavisideInputBinarizer(BinarizerBase):
    r"""Binarize activations to {0, 1} with the straight-through estimator.

    Forward:   :math:`q(x) = 1` if :math:`x > 0`, else :math:`0`.
    Backward:  :math:`\partial q / \partial x = 1` if :math:`|x| \le 1`, else 0.

    Shape:
        - Input: :math:`(*)`, any floating dtype.
        - Output: same shape and dtype; every entry is 0 or 1; 0 at 0, -0.0 and NaN.

    Reference:
        Geiger and Team Plumerai, *Larq*, JOSS 2020 (``SteHeaviside``).
        https://doi.org/10.21105/joss.01746

    Example:
        >>> HeavisideInputBinarizer()(torch.tensor([-0.3, 0.0, 0.1]))
        tensor([0., 0., 1.])
    """

    operand = "input"
    levels = (0.0, 1.0)

    def depends_on(self) -> Hashable | None:
        """Return that it depends on nothing."""
        return self._state(HeavisideInputBinarizer)

    def forward(self, x: Tensor) -> Tensor:
        """Return 1 where ``x`` is above 0, else 0."""
        return _Step.apply(x)  # type: ignore[no-any-return]  # untyped in torch
