"""Binary linear layer."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from bnn.layers.base import BinaryLayer
from bnn.layers.product import LinearProduct


class Linear(BinaryLayer, nn.Linear):
    """``nn.Linear`` whose input and weight are binarized as ``bconfig`` says.

    Accepts every ``nn.Linear`` argument, then ``bconfig`` by keyword.

    Shape:
        - Input: :math:`(*, C_{in})`.
        - Output: :math:`(*, C_{out})`.

    Raises:
        ConfigError: If ``bconfig`` is no BConfig, or one of its stages cannot be built.

    Example:
        >>> from bnn import BConfig
        >>> from bnn.ops import BasicInputBinarizer
        >>> layer = Linear(64, 10, bconfig=BConfig(BasicInputBinarizer, nn.Identity))
        >>> layer(torch.randn(2, 64)).shape
        torch.Size([2, 10])
    """

    def _compute(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)

    def _product(self, x: Tensor) -> LinearProduct | None:  # noqa: ARG002
        return LinearProduct() if type(self)._compute is Linear._compute else None
