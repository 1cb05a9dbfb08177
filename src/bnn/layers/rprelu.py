"""RPReLU (ReActNet): PReLU with learnt shifts before and after it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bnn.layers.prelu import prelu


class RPReLU(nn.Module):
    r"""PReLU that is shifted, per channel, in both directions by what is learnt.

    .. math:: y = \mathrm{PReLU}_c(x - \gamma_c) + \zeta_c

    Args:
        num_parameters: Number of channels, or 1 for one slope and one pair of shifts for all.
        init: Slope at first; the shifts are 0.
        device: As in ``nn.PReLU``.
        dtype: As in ``nn.PReLU``.

    Shape:
        - Input: :math:`(N, C, *)`, or any shape with ``num_parameters=1``.
        - Output: the same.

    Attributes:
        shift_in: :math:`\gamma`.
        weight: The slopes.
        shift_out: :math:`\zeta`.

    Reference:
        Liu et al., *ReActNet*, ECCV 2020. https://arxiv.org/abs/2003.03488

    Example:
        >>> RPReLU(2)(torch.tensor([[-1.0, 1.0]])).tolist()
        [[-0.25, 1.0]]
    """

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        made = {"device": device, "dtype": dtype}
        self.shift_in = nn.Parameter(torch.zeros(num_parameters, **made))
        self.weight = nn.Parameter(torch.full((num_parameters,), init, **made))
        self.shift_out = nn.Parameter(torch.zeros(num_parameters, **made))

    def forward(self, x: Tensor) -> Tensor:
        """Return the shifted PReLU of ``x``."""
        along = (-1, *[1] * (x.dim() - 2))
        y = prelu(x - self.shift_in.view(along), self.weight)
        return y + self.shift_out.view(along)

    def extra_repr(self) -> str:
        """Show the number of channels."""
        return f"num_parameters={self.num_parameters}"
