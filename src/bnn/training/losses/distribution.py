"""Distribution loss: the teacher's probabilities instead of labels."""

from __future__ import annotations

from torch import Tensor

from bnn.training.losses.base import LOSSES, Loss, LossInputs


@LOSSES.register("distribution")
class DistributionLoss(Loss):
    r"""Mean cross entropy with the teacher's distribution over the classes.

    :math:`-\frac{1}{N} \sum_n \sum_c p_c(T_n) \log p_c(S_n)`, where :math:`p` is the softmax and
    :math:`T`, :math:`S` are the logits of teacher and network. It differs from their
    Kullback-Leibler divergence by the entropy of :math:`p(T)`, which no weight changes. ReActNet
    trains with it alone, without labels.

    Reference:
        Liu et al., *ReActNet*, ECCV 2020. https://arxiv.org/abs/2003.03488

    Example:
        >>> import torch
        >>> logits, labels = torch.zeros(1, 2), torch.tensor([0])
        >>> batch = LossInputs(
        ...     model=torch.nn.Identity(), logits=logits, labels=labels, teacher_logits=logits
        ... )
        >>> DistributionLoss()(batch)
        tensor(0.6931)
    """

    needs_teacher = True

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the mean cross entropy with the teacher."""
        wanted = inputs.teacher().softmax(1)
        return inputs.mean(-(wanted * inputs.logits.log_softmax(1)).sum(1))
