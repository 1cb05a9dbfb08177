"""AlexNet made binary: BinaryAlexNet, XNOR-Net and DoReFa-Net.

They have no shortcuts: each layer sees nothing but the signs (or two bits) of the one before it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from bnn import layers
from bnn.config import BConfig
from bnn.models.checks import check_positive
from bnn.models.grid import Grid
from bnn.models.initialize import initialize_, initialize_latent_
from bnn.models.norms import batch_norm
from bnn.models.preprocessing import IMAGENET_LARQ
from bnn.models.registry import Figures, Published, register_model
from bnn.ops import (
    BasicInputBinarizer,
    DoReFaInputBinarizer,
    DoReFaWeightBinarizer,
    XNORWeightBinarizer,
)


class _AlexNet(nn.Module):
    """What the three share: arguments, and layers that are added one after another.

    Args:
        num_classes: Outputs.
        in_channels: Channels of the image.
        width: Channels of the first convolution; the others follow in proportion.
        hidden: Channels of the two layers before the last.
        input_size: The image's height and width: the first dense layer has a weight for each pixel
            that is left.
        padding: ``"torch"``, or ``"tf"`` for weights that were trained with Larq, see
            :class:`bnn.models.grid.Grid`.

    Shape:
        - Input: (N, in_channels, height, width) of ``input_size``.
        - Output: (N, num_classes).

    Raises:
        ConfigError: If an argument is out of range, or the image is too small.
    """

    #: Channels of the five convolutions, by the first one's.
    RATIO: ClassVar[tuple[float, ...]]
    EPS: ClassVar[float]
    BCONFIG: ClassVar[BConfig]

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        width: int = 96,
        hidden: int = 4096,
        input_size: int | Sequence[int] = 224,
        padding: str = "torch",
    ) -> None:
        super().__init__()
        self.padding = padding
        check_positive(num_classes=num_classes, in_channels=in_channels, width=width, hidden=hidden)
        #: (C, H, W) of what the first dense layer sees flat, or None.
        self.flattened: tuple[int, int, int] | None = None
        self._steps: list[nn.Module] = []
        self._grid = Grid.of(input_size, padding)
        self._channels = in_channels
        self._build([int(width * ratio) for ratio in self.RATIO], hidden, num_classes)
        self.features = nn.Sequential(*self._steps)
        del self._steps, self._grid, self._channels
        initialize_(self)
        initialize_latent_(self)

    def _build(self, widths: Sequence[int], hidden: int, num_classes: int) -> None:
        raise NotImplementedError

    def _add(self, *steps: nn.Module) -> None:
        self._steps.extend(steps)

    def _binary(self, channels: int, kernel: int) -> None:
        """Add a binary convolution that keeps the size."""
        self._add(self._grid.binary_conv(self._channels, channels, kernel, bconfig=self.BCONFIG))
        self._channels = channels

    def _norm(self, eps: float | None = None) -> None:
        eps = self.EPS if eps is None else eps
        self._add(batch_norm(self._channels, eps=eps, scale=False))

    def _pool(self) -> None:
        """Add a 3x3 max pooling of stride 2 without padding."""
        self._add(nn.MaxPool2d(3, stride=2))
        self._grid = self._grid.valid(3, 2)

    def _flatten(self) -> None:
        self._add(nn.Flatten())
        self.flattened = (self._channels, *self._grid.size)
        self._channels *= self._grid.size[0] * self._grid.size[1]

    def _dense(self, channels: int) -> None:
        """Add a binary linear layer and its batch norm."""
        self._add(
            layers.Linear(self._channels, channels, bias=False, bconfig=self.BCONFIG),
            batch_norm(channels, eps=self.EPS, scale=False, axes=0),
        )
        self._channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.features(x)
        return logits


class BinaryAlexNet(_AlexNet):
    """AlexNet with binary weights in all layers and binary activations in all but the first.

    Arguments and shapes are those of :func:`binary_alexnet`.

    Reference:
        Hubara et al., *Binarized Neural Networks*, NeurIPS 2016. https://arxiv.org/abs/1602.02830

    Example:
        >>> import torch
        >>> net = BinaryAlexNet(5, width=8, hidden=16, input_size=64)
        >>> net(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 5])
    """

    RATIO = (1, 3, 6, 6, 4)
    EPS = 1e-3
    BCONFIG = BConfig(BasicInputBinarizer, weight_pre_process=BasicInputBinarizer)

    def _build(self, widths: Sequence[int], hidden: int, num_classes: int) -> None:
        first, *others = widths
        weights_only = BConfig(weight_pre_process=BasicInputBinarizer)
        self._add(self._grid.binary_conv(self._channels, first, 11, 4, bconfig=weights_only))
        self._grid, self._channels = self._grid.strided(4), first
        self._pool()
        self._norm()
        for channels, kernel, pooled in zip(
            others, (5, 3, 3, 3), (True, False, False, True), strict=True
        ):
            self._binary(channels, kernel)
            if pooled:
                self._pool()
            self._norm()
        self._flatten()
        for channels in (hidden, hidden, num_classes):
            self._dense(channels)


class XNORNet(_AlexNet):
    """AlexNet with scaled binary weights, batch norm before each sign, and float ends.

    Arguments and shapes are those of :func:`xnornet`.

    Reference:
        Rastegari et al., *XNOR-Net*, ECCV 2016. https://arxiv.org/abs/1603.05279

    Example:
        >>> import torch
        >>> net = XNORNet(5, width=12, hidden=16, input_size=64)
        >>> net(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 5])
    """

    RATIO = (1, 8 / 3, 4, 4, 8 / 3)
    EPS = 1e-4
    BCONFIG = BConfig(
        BasicInputBinarizer,
        weight_pre_process=XNORWeightBinarizer.with_args(clamp_weights=True),
    )

    def _build(self, widths: Sequence[int], hidden: int, num_classes: int) -> None:
        first, *others = widths
        self._add(self._grid.conv(self._channels, first, 11, 4))
        self._grid, self._channels = self._grid.strided(4), first
        self._norm(eps=1e-5)
        self._add(nn.ReLU())
        self._pool()
        self._norm()
        for channels, kernel, pooled in zip(
            others, (5, 3, 3, 3), (True, False, False, True), strict=True
        ):
            self._binary(channels, kernel)
            if pooled:
                self._pool()
            self._norm()
        # A filter over all pixels that are left, and one over a single pixel: dense layers.
        for size, eps in ((self._grid.size, None), ((1, 1), 1e-3)):
            self._add(layers.Conv2d(self._channels, hidden, size, bias=False, bconfig=self.BCONFIG))
            self._channels = hidden
            self._norm(eps)
        self._add(nn.ReLU(), nn.Flatten(), nn.Linear(hidden, num_classes, bias=False))


class DoReFaNet(_AlexNet):
    """AlexNet with binary weights and activations of two bits, and float ends.

    Arguments and shapes are those of :func:`dorefanet`.

    Reference:
        Zhou et al., *DoReFa-Net*, 2016. https://arxiv.org/abs/1606.06160

    Example:
        >>> import torch
        >>> net = DoReFaNet(5, width=12, hidden=16, input_size=64)
        >>> net(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 5])
    """

    RATIO = (1, 8 / 3, 4, 4, 8 / 3)
    EPS = 1e-4
    BCONFIG = BConfig(
        DoReFaInputBinarizer.with_args(bits=2), weight_pre_process=DoReFaWeightBinarizer
    )

    def _build(self, widths: Sequence[int], hidden: int, num_classes: int) -> None:
        first, *others = widths
        self._add(nn.Conv2d(self._channels, first, 12, stride=4))
        self._grid, self._channels = self._grid.valid(12, 4), first
        for channels, kernel, pool in zip(
            others, (5, 3, 3, 3), ("same", "same", "", "valid"), strict=True
        ):
            self._binary(channels, kernel)
            self._norm()
            if pool == "same":
                self._add(self._grid.max_pool(3, 2))
                self._grid = self._grid.strided(2)
            elif pool:
                self._pool()
        self._flatten()
        self._dense(hidden)
        self._dense(hidden)
        self._add(nn.Hardtanh(0, 1), nn.Linear(hidden, num_classes))


_register = functools.partial(
    register_model,
    input_shape=(3, 224, 224),
    num_classes=1000,
    tiny={"width": 24, "hidden": 64, "num_classes": 5, "input_size": 72},
    tiny_shape=(3, 72, 72),
    preprocessing=IMAGENET_LARQ,
)


@_register(
    network=BinaryAlexNet,
    paper="https://arxiv.org/abs/1602.02830",
    summary="AlexNet of which all weights are binary",
    figures=Figures(params=61_848_720, bytes=7_812_248, macs={1: 768_512_000, 32: 72_855_552}),
    published=Published(top1=36.30, top5=61.53),
)
def binary_alexnet(**kwargs: Any) -> BinaryAlexNet:
    """Make a BinaryAlexNet, 64 channels wide in its first layer.

    Args:
        **kwargs: ``num_classes``, ``in_channels``, ``input_size``; ``width``, the first layer's
            channels, to which the others are in proportion; ``hidden``, the channels of the layers
            before the last; ``padding``, ``"torch"`` or ``"tf"``.

    Example:
        >>> binary_alexnet(num_classes=10, hidden=64).features[-1].num_features
        10
    """
    return BinaryAlexNet(**{"width": 64, **kwargs})


@_register(
    network=XNORNet,
    paper="https://arxiv.org/abs/1603.05279",
    summary="XNOR-Net, AlexNet with scaled binary weights",
    figures=Figures(params=62_387_104, bytes=23_880_320, macs={1: 1_025_744_896, 32: 113_379_328}),
    published=Published(top1=44.96, top5=69.18),
)
def xnornet(**kwargs: Any) -> XNORNet:
    """Make an XNOR-Net, 96 channels wide in its first layer; see :func:`binary_alexnet`.

    Example:
        >>> xnornet(num_classes=10, hidden=64).features[-1]
        Linear(in_features=64, out_features=10, bias=False)
    """
    return XNORNet(**kwargs)


@_register(
    network=DoReFaNet,
    paper="https://arxiv.org/abs/1606.06160",
    summary="DoReFa-Net, AlexNet with activations of two bits",
    figures=Figures(params=62_394_440, bytes=23_909_664, macs={2: 2_924_609_536, 32: 125_028_352}),
    published=Published(top1=53.39, top5=76.50),
)
def dorefanet(**kwargs: Any) -> DoReFaNet:
    """Make a DoReFa-Net, 96 channels wide in its first layer; see :func:`binary_alexnet`.

    Example:
        >>> dorefanet(num_classes=10, hidden=64).features[-1]
        Linear(in_features=64, out_features=10, bias=True)
    """
    return DoReFaNet(**kwargs)
