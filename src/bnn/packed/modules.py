"""Layers whose weight is packed: floats in, floats out, as the binary layer that they replace."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch.nn.functional as F
from torch import Tensor

from bnn import layers
from bnn.errors import PackedError
from bnn.packed import functional
from bnn.packed.layer import Packed, PackedLayer, check_positive
from bnn.packed.shapes import words

__all__ = ["PackedConv1d", "PackedConv2d", "PackedLayer", "PackedLinear"]


class PackedLinear(PackedLayer):
    """A linear layer with bits for weights; its input is packed as it comes.

    Args:
        in_features: K.
        out_features: O.
        scale: Whether there is a scale per output, from the weight binarizer.
        bias: Whether there is a bias.
        post_scale: Whether the output is scaled once more, after the bias.

    Shape:
        - Input: :math:`(*, K)` in float32, float16 or bfloat16.
        - Output: :math:`(*, O)`, of the same type.
        - weight: ``(O, words(K))``.

    Example:
        >>> from bnn import BConfig
        >>> from bnn.layers import Linear
        >>> from bnn.ops import BasicInputBinarizer, XNORWeightBinarizer
        >>> config = BConfig(BasicInputBinarizer, weight_pre_process=XNORWeightBinarizer)
        >>> layer, x = Linear(100, 8, bconfig=config).eval(), torch.randn(2, 100)
        >>> packed = PackedLinear.from_module(layer)
        >>> torch.equal(packed(x), layer(x))
        True
        >>> packed
        PackedLinear(in_features=100, out_features=8, factors=(scale, bias), bytes=192...)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        scale: bool = True,
        bias: bool = True,
        post_scale: bool = False,
    ) -> None:
        check_positive(self, in_features=in_features, out_features=out_features)
        shape = (out_features, words(in_features))
        super().__init__(shape, scale=scale, bias=bias, post_scale=post_scale)
        self.in_features = in_features
        self.out_features = out_features

    layer_class = layers.Linear

    @classmethod
    def _like(cls: type[Packed], layer: Any, **has: bool) -> Packed:
        made: Any = cls
        packed: Packed = made(layer.in_features, layer.out_features, **has)
        return packed

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as in nn
        """Return the layer's output."""
        self._check_input(input, None, self.in_features, -1)
        lead = input.shape[:-1]
        rows = input if len(lead) == 1 else input.reshape(math.prod(lead), self.in_features)
        out = cast(
            Tensor,
            functional.blinear(
                self._bits(rows), self.weight, self.in_features, epilogue=self._epilogue()
            ),
        ).to(input.dtype)
        return out if len(lead) == 1 else out.view(*lead, self.out_features)

    def extra_repr(self) -> str:
        """Show sizes, factors and bytes."""
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, {self._factors_repr()}"


class _PackedConv(PackedLayer):
    """What the two convolutions share: geometry, and input without a batch."""

    _axes: ClassVar[int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        *,
        padding_value: int = 0,
        padding_mode: str = "zeros",
        scale: bool = True,
        bias: bool = True,
        post_scale: bool = False,
    ) -> None:
        check_positive(self, in_channels=in_channels, out_channels=out_channels, groups=groups)
        kernel = self._each("kernel_size", kernel_size, 1)
        if in_channels % groups or out_channels % groups:
            raise PackedError(
                f"{type(self).__name__}: groups is {groups}; it must divide in_channels "
                f"{in_channels} and out_channels {out_channels}."
            )
        shape = (out_channels, *kernel, words(in_channels // groups))
        super().__init__(shape, scale=scale, bias=bias, post_scale=post_scale)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = kernel
        self.stride = self._each("stride", stride, 1)
        self.dilation = self._each("dilation", dilation, 1)
        self.padding = self._pads(padding)
        self.groups = groups
        if padding_value not in (-1, 0, 1) or (padding_value and padding_mode != "zeros"):
            raise PackedError(
                f"{type(self).__name__}: padding_value is {padding_value!r} with padding_mode "
                f"{padding_mode!r}; it must be 0, -1 or +1, and 0 in any mode but 'zeros'."
            )
        if padding_mode not in ("zeros", "reflect", "replicate", "circular"):
            raise PackedError(
                f"{type(self).__name__}: padding_mode is {padding_mode!r}; allowed: 'zeros', "
                "'reflect', 'replicate', 'circular'."
            )
        self.padding_value = padding_value
        self.padding_mode = padding_mode

    def _each(self, name: str, value: int | Sequence[int], least: int) -> tuple[int, ...]:
        sizes = (value,) * self._axes if isinstance(value, int) else tuple(value)
        if len(sizes) != self._axes or not all(isinstance(n, int) and n >= least for n in sizes):
            raise PackedError(
                f"{type(self).__name__}: {name} is {value!r}; give one number from {least} up, or "
                f"{self._axes}."
            )
        return sizes

    def _pads(self, value: int | Sequence[int]) -> tuple[int, ...]:
        """Return what is padded before and after each axis."""
        if isinstance(value, Sequence) and len(value) == 2 * self._axes:
            return tuple(value)
        return tuple(pad for size in self._each("padding", value, 0) for pad in (size, size))

    @classmethod
    def _like(cls: type[Packed], layer: Any, **has: bool) -> Packed:
        # nn keeps the pads of every kind of padding, 'same' too, in that list: last axis first.
        made: Any = cls
        packed: Packed = made(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            layer.stride,
            _last_first(layer._reversed_padding_repeated_twice),
            layer.dilation,
            layer.groups,
            padding_value=layer.padding_value,
            padding_mode=layer.padding_mode,
            **has,
        )
        return packed

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as in nn
        """Return the layer's output."""
        self._check_input(
            input, (self._axes + 1, self._axes + 2), self.in_channels, -self._axes - 1
        )
        x = input if input.dim() == self._axes + 2 else input.unsqueeze(0)
        padding = self.padding
        if self.padding_mode != "zeros":
            x = F.pad(x, _last_first(padding), mode=self.padding_mode)
            padding = (0,) * len(padding)
        out = self._convolve(self._bits(x), padding).to(input.dtype)
        return out if input.dim() == self._axes + 2 else out.squeeze(0)

    def _convolve(self, bits: Tensor, padding: tuple[int, ...]) -> Tensor:
        function: Any = (functional.bconv1d, functional.bconv2d)[self._axes - 1]
        return cast(
            Tensor,
            function(
                bits,
                self.weight,
                self.in_channels,
                stride=self.stride,
                padding=padding,
                dilation=self.dilation,
                groups=self.groups,
                pad_value=self.padding_value,
                epilogue=self._epilogue(),
            ),
        )

    def extra_repr(self) -> str:
        """Show the geometry, factors and bytes."""
        parts = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}",
            f"stride={self.stride}",
        ]
        if any(self.padding):
            parts.append(f"padding={self.padding}")
        if set(self.dilation) != {1}:
            parts.append(f"dilation={self.dilation}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.padding_value:
            parts.append(f"padding_value={self.padding_value}")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join([*parts, self._factors_repr()])


def _last_first(pads: Sequence[int]) -> list[int]:
    """Return the pads, two for each axis, in the other order of the axes, as F.pad has them."""
    return [pad for i in range(len(pads) - 2, -1, -2) for pad in pads[i : i + 2]]


_DOC = """A {n}-d convolution with bits for weights; its input is packed as it comes.

Args:
    in_channels: C.
    out_channels: O.
    kernel_size: One number or {n}, as for all that follow.
    stride: As in ``nn.Conv{n}d``.
    padding: As in ``nn.Conv{n}d``, or what is padded before and after each axis.
    dilation: As in ``nn.Conv{n}d``.
    groups: As in ``nn.Conv{n}d``.
    padding_value: What the binarized input is padded with: 0, -1 or +1.
    padding_mode: As in ``nn.Conv{n}d``.
    scale: Whether there is a scale per channel, from the weight binarizer.
    bias: Whether there is a bias.
    post_scale: Whether the output is scaled once more, after the bias.

Shape:
    - Input: :math:`(N, C, {dims})` or :math:`(C, {dims})` in float32, float16 or bfloat16;
      quickest in channels_last memory.
    - Output: as ``nn.Conv{n}d``, of the same type, in channels_last memory.
    - weight: ``(O, {kernel}, words(C / groups))``.

Example:
    >>> from bnn import BConfig
    >>> from bnn.layers import Conv{n}d
    >>> from bnn.ops import BasicInputBinarizer, XNORWeightBinarizer
    >>> config = BConfig(BasicInputBinarizer, weight_pre_process=XNORWeightBinarizer)
    >>> layer = Conv{n}d(4, 8, 3, padding=1, bconfig=config).eval()
    >>> x = torch.randn(2, 4, {size})
    >>> torch.equal(PackedConv{n}d.from_module(layer)(x), layer(x))
    True
"""


class PackedConv1d(_PackedConv):  # noqa: D101 - set below
    __doc__ = _DOC.format(n=1, dims="L", kernel="k", size="9")
    _axes = 1

    layer_class = layers.Conv1d


class PackedConv2d(_PackedConv):  # noqa: D101 - set below
    __doc__ = _DOC.format(n=2, dims="H, W", kernel="kh, kw", size="9, 9")
    _axes = 2

    layer_class = layers.Conv2d
