"""Real-to-Binary's gate: the output is scaled by what a small network sees in the input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from bnn.errors import ConfigError
from bnn.ops.base import BinarizerBase, binarizers
from bnn.ops.filters import input_channels, output_channels


@binarizers.register("RealToBinaryGateBinarizer")
class RealToBinaryGateBinarizer(BinarizerBase):
    r"""Scale each channel of a layer's output by a gate that sees the input before its sign.

    Forward:   :math:`y = x_{out}\,\sigma(W_2\,\mathrm{relu}(W_1\,\mathrm{GAP}(x_{in})))`, GAP being
    the mean over all positions. The gate has no bias.
    Backward:  autograd through all factors.

    Args:
        module: The layer whose output is scaled: gives channels, dtype and device.
        reduction: The hidden layer has the input's channels divided by this, at least 1.

    Shape:
        - Input: the layer's output ``(N, O, *out)`` and its input ``(N, C, *in)``, or both without
          N; ``(*, O)`` and ``(*, C)`` for a linear layer.
        - Output: same shape and dtype as the layer's output.

    Raises:
        ConfigError: If ``reduction`` is no int from 1 up.

    Reference:
        Martinez et al., *Training binary neural networks with real-to-binary convolutions*, ICLR
        2020. https://arxiv.org/abs/2003.11535

    Example:
        >>> gate = RealToBinaryGateBinarizer(nn.Conv2d(16, 4, 3))
        >>> gate.reduce.weight.shape, gate.expand.weight.shape
        (torch.Size([2, 16]), torch.Size([4, 2]))
        >>> gate(torch.ones(1, 4, 2, 2), torch.zeros(1, 16, 4, 4))[0, 0].tolist()
        [[0.5, 0.5], [0.5, 0.5]]
    """

    stage = "output"

    def __init__(self, module: nn.Module, reduction: int = 8) -> None:
        super().__init__()
        if type(reduction) is not int or reduction < 1:
            raise ConfigError(
                f"RealToBinaryGateBinarizer: reduction is {reduction!r}; it must be an int from 1 "
                "up."
            )
        weight: Tensor = module.weight  # type: ignore[assignment]  # nn.Module is untyped here
        channels, out = input_channels(module), output_channels(module)
        hidden = max(channels // reduction, 1)
        device, dtype = weight.device, weight.dtype
        self.reduce = nn.Linear(channels, hidden, bias=False, device=device, dtype=dtype)
        self.expand = nn.Linear(hidden, out, bias=False, device=device, dtype=dtype)
        self.axes = weight.dim() - 2 if isinstance(module, _ConvNd) else 0

    def is_repeatable(self) -> bool:
        """Say that it is, unless a subclass has a forward of its own."""
        return self._state(RealToBinaryGateBinarizer) is not None

    def forward(self, layer_out: Tensor, layer_in: Tensor) -> Tensor:
        """Return ``layer_out`` times the gate, in ``layer_out``'s dtype."""
        x = layer_in
        if self.axes:
            # Float sums depend on the order of adding, and that on the memory format.
            x = x.contiguous().mean(tuple(range(-self.axes, 0)))
        gate = torch.sigmoid(self.expand(F.relu(self.reduce(x))))
        gate = gate.view(*gate.shape, *[1] * self.axes)
        return layer_out * gate.to(layer_out.dtype)
