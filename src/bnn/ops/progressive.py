"""Progressive sign (BITorch): a hardtanh that becomes a sign while training goes on."""

from __future__ import annotations

from collections.abc import Hashable

import torch
import torch.nn.functional as F
from torch import Tensor

from bnn.ops.base import BinarizerBase, SignForm, binarizers
from bnn.ops.sign import SignActivation, apply_sign

_LEAST = 1e-7


@binarizers.register("ProgressiveSignBinarizer")
class ProgressiveSignBinarizer(BinarizerBase):
    r"""Binarize to {-1, +1} by a hardtanh that gets steeper while training goes on.

    Forward, training:    :math:`q(x) = \mathrm{hardtanh}(x / \max(1 - T, 10^{-7}))`.
    Forward, evaluation:  :math:`+1` if :math:`x \ge 0`, else :math:`-1`.
    Backward, training:    that of the hardtanh.
    Backward, evaluation:  1 if :math:`|x| \le 1`, else 0.

    T goes from 0 to 1 with the progress of training: see :func:`bnn.ops.set_progress_`.

    Shape:
        - Input: :math:`(*)`, any floating dtype.
        - Output: same shape and dtype; between -1 and +1 in training, -1 or +1 in evaluation.

    Reference:
        Bethge et al., *BITorch* (``ProgressiveSign``), 2022.
        https://github.com/hpi-xnor/bitorch

    Example:
        >>> binarizer = ProgressiveSignBinarizer()
        >>> binarizer.set_progress_(0.5)
        >>> binarizer(torch.tensor([-0.25, 0.0, 2.0])).tolist()
        [-0.5, 0.0, 1.0]
        >>> binarizer.eval()(torch.tensor([-0.25, 0.0, 2.0])).tolist()
        [-1.0, 1.0, 1.0]
    """

    signs_input = True
    soft_in_training = True
    temperature: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.tensor(0.0))

    def set_progress_(self, progress: float) -> None:
        """Let ``temperature``, which is T, be the progress."""
        self.temperature.fill_(progress)

    def depends_on(self) -> Hashable | None:
        """Return whether it is in training, and T."""
        return self._state(ProgressiveSignBinarizer, self.training, self.temperature.item())

    def sign_form(self, x: Tensor) -> SignForm | None:
        """Return the straight-through sign of evaluation; training has none."""
        if self._state(ProgressiveSignBinarizer) is None or self.training:
            return None
        return SignForm(x, SignActivation)

    def forward(self, x: Tensor) -> Tensor:
        """Return the hardtanh in training, the signs in evaluation."""
        if not self.training:
            return apply_sign(SignActivation, x)
        # In float32: 1e-7 is 0 in half precision.
        width = (1 - self.temperature.float()).clamp_min(_LEAST)
        return F.hardtanh((x / width).to(x.dtype))
