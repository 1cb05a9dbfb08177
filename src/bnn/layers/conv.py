"""Binary convolutions, padded with 0, -1 or +1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from bnn.config import BConfig
from bnn.errors import ConfigError
from bnn.layers.base import BinaryLayer
from bnn.layers.product import ConvProduct

_CONV_FORWARDS: tuple[Any, ...] = tuple(
    cls._conv_forward for cls in (nn.Conv1d, nn.Conv2d, nn.Conv3d)
)

_DOC = """``nn.Conv{n}d`` whose input and weight are binarized as ``bconfig`` says.

Accepts every ``nn.Conv{n}d`` argument. ``padding`` may also be one pair (before, after) for each
spatial axis, the first axis first: ``((0, 1), (0, 1))`` is what TensorFlow's "same" gives a 3x3
filter of stride 2 on an even size. Then by keyword:

Args:
    bconfig: The stages of the layer.
    padding_value: What the binarized input is padded with: 0 (a padded tap contributes nothing),
        -1 or +1 (the input stays binary). Also an attribute that can be set later. Other values
        than 0 need ``padding_mode="zeros"``.

Shape:
    - Input: :math:`(N, C_{{in}}, {dims})` or :math:`(C_{{in}}, {dims})`.
    - Output: as ``nn.Conv{n}d``.

Raises:
    ConfigError: If ``padding``, ``padding_value`` or ``bconfig`` is not allowed, or a stage cannot
        be built.

Example:
    >>> from bnn import BConfig
    >>> from bnn.ops import BasicInputBinarizer, XNORWeightBinarizer
    >>> config = BConfig(BasicInputBinarizer, weight_pre_process=XNORWeightBinarizer)
    >>> layer = Conv{n}d(4, 8, 3, padding=1, padding_value=-1, bconfig=config)
    >>> layer(torch.randn(2, 4, {size})).shape
    torch.Size([2, 8, {size}])
"""


class BinaryConv(BinaryLayer):
    """What the three convolutions share: the padding of a binary input."""

    _convolve: ClassVar[Callable[..., Tensor]]
    _padding_value: int = 0  # of a layer made from a float one
    padding_mode: Any  # nn's is a Literal, private to it
    padding: Any  # numbers, a name, or pairs
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    _reversed_padding_repeated_twice: list[int]
    _conv_forward: Callable[[Tensor, Tensor, Tensor | None], Tensor]

    def __init__(self, *args: Any, bconfig: Any, padding_value: int = 0, **kwargs: Any) -> None:
        # The stages may ask for it, and they are built last; nn.Module keeps plain attributes
        # only after its own __init__, a class attribute serves until then.
        _check_padding_value(padding_value, "zeros")
        self.__dict__["_padding_value"] = int(padding_value)
        super().__init__(*args, bconfig=bconfig, **kwargs)
        _check_padding_value(padding_value, self.padding_mode)

    @property
    def padding_value(self) -> int:
        """What the binarized input is padded with: 0, -1 or +1."""
        return self._padding_value

    @padding_value.setter
    def padding_value(self, value: int) -> None:
        _check_padding_value(value, self.padding_mode)
        if value != self._padding_value:
            self._padding_value = int(value)
            self._rebuild_stages()  # some depend on it, as XNORScaleBinarizer does

    def _build_stages(self, bconfig: BConfig, previous: BinaryLayer | None = None) -> None:
        if _in_pairs(self.padding):  # the stages may ask for the pads
            pads = _checked_pairs(self.padding, len(self.kernel_size), self.padding_mode)
            self._reversed_padding_repeated_twice = pads
        super()._build_stages(bconfig, previous)

    def _compute(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self._padding_value == 0 and not _in_pairs(self.padding):
            return self._conv_forward(x, weight, bias)
        # nn keeps the pads of every kind of padding ('same' too) in this list.
        x = F.pad(x, self._reversed_padding_repeated_twice, value=self._padding_value)
        return type(self)._convolve(x, weight, bias, self.stride, 0, self.dilation, self.groups)

    def _product(self, x: Tensor) -> ConvProduct | None:  # noqa: ARG002
        own = type(self)
        if (
            self.padding_mode != "zeros"
            or own._compute is not BinaryConv._compute
            or own._conv_forward not in _CONV_FORWARDS
        ):
            return None
        ends = self._reversed_padding_repeated_twice
        symmetric = ends[::2] == ends[1::2] and self._padding_value == 0
        return ConvProduct(
            stride=self.stride,
            dilation=self.dilation,
            groups=self.groups,
            pads=() if symmetric or not any(ends) else tuple(ends),
            pad_value=self._padding_value,
            padding=tuple(ends[::-2]) if symmetric else (0,) * len(self.stride),
        )

    def extra_repr(self) -> str:
        """Show the float layer's arguments, and ``padding_value`` where it is not 0."""
        extra = super().extra_repr()
        return f"{extra}, padding_value={self._padding_value}" if self._padding_value else extra


def _in_pairs(padding: object) -> bool:
    """Say whether a padding is (before, after) of each axis."""
    return isinstance(padding, (tuple, list)) and any(
        isinstance(item, (tuple, list)) for item in padding
    )


def _checked_pairs(padding: Any, axes: int, padding_mode: str) -> list[int]:
    """Return the pads with the last axis first, as torch's pad has them."""
    pairs = [tuple(pair) if isinstance(pair, (tuple, list)) else (pair,) for pair in padding]
    pads = [pad for pair in reversed(pairs) for pad in pair]
    if (
        len(pairs) != axes
        or any(len(pair) != 2 for pair in pairs)
        or not all(isinstance(pad, int) and pad >= 0 for pad in pads)
    ):
        raise ConfigError(
            f"padding is {padding!r}; give a number, or one pair (before, after) of numbers from "
            f"0 for each of the {axes} axes, such as {((0, 1),) * axes}."
        )
    if padding_mode != "zeros":
        raise ConfigError(
            f"padding by pairs needs padding_mode='zeros', got {padding_mode!r}. Pad before the "
            "layer with nn.functional.pad."
        )
    return pads


def _check_padding_value(value: int, padding_mode: str) -> None:
    if value not in (-1, 0, 1):
        raise ConfigError(f"padding_value must be 0, -1 or +1, got {value!r}.")
    if value != 0 and padding_mode != "zeros":
        raise ConfigError(
            f"padding_value={value} needs padding_mode='zeros', got {padding_mode!r}: that mode "
            "takes its values from the input."
        )


class Conv1d(BinaryConv, nn.Conv1d):  # noqa: D101 - set below
    __doc__ = _DOC.format(n=1, dims="L", size="9")
    _convolve = staticmethod(F.conv1d)


class Conv2d(BinaryConv, nn.Conv2d):  # noqa: D101 - set below
    __doc__ = _DOC.format(n=2, dims="H, W", size="9, 9")
    _convolve = staticmethod(F.conv2d)


class Conv3d(BinaryConv, nn.Conv3d):  # noqa: D101 - set below
    __doc__ = _DOC.format(n=3, dims="D, H, W", size="9, 9, 9")
    _convolve = staticmethod(F.conv3d)
