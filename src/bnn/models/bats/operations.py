"""What an edge of a BATS cell can be: pre-activation operations that survive binarization."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnn.errors import ConfigError
from bnn.models.factories import ActivationFactory, NormFactory, make_activation, make_norm


@dataclass(frozen=True, kw_only=True)
class OperationSpec:
    """Arguments of an operation, and of the convolutions around it.

    Attributes:
        channels: Channels of input and output.
        stride: 1, or 2 on the edges of a reduction cell that start at its inputs.
        groups: Groups of the convolutions; divides ``channels``.
        activation: Makes one activation.
        norm_layer: Makes one norm from a channel count. None means ``nn.BatchNorm2d``.
    """

    channels: int
    stride: int
    groups: int
    activation: ActivationFactory
    norm_layer: NormFactory | None

    def norm(self, channels: int) -> nn.Module:
        """Return a new norm."""
        return make_norm(self.norm_layer, channels)

    def act(self) -> nn.Module:
        """Return a new activation of ``channels`` channels."""
        return make_activation(self.activation, self.channels)


class Zero(nn.Module):
    """No connection: zeros of the size that the stride gives."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros of shape (N, C, ceil(H / stride), ceil(W / stride))."""
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class NormConvAct(nn.Module):
    """Norm, 1x1 convolution, activation: brings a cell's input to the cell's channels."""

    def __init__(self, in_channels: int, spec: OperationSpec) -> None:
        super().__init__()
        self.norm = spec.norm(in_channels)
        self.conv = nn.Conv2d(in_channels, spec.channels, 1, bias=False)
        self.act = spec.act()

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H, W)."""
        out: Tensor = self.act(self.conv(self.norm(x)))
        return out


class FactorizedReduce(nn.Module):
    """Halve the size with two 1x1 convolutions, on the even pixels and on the odd ones.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, channels, ceil(H / 2), ceil(W / 2)).

    Raises:
        ConfigError: If there is only one channel, which two convolutions cannot share.
    """

    def __init__(self, in_channels: int, spec: OperationSpec) -> None:
        super().__init__()
        half = spec.channels // 2
        if not half:
            raise ConfigError("reducing the size takes at least 2 channels, one for each half")
        self.norm = spec.norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, spec.channels - half, 1, stride=2, bias=False)
        self.conv2 = nn.Conv2d(in_channels, half, 1, stride=2, bias=False)
        self.act = spec.act()

    def forward(self, x: Tensor) -> Tensor:
        """Return the halves side by side."""
        x = self.norm(x)
        # The odd pixels are one fewer on a side of odd length; one more zero evens that out, and
        # is never read on a side of even length.
        odd = F.pad(x[:, :, 1:, 1:], (0, 1, 0, 1))
        out: Tensor = self.act(torch.cat((self.conv1(x), self.conv2(odd)), dim=1))
        return out


class GroupConv(nn.Module):
    """Norm, grouped convolution, channel shuffle, activation; added to the input at stride 1.

    The sum is part of the operation because a binary convolution alone keeps too little of its
    input. The shuffle lets the next grouped convolution read from every group.

    Shape:
        - Input: (N, channels, H, W).
        - Output: (N, channels, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, kernel_size: int, dilation: int, spec: OperationSpec) -> None:
        super().__init__()
        self.norm = spec.norm(spec.channels)
        self.conv = nn.Conv2d(
            spec.channels,
            spec.channels,
            kernel_size,
            stride=spec.stride,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            groups=spec.groups,
            bias=False,
        )
        self.shuffle = nn.ChannelShuffle(spec.groups) if spec.groups > 1 else nn.Identity()
        self.act = spec.act()
        self.residual = spec.stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved input, plus the input at stride 1."""
        y: Tensor = self.act(self.shuffle(self.conv(self.norm(x))))
        return x + y if self.residual else y


class DropPath(nn.Module):
    """Zero whole samples with probability ``p`` while training, and scale the others by 1/(1-p).

    The expectation stays what it is in evaluation, where nothing happens.

    Reference:
        Larsson et al., *FractalNet*, ICLR 2017. https://arxiv.org/abs/1605.07648

    Example:
        >>> DropPath(0.5).eval()(torch.ones(2, 1))
        tensor([[1.],
                [1.]])
    """

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return the samples of (N, ...) that stay, scaled, and zeros for the others."""
        if not self.training or self.p == 0.0:
            return x
        keep = 1.0 - self.p
        mask = x.new_empty((x.shape[0],) + (1,) * (x.dim() - 1)).bernoulli_(keep)
        return x * mask.div_(keep)

    def extra_repr(self) -> str:
        """Return what ``print(module)`` shows."""
        return f"p={self.p}"


def _skip_connect(spec: OperationSpec) -> nn.Module:
    return nn.Identity() if spec.stride == 1 else FactorizedReduce(spec.channels, spec)


def _group_conv(kernel_size: int, dilation: int) -> Callable[[OperationSpec], nn.Module]:
    return lambda spec: GroupConv(kernel_size, dilation, spec)


#: Every operation, by its name in a genotype.
OPERATIONS: Mapping[str, Callable[[OperationSpec], nn.Module]] = {
    "none": lambda spec: Zero(spec.stride),
    "skip_connect": _skip_connect,
    "max_pool_3x3": lambda spec: nn.MaxPool2d(3, spec.stride, padding=1),
    "avg_pool_3x3": lambda spec: nn.AvgPool2d(3, spec.stride, padding=1, count_include_pad=False),
    "group_conv_3x3": _group_conv(3, dilation=1),
    "group_conv_5x5": _group_conv(5, dilation=1),
    "dil_group_conv_3x3": _group_conv(3, dilation=2),
    "dil_group_conv_5x5": _group_conv(5, dilation=2),
}


def make_edge(name: str, spec: OperationSpec, stride: int) -> nn.Module:
    """Return an operation followed by :class:`DropPath`; an identity is never dropped.

    Without at least one path that always stays, a node could lose all its inputs.
    """
    operation = OPERATIONS[name](replace(spec, stride=stride))
    if isinstance(operation, nn.Identity):
        return operation
    return nn.Sequential(operation, DropPath())
