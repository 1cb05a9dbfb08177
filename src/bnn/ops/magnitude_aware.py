"""Magnitude-aware sign (Bi-Real Net): XNOR-Net's weights with a detached scale."""

from __future__ import annotations

from torch import nn

from bnn.ops.base import binarizers
from bnn.ops.xnor import XNORWeightBinarizer


@binarizers.register("MagnitudeAwareWeightBinarizer")
class MagnitudeAwareWeightBinarizer(XNORWeightBinarizer):
    r"""Binarize a weight to :math:`s_f\,\mathrm{sign}(w)`; no gradient goes through the scale.

    Forward:   :math:`q(w) = s_f\, \mathrm{sign}(w)`, :math:`s_f = \mathrm{mean}_{w \in f} |w|`.
    Backward:  :math:`\partial q / \partial w = s_f` if :math:`|w| \le 1`, else 0.

    This is the name that Larq gives to ``XNORWeightBinarizer(detach_alpha=True)``.

    Args:
        module: The layer, given by it: a transposed convolution's filters lie on other axes.

    Shape:
        - Input: a weight, ``(O, I/groups, *kernel)``, or ``(I, O/groups, *kernel)`` for a
          transposed convolution.
        - Output: same shape and dtype.

    Reference:
        Liu et al., *Bi-Real Net*, ECCV 2018. https://arxiv.org/abs/1808.00278

    Example:
        >>> w = torch.tensor([[0.5, -1.5]], requires_grad=True)
        >>> MagnitudeAwareWeightBinarizer()(w).sum().backward()
        >>> w.grad
        tensor([[1., 0.]])
    """

    def __init__(self, *, module: nn.Module | None = None) -> None:
        super().__init__(detach_alpha=True, module=module)
