"""A weighted sum of losses."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.training.losses.base import Loss, LossInputs
from bnn.values import is_number, shown


class WeightedLosses(nn.Module):
    r"""Add up losses: :math:`\sum_i \lambda_i L_i`.

    Args:
        losses: Pairs of a loss and its weight, at least one.

    Raises:
        ConfigError: If there is no pair, or a weight is not finite or not above 0.

    Example:
        >>> import torch
        >>> from bnn.training import CrossEntropyLoss, DistributionLoss
        >>> loss = WeightedLosses([(CrossEntropyLoss(), 1.0), (DistributionLoss(), 0.5)])
        >>> loss.needs_teacher
        True
        >>> logits, labels = torch.zeros(1, 2), torch.tensor([0])
        >>> batch = LossInputs(
        ...     model=torch.nn.Identity(), logits=logits, labels=labels, teacher_logits=logits
        ... )
        >>> loss(batch)
        tensor(1.0397)
    """

    def __init__(self, losses: Iterable[tuple[Loss, float]]) -> None:
        super().__init__()
        pairs = [*losses]
        if not pairs:
            raise ConfigError("WeightedLosses got no loss; give at least one.")
        for loss, weight in pairs:
            if not is_number(weight) or weight <= 0:
                raise ConfigError(
                    f"the weight of {type(loss).__name__} must be finite and above 0; got "
                    f"{shown(weight)}."
                )
        self.losses = nn.ModuleList(loss for loss, _ in pairs)
        self.weights = tuple(float(weight) for _, weight in pairs)

    def _parts(self) -> list[Loss]:
        return list(self.losses)  # type: ignore[arg-type]  # all are losses

    @property
    def needs_teacher(self) -> bool:
        """Whether one of them needs a teacher."""
        return any(loss.needs_teacher for loss in self._parts())

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the network's layers that any of them wants, each once."""
        return tuple(dict.fromkeys(name for loss in self._parts() for name in loss.layers))

    @property
    def teacher_layers(self) -> tuple[str, ...]:
        """Names of the teacher's layers that any of them wants, each once."""
        return tuple(dict.fromkeys(name for loss in self._parts() for name in loss.teacher_layers))

    def terms(self, inputs: LossInputs) -> list[Tensor]:
        """Return each loss times its weight, in order."""
        return [
            weight * loss(inputs) for weight, loss in zip(self.weights, self._parts(), strict=True)
        ]

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return their sum."""
        first, *others = self.terms(inputs)
        return sum(others, start=first)
