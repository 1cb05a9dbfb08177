"""Knowledge distillation from a teacher's softened logits."""

from __future__ import annotations

from torch import Tensor

from bnn.errors import ConfigError
from bnn.training.losses.base import LOSSES, Loss, LossInputs
from bnn.values import is_number, shown


@LOSSES.register("logit_kd")
class LogitKDLoss(Loss):
    r"""Mean divergence from the teacher's softened distribution.

    :math:`\frac{\tau^2}{N} \sum_n \mathrm{KL}\left(p(T_n/\tau) \,\|\, p(S_n/\tau)\right)`, where
    :math:`p` is the softmax and :math:`T`, :math:`S` are the logits of teacher and network.
    :math:`\tau^2` keeps the gradient's size the same at every temperature.

    Args:
        temperature: :math:`\tau`, above 0; the larger, the more the wrong classes count.

    Raises:
        ConfigError: If ``temperature`` is out of range.

    Reference:
        Hinton et al., *Distilling the Knowledge in a Neural Network*, 2015.
        https://arxiv.org/abs/1503.02531

    Example:
        >>> import torch
        >>> logits, labels = torch.zeros(1, 2), torch.tensor([0])
        >>> batch = LossInputs(
        ...     model=torch.nn.Identity(), logits=logits, labels=labels, teacher_logits=logits
        ... )
        >>> LogitKDLoss(temperature=4.0)(batch)
        tensor(0.)
    """

    needs_teacher = True

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not is_number(temperature) or temperature <= 0:
            raise ConfigError(f"temperature must be finite and above 0; got {shown(temperature)}.")
        self.temperature = temperature

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean divergence."""
        wanted = (inputs.teacher() / self.temperature).log_softmax(1)
        got = (inputs.logits / self.temperature).log_softmax(1)
        return self.temperature**2 * inputs.mean((wanted.exp() * (wanted - got)).sum(1))

    def extra_repr(self) -> str:
        """Show the temperature."""
        return f"temperature={self.temperature}"
