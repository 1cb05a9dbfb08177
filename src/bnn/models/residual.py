"""What the residual blocks share: arguments, convolutions, shortcut, start at zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnn.errors import ConfigError
from bnn.models.checks import check_positive
from bnn.models.factories import ActivationFactory, NormFactory, make_activation, make_norm

SHORTCUTS = ("conv", "pool")


class PoolShortcut(nn.Module):
    """Shortcut without parameters: average pooling for the stride, zeros for the new channels.

    Shape:
        - Input: (N, C, H, W).
        - Output: (N, C + new_channels, ceil(H / stride), ceil(W / stride)), the size that a padded
          3x3 convolution of the same stride gives. A window at the edge averages what it holds.

    Reference:
        He et al., *Deep Residual Learning*, CVPR 2016, option A (which subsamples instead of
        averaging). https://arxiv.org/abs/1512.03385

    Example:
        >>> PoolShortcut(stride=2, new_channels=4)(torch.ones(1, 4, 5, 5)).shape
        torch.Size([1, 8, 3, 3])
    """

    def __init__(self, stride: int, new_channels: int) -> None:
        super().__init__()
        self.stride = stride
        self.new_channels = new_channels

    def forward(self, x: Tensor) -> Tensor:
        """Return the shortcut's output."""
        if self.stride > 1:
            x = F.avg_pool2d(x, self.stride, ceil_mode=True)
        return F.pad(x, (0, 0, 0, 0, 0, self.new_channels)) if self.new_channels else x

    def extra_repr(self) -> str:
        """Return what ``print(module)`` shows."""
        return f"stride={self.stride}, new_channels={self.new_channels}"


class ChannelScale(nn.Module):
    """Multiply each channel of (N, C, H, W) by a learnt factor, at first 0.

    Reference:
        De & Smith, *Batch Normalization Biases Residual Blocks Towards the Identity Function in
        Deep Networks* (SkipInit), NeurIPS 2020. https://arxiv.org/abs/2002.10444
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled channels."""
        return x * self.weight


@dataclass(frozen=True, kw_only=True)
class BlockSpec:
    """The arguments of a block, and the layers that follow from them."""

    inplanes: int
    planes: int
    stride: int
    groups: int
    base_width: int
    dilation: int
    activation: ActivationFactory
    norm_layer: NormFactory | None

    @property
    def width(self) -> int:
        """Channels between the convolutions: ``groups`` times ``base_width`` per 64 planes."""
        width = int(self.planes * (self.base_width / 64)) * self.groups
        if width < 1:
            raise ConfigError(
                f"width_per_group {self.base_width} leaves no channel in a stage of {self.planes}"
            )
        return width

    def conv3x3(self, in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
        """Return a 3x3 convolution that keeps the size at stride 1, grouped and dilated."""
        for channels in (in_channels, out_channels):
            if channels % self.groups:
                raise ConfigError(
                    f"groups={self.groups} does not divide the {channels} channels of a 3x3 "
                    f"convolution ({in_channels} to {out_channels}). Change groups or width."
                )
        return nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size=3,
            stride=stride,
            padding=self.dilation,
            dilation=self.dilation,
            groups=self.groups,
            bias=False,
        )

    def conv1x1(self, in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
        """Return a 1x1 convolution."""
        return nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False)

    def norm(self, channels: int) -> nn.Module:
        """Return a new norm."""
        return make_norm(self.norm_layer, channels)

    def act(self, channels: int) -> nn.Module:
        """Return a new activation."""
        return make_activation(self.activation, channels)

    def shortcut(self, kind: str, out_channels: int) -> nn.Module | None:
        """Return what brings the input to the branch's shape, or None if it has it already."""
        if kind not in SHORTCUTS:
            raise ConfigError(f"shortcut must be one of {', '.join(SHORTCUTS)}, not {kind!r}")
        if self.stride == 1 and self.inplanes == out_channels:
            return None
        if kind == "conv":
            conv = self.conv1x1(self.inplanes, out_channels, self.stride)
            return nn.Sequential(conv, self.norm(out_channels))
        if out_channels < self.inplanes:
            raise ConfigError(
                f"shortcut='pool' can add channels, not remove them ({self.inplanes} to "
                f"{out_channels}). Use shortcut='conv'."
            )
        return PoolShortcut(self.stride, out_channels - self.inplanes)


class ResidualBlock(nn.Module):
    """Base of the blocks: arguments, checks and the shortcut; a subclass adds its branch.

    A subclass builds its layers in ``_build`` and says in :meth:`zero_init_residual_` how its
    branch starts at zero.

    Args:
        inplanes: Channels of the input.
        planes: Channels of the output divided by ``expansion``.
        stride: Stride of the block; the output has size ceil(input / stride).
        groups: Groups of the 3x3 convolutions.
        base_width: Channels of one group for every 64 planes; ResNeXt and wide networks.
        dilation: Dilation of the 3x3 convolutions.
        activation: Makes one activation, see :func:`bnn.models.factories.make_activation`.
        norm_layer: Makes one norm from a channel count. None means ``nn.BatchNorm2d``.
        shortcut: ``"conv"``, a 1x1 convolution and a norm, or ``"pool"``, see
            :class:`PoolShortcut`. Used only where the shapes of input and output differ.

    Shape:
        - Input: (N, inplanes, H, W).
        - Output: (N, planes * expansion, ceil(H / stride), ceil(W / stride)).

    Raises:
        ConfigError: If the channels cannot be split as asked, or an argument is out of range.
    """

    expansion: ClassVar[int] = 1

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        *,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        activation: ActivationFactory = nn.ReLU,
        norm_layer: NormFactory | None = None,
        shortcut: str = "conv",
    ) -> None:
        super().__init__()
        check_positive(
            inplanes=inplanes,
            planes=planes,
            stride=stride,
            groups=groups,
            base_width=base_width,
            dilation=dilation,
        )
        spec = BlockSpec(
            inplanes=inplanes,
            planes=planes,
            stride=stride,
            groups=groups,
            base_width=base_width,
            dilation=dilation,
            activation=activation,
            norm_layer=norm_layer,
        )
        self._build(spec)
        self.downsample = spec.shortcut(shortcut, planes * self.expansion)

    def _build(self, spec: BlockSpec) -> None:
        raise NotImplementedError

    def zero_init_residual_(self) -> None:
        """Make the branch output zero, so that the block starts as its shortcut."""
        raise NotImplementedError

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.downsample is None:
            return x
        y: Tensor = self.downsample(x)
        return y


def zero_norm_(norm: nn.Module) -> None:
    """Set the weight of a norm to zero, so that it outputs its bias, at first zero too.

    Raises:
        ConfigError: If the norm has no weight.
    """
    weight = getattr(norm, "weight", None)
    if not isinstance(weight, Tensor):
        raise ConfigError(
            f"zero_init_residual needs a norm with a weight at the end of the branch; "
            f"{type(norm).__name__} has none. Use nn.BatchNorm2d or a Pre block."
        )
    nn.init.zeros_(weight)


class PreActivationBlock(ResidualBlock):
    """Base of the blocks that normalize before each convolution; a subclass adds its branch.

    The branch ends in convolution and activation, so no norm can be set to zero: zero in the norm
    before the last convolution would make every sign +1, and a zero latent weight binarizes to +1,
    not 0. :meth:`zero_init_residual_` therefore adds a :class:`ChannelScale`, ``gate``, after the
    branch. It stays in float when the block is binarized.
    """

    def _build(self, spec: BlockSpec) -> None:
        self.gate: ChannelScale | None = None
        self.out_channels = spec.planes * self.expansion

    def _branch(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def zero_init_residual_(self) -> None:
        """Add a learnt scale per channel, at first zero, at the end of the branch."""
        self.gate = ChannelScale(self.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return branch + shortcut."""
        y = self._branch(x)
        if self.gate is not None:
            y = self.gate(y)
        return y + self._shortcut(x)
