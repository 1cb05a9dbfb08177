"""Networks for images of 32x32 with learnt scales, on which weight binarizers are compared.

IR-Net, ReCU and AdaBin report their CIFAR-10 results on these three.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from bnn import layers
from bnn.config import BConfig
from bnn.errors import ConfigError
from bnn.models.checks import check_positive
from bnn.models.grid import Grid
from bnn.models.initialize import initialize_, initialize_latent_
from bnn.models.preprocessing import CIFAR10
from bnn.models.registry import Figures, Published, register_model
from bnn.models.residual import PoolShortcut
from bnn.ops import BasicInputBinarizer, BasicScaleBinarizer, ReCUWeightBinarizer

#: ReCU's weights, and a learnt scale for each output channel.
_RECU = BConfig(BasicInputBinarizer, BasicScaleBinarizer, ReCUWeightBinarizer)


def _conv3x3(
    in_channels: int, out_channels: int, bconfig: BConfig, stride: int = 1
) -> layers.Conv2d:
    return layers.Conv2d(
        in_channels, out_channels, 3, stride=stride, padding=1, bias=False, bconfig=bconfig
    )


class HardtanhBlock(nn.Module):
    """Binary 3x3 convolution, batch norm, plus the shortcut, then hardtanh.

    The shortcut has no weights, see :class:`bnn.models.residual.PoolShortcut`.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, out_channels, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, bconfig: BConfig) -> None:
        super().__init__()
        self.conv = _conv3x3(in_channels, out_channels, bconfig, stride)
        self.bn = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = PoolShortcut(stride, out_channels - in_channels)
        self.act = nn.Hardtanh()

    def forward(self, x: Tensor) -> Tensor:
        """Return act(branch + shortcut)."""
        out: Tensor = self.act(self.bn(self.conv(x)) + self.shortcut(x))
        return out


class CifarResNet(nn.Module):
    """A residual network for 32x32 images with a shortcut around each binary convolution.

    Args:
        layers: Binary convolutions of each stage; each stage after the first halves the size and
            doubles the channels.
        num_classes: Outputs.
        in_channels: Channels of the image.
        width: Channels of the first stage.
        bconfig: How the convolutions are binarized; None: ReCU's weights and learnt scales.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, num_classes).

    Raises:
        ConfigError: If an argument is out of range.

    Reference:
        Xu et al., *ReCU: Reviving the Dead Weights in Binary Neural Networks*, ICCV 2021.
        https://arxiv.org/abs/2103.12369

    Example:
        >>> import torch
        >>> CifarResNet((2, 2), width=8)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        layers: Sequence[int] = (6, 6, 6),
        num_classes: int = 10,
        *,
        in_channels: int = 3,
        width: int = 16,
        bconfig: BConfig | None = None,
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes, in_channels=in_channels, width=width)
        if not layers:
            raise ConfigError("layers must give at least one stage, such as (6, 6, 6)")
        check_positive(**{f"layers[{i}]": count for i, count in enumerate(layers)})
        config = _RECU if bconfig is None else bconfig
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.Hardtanh()
        stages: list[nn.Module] = []
        channels = width
        for i, count in enumerate(layers):
            planes = width << i
            stage = nn.Sequential(HardtanhBlock(channels, planes, 2 if i else 1, config))
            stage.extend(HardtanhBlock(planes, planes, 1, config) for _ in range(1, count))
            stages.append(stage)
            channels = planes
        self.stages = nn.Sequential(*stages)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.bn2 = nn.BatchNorm1d(channels)
        self.fc = nn.Linear(channels, num_classes)
        initialize_(self)
        initialize_latent_(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.stages(self.act1(self.bn1(self.conv1(x))))
        logits: Tensor = self.fc(self.bn2(self.avgpool(x).flatten(1)))
        return logits


class VGGSmall(nn.Module):
    """Six 3x3 convolutions, of which five are binary, and a float classifier.

    Args:
        num_classes: Outputs.
        in_channels: Channels of the image.
        width: Channels of the first two convolutions; then twice and four times as many.
        input_size: The image's height and width: the classifier has a weight for each pixel that
            three poolings leave.
        bconfig: How the convolutions are binarized; None: ReCU's weights and learnt scales.

    Shape:
        - Input: (N, in_channels, height, width) of ``input_size``.
        - Output: (N, num_classes).

    Raises:
        ConfigError: If an argument is out of range.

    Reference:
        Zhang et al., *LQ-Nets*, ECCV 2018. https://arxiv.org/abs/1807.10029

    Example:
        >>> import torch
        >>> VGGSmall(width=8)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        num_classes: int = 10,
        *,
        in_channels: int = 3,
        width: int = 128,
        input_size: int | Sequence[int] = 32,
        bconfig: BConfig | None = None,
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes, in_channels=in_channels, width=width)
        config = _RECU if bconfig is None else bconfig
        grid = Grid.of(input_size, "torch")
        steps: list[nn.Module] = [
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.Hardtanh(),
        ]
        before = width
        for i, channels in enumerate((width, 2 * width, 2 * width, 4 * width, 4 * width)):
            steps.append(_conv3x3(before, channels, config))
            if i % 2 == 0:
                steps.append(nn.MaxPool2d(2))
                grid = grid.valid(2, 2)
            steps += [nn.BatchNorm2d(channels), nn.Hardtanh()]
            before = channels
        self.features = nn.Sequential(*steps)
        self.fc = nn.Linear(before * grid.size[0] * grid.size[1], num_classes)
        initialize_(self)
        initialize_latent_(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.fc(self.features(x).flatten(1))
        return logits


_register = functools.partial(
    register_model,
    input_shape=(3, 32, 32),
    num_classes=10,
    paper="https://arxiv.org/abs/2103.12369",
    tiny_shape=(3, 16, 16),
    preprocessing=CIFAR10,
)
_resnet = functools.partial(
    _register, network=CifarResNet, tiny={"layers": (2, 1), "width": 32, "num_classes": 5}
)


@_resnet(
    summary="ResNet-20 for 32x32 images, a shortcut around each binary convolution",
    figures=Figures(params=270_522, bytes=46_440, macs={1: 40_108_032, 32: 443_008}),
    published=Published(top1=87.5, data="CIFAR-10"),
)
def cifar_resnet20(**kwargs: Any) -> CifarResNet:
    """Make a ResNet-20 as ReCU has it; any argument of :class:`CifarResNet` goes by keyword.

    Example:
        >>> cifar_resnet20().fc
        Linear(in_features=64, out_features=10, bias=True)
    """
    return CifarResNet(**kwargs)


@_resnet(
    summary="ResNet-18 for 32x32 images, a shortcut around each binary convolution",
    figures=Figures(params=11_005_002, bytes=1_451_304, macs={1: 547_356_672, 32: 1_774_592}),
    published=Published(top1=92.8, data="CIFAR-10"),
)
def cifar_resnet18(**kwargs: Any) -> CifarResNet:
    """Make a ResNet-18 as ReCU has it; see :func:`cifar_resnet20`.

    Example:
        >>> cifar_resnet18().fc
        Linear(in_features=512, out_features=10, bias=True)
    """
    return CifarResNet(**{"layers": (4, 4, 4, 4), "width": 64, **kwargs})


@_register(
    network=VGGSmall,
    summary="VGG-small for 32x32 images, five binary convolutions",
    tiny={"width": 32, "num_classes": 5, "input_size": 16},
    figures=Figures(params=4_661_770, bytes=933_928, macs={1: 603_979_776, 32: 3_620_864}),
    published=Published(top1=92.2, data="CIFAR-10"),
)
def vgg_small(**kwargs: Any) -> VGGSmall:
    """Make a VGG-small; any argument of :class:`VGGSmall` can be given by keyword.

    Example:
        >>> vgg_small().fc
        Linear(in_features=8192, out_features=10, bias=True)
    """
    return VGGSmall(**kwargs)
