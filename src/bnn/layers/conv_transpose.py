"""Binary transposed convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from bnn.layers.base import BinaryLayer
from bnn.layers.product import ConvProduct

_DOC = """``nn.ConvTranspose{n}d`` whose input and weight are binarized as ``bconfig`` says.

Accepts every ``nn.ConvTranspose{n}d`` argument, then ``bconfig`` by keyword. Padding crops the
output here, so there is no value to pad with.

Shape:
    - Input: :math:`(N, C_{{in}}, {dims})` or :math:`(C_{{in}}, {dims})`; ``output_size`` as second
      argument, as ``nn.ConvTranspose{n}d`` has it.
    - Output: as ``nn.ConvTranspose{n}d``.

Raises:
    ConfigError: If ``bconfig`` is no BConfig, or one of its stages cannot be built.

Example:
    >>> from bnn import BConfig
    >>> from bnn.ops import BasicInputBinarizer, XNORWeightBinarizer
    >>> config = BConfig(BasicInputBinarizer, weight_pre_process=XNORWeightBinarizer)
    >>> layer = ConvTranspose{n}d(4, 6, 2, stride=2, bconfig=config)
    >>> layer(torch.randn(2, 4, {size})).shape
    torch.Size([2, 6, {double}])
"""


class BinaryConvTranspose(BinaryLayer):
    """What the three transposed convolutions share."""

    _convolve: ClassVar[Callable[..., Tensor]]
    _output_padding: Callable[..., list[int]]
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Any  # _ConvNd allows names, which a transposed convolution refuses
    dilation: tuple[int, ...]
    groups: int

    def _compute(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        output_size: list[int] | None = None,
    ) -> Tensor:
        return type(self)._convolve(
            x,
            weight,
            bias,
            self.stride,
            self.padding,
            self._extra(x, output_size),
            self.groups,
            self.dilation,
        )

    def _product(self, x: Tensor, output_size: list[int] | None = None) -> ConvProduct | None:
        own = type(self)
        if own._compute is not BinaryConvTranspose._compute:
            return None
        return ConvProduct(
            stride=self.stride,
            dilation=self.dilation,
            groups=self.groups,
            pads=(),
            pad_value=0,
            padding=self.padding,
            transposed=True,
            output_padding=tuple(self._extra(x, output_size)),
        )

    def _extra(self, x: Tensor, output_size: list[int] | None) -> list[int]:
        """Return what makes the output as large as asked for."""
        return self._output_padding(
            x,
            output_size,
            self.stride,
            self.padding,
            self.kernel_size,
            len(self.kernel_size),
            self.dilation,
        )


class ConvTranspose1d(BinaryConvTranspose, nn.ConvTranspose1d):  # noqa: D101 - set below
    __doc__ = _DOC.format(n=1, dims="L", size="5", double="10")
    _convolve = staticmethod(F.conv_transpose1d)


class ConvTranspose2d(BinaryConvTranspose, nn.ConvTranspose2d):  # noqa: D101 - set below
    __doc__ = _DOC.format(n=2, dims="H, W", size="5, 5", double="10, 10")
    _convolve = staticmethod(F.conv_transpose2d)


class ConvTranspose3d(BinaryConvTranspose, nn.ConvTranspose3d):  # noqa: D101 - set below
    __doc__ = _DOC.format(n=3, dims="D, H, W", size="5, 5, 5", double="10, 10, 10")
    _convolve = staticmethod(F.conv_transpose3d)
