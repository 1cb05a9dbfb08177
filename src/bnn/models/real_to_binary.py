"""Real-to-Binary Net: batch norm before the sign, and a gate that sees what the sign hides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from bnn.config import BConfig
from bnn.layers import PReLU
from bnn.models.factories import NormFactory
from bnn.models.preprocessing import IMAGENET_LARQ
from bnn.models.registry import Figures, Published, register_model
from bnn.models.skip_per_conv import SkipBlock, SkipPerConvNet
from bnn.ops import BasicInputBinarizer, RealToBinaryGateBinarizer


class RealToBinaryBlock(SkipBlock):
    """Batch norm, binary 3x3 convolution, gate, PReLU, plus the shortcut.

    The gate scales each channel by what a small float network sees in the convolution's input
    before its sign; it is the convolution's ``activation_post_process``.
    """

    BCONFIG = BConfig(BasicInputBinarizer, RealToBinaryGateBinarizer, BasicInputBinarizer)

    def _build(self, in_channels: int, out_channels: int, norm: NormFactory) -> None:
        self.bn = norm(in_channels)
        self.act = PReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return branch + shortcut."""
        out: Tensor = self.act(self.conv(self.bn(x))) + self._shortcut(x)
        return out


class RealToBinaryNet(SkipPerConvNet):
    """A residual network with gated binary convolutions.

    Arguments and shapes: see :class:`bnn.models.skip_per_conv.SkipPerConvNet`.

    Reference:
        Martinez et al., *Training binary neural networks with real-to-binary convolutions*,
        ICLR 2020. https://arxiv.org/abs/2003.11535

    Example:
        >>> import torch
        >>> RealToBinaryNet((1, 1), 5, width=8)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    BLOCK = RealToBinaryBlock

    def _stem_activation(self, width: int) -> Sequence[nn.Module]:
        return (PReLU(width),)


@register_model(
    network=RealToBinaryNet,
    input_shape=(3, 224, 224),
    num_classes=1000,
    paper="https://arxiv.org/abs/2003.11535",
    summary="Real-to-Binary Net, ResNet-18 with gated binary convolutions",
    tiny={"layers": (2, 1), "width": 32, "num_classes": 5, "input_size": 32},
    tiny_shape=(3, 32, 32),
    figures=Figures(params=11_986_920, bytes=5_378_976, macs={1: 1_676_279_808, 32: 138_087_936}),
    published=Published(top1=65.01, top5=85.72),
    preprocessing=IMAGENET_LARQ,
)
def real_to_binary_net(**kwargs: Any) -> RealToBinaryNet:
    """Make a Real-to-Binary Net; any argument of :class:`RealToBinaryNet` goes by keyword.

    Example:
        >>> real_to_binary_net(num_classes=10).stages[0][0].conv.activation_post_process.reduce
        Linear(in_features=64, out_features=8, bias=False)
    """
    return RealToBinaryNet(**{"bn_momentum": 0.01, "bn_eps": 1e-3, **kwargs})
