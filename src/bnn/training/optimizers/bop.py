"""Bop: flips binary weights where the averaged gradient asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from bnn.errors import ConfigError
from bnn.ops import sign
from bnn.values import is_number, shown


class Bop(torch.optim.Optimizer):
    r"""Flip binary weights: an optimizer without latent weights and without a learning rate.

    Average:  :math:`m \leftarrow (1 - \gamma)\, m + \gamma\, g`, from 0.
    Flip:     :math:`w \leftarrow -w` where :math:`w\, m > \tau`.

    :math:`w\,m > \tau` says that the averaged gradient is stronger than the threshold and points
    away from the weight's sign. A tie with the threshold, and a gradient that was always 0, never
    flip.

    The parameters become binary at their first step with a gradient: their signs, of magnitude 1.
    Give it the weights of binary layers only, whose binarizer passes gradients at +-1 as the
    straight-through estimator does, and another optimizer the rest: see
    :class:`bnn.training.OptimizerCase`.

    A schedule anneals :math:`\gamma`, as the paper does: a parameter group keeps it as ``"lr"``,
    which is where torch's schedulers look.

    Args:
        params: Parameters or groups, as any torch optimizer takes them.
        threshold: :math:`\tau`, at least 0; the larger, the rarer are flips.
        gamma: How fast the average forgets, above 0 and at most 1.

    Raises:
        ConfigError: If ``threshold`` or ``gamma`` is out of range, or a gradient is sparse.

    Reference:
        Helwegen et al., *Latent Weights Do Not Exist*, NeurIPS 2019.
        https://arxiv.org/abs/1906.02107

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([0.3, -0.3, 0.3]))
        >>> optimizer = Bop([weight], gamma=1.0)
        >>> weight.grad = torch.tensor([1.0, 1.0, 0.0])
        >>> optimizer.step()
        >>> weight.data
        tensor([-1., -1.,  1.])
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        threshold: float = 1e-8,
        gamma: float = 1e-4,
    ) -> None:
        if not is_number(threshold) or threshold < 0:
            raise ConfigError(f"threshold must be finite and at least 0; got {shown(threshold)}.")
        if not is_number(gamma) or not 0 < gamma <= 1:
            raise ConfigError(f"gamma must be above 0 and at most 1; got {shown(gamma)}.")
        super().__init__(params, {"threshold": threshold, "lr": gamma})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Average the gradients and flip.

        Args:
            closure: Computes the loss and its gradients anew.

        Returns:
            What ``closure`` returned, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._flip_(weight, weight.grad, group["threshold"], group["lr"])
        return loss

    def _flip_(self, weight: Tensor, grad: Tensor, threshold: float, gamma: float) -> None:
        if grad.is_sparse:
            raise ConfigError("Bop does not take sparse gradients. Use a dense embedding.")
        state = self.state[weight]
        if not state:
            state["average"] = torch.zeros_like(weight)
            weight.copy_(sign(weight))
        average = state["average"]
        average.lerp_(grad, gamma)
        weight.copy_(torch.where(weight * average > threshold, -weight, weight))
