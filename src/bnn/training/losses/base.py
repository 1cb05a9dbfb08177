"""What every loss gets and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.registry import Registry
from bnn.training.data.registry import IGNORED


@dataclass(frozen=True, kw_only=True)
class LossInputs:
    """One batch, as a loss sees it.

    Outputs of half precision become float32: probabilities and their logarithms need its digits.

    Args:
        model: The network that is trained.
        logits: Its output (N, C).
        labels: Class indices (N,). Items of the label -1 only fill a batch up: no loss counts
            them.
        teacher_logits: The teacher's output (N, C), where a loss needs one.
        features: Layer name -> its output in the network, for the layers that losses name.
        teacher_features: The same of the teacher.
    """

    model: nn.Module
    logits: Tensor
    labels: Tensor
    teacher_logits: Tensor | None = None
    features: Mapping[str, Tensor] = field(default_factory=dict)
    teacher_features: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("logits", "teacher_logits"):
            tensor = getattr(self, name)
            object.__setattr__(self, name, None if tensor is None else _wide(tensor))
        for name in ("features", "teacher_features"):
            wide = {key: _wide(tensor) for key, tensor in getattr(self, name).items()}
            object.__setattr__(self, name, wide)

    def mean(self, losses: Tensor) -> Tensor:
        """Return the mean of one loss for each item (N,), over those that count; 0 if none do.

        Example:
            >>> labels = torch.tensor([3, -1])
            >>> batch = LossInputs(model=nn.Identity(), logits=torch.zeros(2, 4), labels=labels)
            >>> batch.mean(torch.tensor([2.0, 100.0]))
            tensor(2.)
        """
        counts = self.labels != IGNORED
        return losses.where(counts, 0).sum() / counts.sum().clamp_min(1)

    def teacher(self) -> Tensor:
        """Return the teacher's logits.

        Raises:
            ConfigError: If there is no teacher, or it has another number of classes.
        """
        if self.teacher_logits is None:
            raise ConfigError("this loss compares with a teacher, and there is none.")
        if self.teacher_logits.shape != self.logits.shape:
            raise ConfigError(
                f"the teacher gives {tuple(self.teacher_logits.shape)}, but the network gives "
                f"{tuple(self.logits.shape)}: both need the same classes."
            )
        return self.teacher_logits.detach()


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class Loss(nn.Module):
    """Base of the losses: ``loss(inputs)`` is a scalar.

    Example:
        >>> class Confidence(Loss):
        ...     def forward(self, inputs):
        ...         return -inputs.mean(inputs.logits.softmax(1).amax(1))
        >>> labels = torch.tensor([0])
        >>> Confidence()(LossInputs(model=nn.Identity(), logits=torch.zeros(1, 2), labels=labels))
        tensor(-0.5000)
    """

    needs_teacher: ClassVar[bool] = False
    """Whether ``teacher_logits`` or ``teacher_features`` must be given."""

    def __init__(self) -> None:
        super().__init__()  # nn.Module's own takes any arguments

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the network's modules whose outputs the loss wants in ``features``."""
        return ()

    @property
    def teacher_layers(self) -> tuple[str, ...]:
        """Names of the teacher's modules whose outputs it wants in ``teacher_features``."""
        return self.layers if self.needs_teacher else ()

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the loss of a batch."""
        raise NotImplementedError


LOSSES: Registry[type[Loss]] = Registry("loss")
"""Name -> class, for everything that a recipe may name."""
