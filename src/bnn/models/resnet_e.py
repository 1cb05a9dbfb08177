"""BinaryResNetE: a residual network whose binary convolutions each have a shortcut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from bnn.config import BConfig
from bnn.models.factories import NormFactory
from bnn.models.grid import Grid
from bnn.models.preprocessing import IMAGENET_LARQ
from bnn.models.registry import Figures, Published, register_model
from bnn.models.skip_per_conv import SkipBlock, SkipPerConvNet
from bnn.ops import BasicInputBinarizer

_SIGN = BasicInputBinarizer.with_args(clip=1.25)


class ResNetEBlock(SkipBlock):
    """Sign, binary 3x3 convolution, batch norm, plus the shortcut; see :class:`SkipBlock`."""

    BCONFIG = BConfig(_SIGN, weight_pre_process=_SIGN)


class BinaryResNetE(SkipPerConvNet):
    """A residual network with ReLU only in the stem and before the classifier.

    Arguments and shapes: see :class:`bnn.models.skip_per_conv.SkipPerConvNet`.

    Reference:
        Bethge et al., *Back to Simplicity*, 2019. https://arxiv.org/abs/1906.08637

    Example:
        >>> import torch
        >>> BinaryResNetE((1, 1), 5, width=8)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    BLOCK = ResNetEBlock

    def _stem(
        self, in_channels: int, width: int, grid: Grid, norm: NormFactory
    ) -> tuple[nn.Sequential, Grid]:
        stem, grid = super()._stem(in_channels, width, grid, norm)
        return stem.append(norm(width)), grid

    def _stem_activation(self, width: int) -> Sequence[nn.Module]:  # noqa: ARG002
        return (nn.ReLU(),)

    def _head(self, channels: int) -> nn.Module:  # noqa: ARG002
        return nn.ReLU()


@register_model(
    network=BinaryResNetE,
    input_shape=(3, 224, 224),
    num_classes=1000,
    paper="https://arxiv.org/abs/1906.08637",
    summary="BinaryResNetE-18, a shortcut around each binary convolution",
    tiny={"layers": (2, 1), "width": 32, "num_classes": 5, "input_size": 32},
    tiny_shape=(3, 32, 32),
    figures=Figures(params=11_689_640, bytes=4_189_856, macs={1: 1_676_279_808, 32: 137_793_536}),
    published=Published(top1=58.32, top5=80.79),
    preprocessing=IMAGENET_LARQ,
)
def binary_resnet_e18(**kwargs: Any) -> BinaryResNetE:
    """Make a BinaryResNetE-18; any argument of :class:`BinaryResNetE` can be given by keyword.

    Example:
        >>> binary_resnet_e18(num_classes=10).fc
        Linear(in_features=512, out_features=10, bias=True)
    """
    return BinaryResNetE(**kwargs)
