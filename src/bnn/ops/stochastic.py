"""Stochastic sign (BinaryConnect)."""

from __future__ import annotations

import torch
from torch import Tensor

from bnn.ops.base import BinarizerBase, SignForm, binarizers
from bnn.ops.sign import SignActivation, apply_sign


class SignActivationStochastic(SignActivation):
    r"""Random sign, as ``SignActivationStochastic.apply(x)``.

    Forward:   +1 with probability :math:`\mathrm{clip}((x + 1) / 2, 0, 1)`, else -1.
    Backward:  as :class:`SignActivation`: 1 if :math:`|x| \le 1`, else 0.

    The argument is never changed. NaN gives +1, as ``sign`` has it.

    Example:
        >>> SignActivationStochastic.apply(torch.tensor([-1.0, 1.0, 7.0]))
        tensor([-1.,  1.,  1.])
    """

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        """Draw the signs."""
        # rand is in [0, 1): at p = 0 always -1, at p = 1 never.
        above = torch.rand_like(x) >= (x + 1) / 2
        return torch.where(above, -1.0, 1.0).to(x.dtype)


@binarizers.register("StochasticInputBinarizer")
class StochasticInputBinarizer(BinarizerBase):
    r"""Binarize to {-1, +1} at random in training, with ``sign`` in evaluation.

    Forward, training:    +1 with probability :math:`\mathrm{clip}((x + 1) / 2, 0, 1)`, else -1.
    Forward, evaluation:  :math:`+1` if :math:`x \ge 0`, else :math:`-1`.
    Backward:             1 if :math:`|x| \le 1`, else 0.

    Shape:
        - Input: :math:`(*)`, any floating dtype.
        - Output: same shape and dtype; every entry is -1 or +1.

    Reference:
        Courbariaux et al., *BinaryConnect*, NeurIPS 2015. https://arxiv.org/abs/1511.00363

    Example:
        >>> StochasticInputBinarizer().eval()(torch.tensor([-0.9, 0.0, 0.2]))
        tensor([-1.,  1.,  1.])
    """

    signs_input = True

    def sign_form(self, x: Tensor) -> SignForm | None:
        """Return the sign that is taken or drawn, and of what."""
        if self._state(StochasticInputBinarizer) is None:
            return None
        if self.training:
            return SignForm(x, SignActivationStochastic, draws=True)
        return SignForm(x, SignActivation)

    def forward(self, x: Tensor) -> Tensor:
        """Return random signs of ``x`` in training, its signs in evaluation."""
        function = SignActivationStochastic if self.training else SignActivation
        return apply_sign(function, x)
