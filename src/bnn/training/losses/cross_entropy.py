"""Cross entropy with the labels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from bnn.errors import ConfigError
from bnn.training.data.registry import IGNORED
from bnn.training.losses.base import LOSSES, Loss, LossInputs
from bnn.values import is_number, shown


@LOSSES.register("cross_entropy")
class CrossEntropyLoss(Loss):
    r"""Mean cross entropy with the labels.

    :math:`-\frac{1}{N} \sum_n \sum_c q_{nc} \log \operatorname{softmax}(z_n)_c`, where
    :math:`q_n` is 1 at the label and 0 elsewhere; smoothed, it is
    :math:`(1 - \varepsilon)\, q_n + \varepsilon / C`.

    Args:
        label_smoothing: :math:`\varepsilon`, at least 0 and below 1.

    Raises:
        ConfigError: If ``label_smoothing`` is out of range.

    Reference:
        Szegedy et al., *Rethinking the Inception Architecture*, CVPR 2016 (smoothing).
        https://arxiv.org/abs/1512.00567

    Example:
        >>> import torch
        >>> labels = torch.tensor([0, 1])
        >>> batch = LossInputs(model=torch.nn.Identity(), logits=torch.zeros(2, 2), labels=labels)
        >>> CrossEntropyLoss()(batch)
        tensor(0.6931)
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not is_number(label_smoothing) or not 0 <= label_smoothing < 1:
            raise ConfigError(
                f"label_smoothing must be at least 0 and below 1; got {shown(label_smoothing)}."
            )
        self.label_smoothing = label_smoothing

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean cross entropy."""
        total = F.cross_entropy(
            inputs.logits,
            inputs.labels,
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        return total / (inputs.labels != IGNORED).sum().clamp_min(1)

    def extra_repr(self) -> str:
        """Show the smoothing."""
        return f"label_smoothing={self.label_smoothing}"
