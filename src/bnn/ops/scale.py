"""Learnt scaling of a layer's output."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from bnn.ops.base import BinarizerBase, binarizers
from bnn.ops.filters import output_channels


@binarizers.register("BasicScaleBinarizer")
class BasicScaleBinarizer(BinarizerBase):
    r"""Multiply a layer's output by a learnt scale, one per channel unless told otherwise.

    Forward:   :math:`y_{n,c,\dots} = \alpha_c\, x_{n,c,\dots}`, with :math:`\alpha = 1` at first.
    Backward:  that of the product, to both factors. The output is not changed in place.

    With one scale per channel this is the first form of XNOR-Net++; ``shape`` gives others, for
    example ``(1, C, H, W)``.

    Args:
        module: The layer whose output is scaled: gives channels, dtype and device.
        shape: Shape of ``alpha``, able to broadcast to the batched output. Default: ``(1, C)``
            for linear layers, ``(1, C, 1, ...)`` for convolutions.

    Shape:
        - Input: the layer's output, batched or not; the layer's input is not used.
        - Output: same shape and dtype.

    Reference:
        Bulat and Tzimiropoulos, *XNOR-Net++*, BMVC 2019. https://arxiv.org/abs/1909.13863

    Example:
        >>> scale = BasicScaleBinarizer(nn.Conv2d(3, 8, 3))
        >>> scale.alpha.shape
        torch.Size([1, 8, 1, 1])
    """

    stage = "output"

    def __init__(self, module: nn.Module, shape: Sequence[int] | None = None) -> None:
        super().__init__()
        weight: Tensor = module.weight  # type: ignore[assignment]  # nn.Module is untyped here
        if shape is None:
            shape = (1, output_channels(module)) + (1,) * (weight.dim() - 2)
        self.alpha = nn.Parameter(weight.new_ones(tuple(shape)))

    def is_repeatable(self) -> bool:
        """Say that it is, unless a subclass has a forward of its own."""
        return self._state(BasicScaleBinarizer) is not None

    def forward(self, layer_out: Tensor, layer_in: Tensor) -> Tensor:  # noqa: ARG002
        """Return ``layer_out`` times ``alpha``, in ``layer_out``'s dtype."""
        alpha: Tensor = self.alpha
        if alpha.dim() == layer_out.dim() + 1:  # an unbatched output has no axis N
            alpha = alpha.squeeze(0)
        return layer_out * alpha.to(layer_out.dtype)

    def extra_repr(self) -> str:
        """Show the shape of ``alpha``."""
        return f"shape={tuple(self.alpha.shape)}"
