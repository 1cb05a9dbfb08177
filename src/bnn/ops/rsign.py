"""RSign (ReActNet): sign with a learnt threshold for each channel."""

from __future__ import annotations

from collections.abc import Hashable

from torch import Tensor, nn

from bnn.ops.approx_sign import ApproxSign
from bnn.ops.base import BinarizerBase, SignForm, binarizers
from bnn.ops.filters import input_channels
from bnn.ops.sign import apply_sign


@binarizers.register("RSignInputBinarizer")
class RSignInputBinarizer(BinarizerBase):
    r"""Binarize activations to {-1, +1} at a learnt threshold of each channel.

    Forward:   :math:`q(x) = +1` if :math:`x - \tau_c \ge 0`, else :math:`-1`.
    Backward:  :math:`\partial q / \partial x = \max(0,\, 2 - 2|x - \tau_c|)`, and the negative of
    it, summed over a channel, to :math:`\tau_c`, which is 0 at first.

    Args:
        module: The layer whose input it binarizes: gives channels, dtype and device.

    Shape:
        - Input: :math:`(N, C, *)` or :math:`(C, *)` for a convolution, :math:`(*, C)` for a linear
          layer.
        - Output: same shape and dtype; every entry is -1 or +1.

    Reference:
        Liu et al., *ReActNet*, ECCV 2020. https://arxiv.org/abs/2003.03488

    Example:
        >>> rsign = RSignInputBinarizer(nn.Linear(3, 1))
        >>> _ = rsign.threshold.data.copy_(torch.tensor([-1.0, 0.0, 1.0]))
        >>> rsign(torch.tensor([0.5, 0.5, 0.5])).tolist()
        [1.0, 1.0, -1.0]
    """

    operand = "input"

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        weight: Tensor = module.weight  # type: ignore[assignment]  # nn.Module is untyped here
        shape = (input_channels(module), *[1] * (weight.dim() - 2))
        self.threshold = nn.Parameter(weight.new_zeros(shape))

    def depends_on(self) -> Hashable | None:
        """Return the thresholds."""
        return self._state(RSignInputBinarizer, *self.threshold.flatten().tolist())

    def sign_form(self, x: Tensor) -> SignForm | None:
        """Return the sign that is taken, and of what."""
        return (
            None
            if self._state(RSignInputBinarizer) is None
            else SignForm(x - self.threshold.to(x.dtype), ApproxSign)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the signs of ``x`` less the thresholds."""
        return apply_sign(ApproxSign, x - self.threshold.to(x.dtype))

    def extra_repr(self) -> str:
        """Show the number of channels."""
        return f"channels={len(self.threshold)}"
