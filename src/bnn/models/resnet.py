"""Residual networks for ImageNet-sized and for small images, with any block."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.models.blocks import BasicBlock, Bottleneck, PreBasicBlock, PreBottleneck
from bnn.models.checks import check_positive
from bnn.models.factories import ActivationFactory, NormFactory
from bnn.models.hierarchical import HBlock
from bnn.models.initialize import initialize_
from bnn.models.registry import register_model
from bnn.models.residual import ResidualBlock
from bnn.models.stems import STEMS, BasicStem, DaBNNStem
from bnn.registry import did_you_mean

# The older package had the blocks and stems in this module too.
__all__ = [
    "BasicBlock",
    "BasicStem",
    "Bottleneck",
    "DaBNNStem",
    "HBlock",
    "PreBasicBlock",
    "PreBottleneck",
    "ResNet",
    "resnet101",
    "resnet152",
    "resnet18",
    "resnet20",
    "resnet34",
    "resnet50",
    "resnet8",
]


class ResNet(nn.Module):
    """A stem, stages of residual blocks, average pooling and a linear classifier.

    Modules have torchvision's names (``conv1``, ``bn1``, ``layer1.0.conv1``,
    ``layer2.0.downsample.0``, ``fc``): with :class:`BasicBlock` or :class:`Bottleneck` and the
    basic stem, state_dicts go both ways.

    Args:
        block_type: A :class:`bnn.models.residual.ResidualBlock` class.
        layers: Blocks of each stage; any number of stages. All but the first halve the size.
        num_classes: Outputs of the classifier.
        in_channels: Channels of the image.
        width: Planes of the first stage; each further stage doubles them.
        activation: Makes the blocks' activations. ``nn.PReLU`` gets one slope per channel.
        stem_type: ``"basic"`` (7x7 and pooling), ``"dabnn"`` or ``"cifar"`` (3x3, keeps the size).
        stem_activation: Makes the stem's activations, apart from ``activation`` since the stem
            usually stays in float.
        zero_init_residual: Start each block as its shortcut. Pre-activation blocks get a learnt
            scale for it, see :class:`bnn.models.residual.PreActivationBlock`.
        groups: Groups of the 3x3 convolutions.
        width_per_group: Channels of one group for every 64 planes.
        norm_layer: Makes a norm from a channel count. None means ``nn.BatchNorm2d``.
        replace_stride_with_dilation: For each stage after the first, whether to keep the size and
            dilate instead.
        shortcut: ``"conv"`` or ``"pool"``, see :class:`bnn.models.residual.ResidualBlock`.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, num_classes).

    Raises:
        ConfigError: If an argument is out of range or does not fit the block.

    Reference:
        He et al., *Deep Residual Learning*, CVPR 2016. https://arxiv.org/abs/1512.03385

    Example:
        >>> net = ResNet(PreBasicBlock, [1, 1], width=8, activation=nn.PReLU, stem_type="dabnn")
        >>> net(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 1000])
    """

    def __init__(
        self,
        block_type: type[ResidualBlock],
        layers: Sequence[int],
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        width: int = 64,
        activation: ActivationFactory = nn.ReLU,
        stem_type: str = "basic",
        stem_activation: ActivationFactory = nn.ReLU,
        zero_init_residual: bool = False,
        groups: int = 1,
        width_per_group: int = 64,
        norm_layer: NormFactory | None = None,
        replace_stride_with_dilation: Sequence[bool] | None = None,
        shortcut: str = "conv",
    ) -> None:
        super().__init__()
        _check_block_type(block_type)
        check_positive(
            num_classes=num_classes,
            in_channels=in_channels,
            width=width,
            groups=groups,
            width_per_group=width_per_group,
        )
        dilate = _check_stages(layers, replace_stride_with_dilation)
        if stem_type not in STEMS:
            raise ConfigError(
                f"no stem {stem_type!r}.{did_you_mean(str(stem_type), STEMS)} "
                f"Known: {', '.join(sorted(STEMS))}"
            )
        stem = STEMS[stem_type](
            width, in_channels, activation=stem_activation, norm_layer=norm_layer
        )
        for name, step in stem.named_children():
            self.add_module(name, step)
        self._stem_names = tuple(name for name, _ in stem.named_children())

        make_block = functools.partial(
            block_type,
            groups=groups,
            base_width=width_per_group,
            activation=activation,
            norm_layer=norm_layer,
            shortcut=shortcut,
        )
        self._stage_names = tuple(f"layer{i}" for i in range(1, len(layers) + 1))
        channels, planes, dilation = width, width, 1
        for i, (name, count) in enumerate(zip(self._stage_names, layers, strict=True)):
            stride, before = (1 if i == 0 else 2), dilation
            if dilate[i]:
                stride, dilation = 1, dilation * stride
            # As in torchvision, a dilated stage's first block still sees the old spacing.
            blocks = [make_block(channels, planes, stride, dilation=before)]
            channels = planes * block_type.expansion
            blocks += [make_block(channels, planes, dilation=dilation) for _ in range(1, count)]
            self.add_module(name, nn.Sequential(*blocks))
            planes *= 2

        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        initialize_(self)
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, ResidualBlock):
                    module.zero_init_residual_()

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        for name in (*self._stem_names, *self._stage_names):
            x = getattr(self, name)(x)
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


def _check_block_type(block_type: object) -> None:
    if not (isinstance(block_type, type) and issubclass(block_type, ResidualBlock)):
        raise ConfigError(
            f"block_type must be a subclass of ResidualBlock, such as PreBasicBlock, not "
            f"{block_type!r}. Names as strings are understood by bnn.models.create."
        )


def _check_stages(layers: Sequence[int], dilate: Sequence[bool] | None) -> tuple[bool, ...]:
    """Return for each stage whether its stride becomes dilation."""
    counts = tuple(layers) if isinstance(layers, Sequence) else ()
    if not counts or not all(isinstance(count, int) and count >= 1 for count in counts):
        raise ConfigError(
            f"layers must give at least one block for each stage, such as (2, 2, 2, 2), "
            f"not {layers!r}"
        )
    if dilate is None:
        return (False,) * len(layers)
    if len(dilate) != len(layers) - 1:
        raise ConfigError(
            f"replace_stride_with_dilation needs one value for each of the {len(layers) - 1} "
            f"stages after the first, not {len(dilate)}"
        )
    return (False, *dilate)


def _resnet(pretrained: bool, defaults: Mapping[str, object], given: Mapping[str, Any]) -> ResNet:
    if pretrained:
        raise ConfigError(
            "pretrained=True: bnn ships no weights. Make the network without it and use "
            "load_state_dict; with BasicBlock or Bottleneck, torchvision's weights fit."
        )
    arguments: dict[str, Any] = {**defaults, **given}
    return ResNet(**arguments)


_PAPER = "https://arxiv.org/abs/1512.03385"
_imagenet = functools.partial(
    register_model,
    network=ResNet,
    input_shape=(3, 224, 224),
    num_classes=1000,
    paper=_PAPER,
    tiny={"layers": (1, 2, 1, 1), "width": 8, "num_classes": 5},
    tiny_shape=(3, 64, 64),
)
_cifar = functools.partial(
    register_model,
    network=ResNet,
    input_shape=(3, 32, 32),
    num_classes=10,
    paper=_PAPER,
    tiny={"width": 4, "num_classes": 5},
    tiny_shape=(3, 8, 8),
)


@_imagenet(summary="ResNet-18, four stages of 2 basic blocks")
def resnet18(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """Make a ResNet-18; any argument of :class:`ResNet` can be given by keyword.

    Args:
        pretrained: Must be False: no weights are shipped.
        **kwargs: Override the defaults ``block_type=BasicBlock, layers=(2, 2, 2, 2)``.

    Raises:
        ConfigError: If ``pretrained`` is true, or :class:`ResNet` refuses an argument.

    Example:
        >>> net = resnet18(block_type=PreBasicBlock, activation=nn.PReLU, stem_type="dabnn")
        >>> sum(p.numel() for p in net.parameters())
        11693288
    """
    return _resnet(pretrained, {"block_type": BasicBlock, "layers": (2, 2, 2, 2)}, kwargs)


@_imagenet(summary="ResNet-34, four stages of 3, 4, 6, 3 basic blocks")
def resnet34(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """Make a ResNet-34; see :func:`resnet18`.

    Example:
        >>> with torch.device("meta"):  # shapes only
        ...     sum(p.numel() for p in resnet34().parameters())
        21797672
    """
    return _resnet(pretrained, {"block_type": BasicBlock, "layers": (3, 4, 6, 3)}, kwargs)


@_imagenet(summary="ResNet-50, four stages of 3, 4, 6, 3 bottlenecks")
def resnet50(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """Make a ResNet-50; see :func:`resnet18`.

    Example:
        >>> with torch.device("meta"):  # shapes only
        ...     sum(p.numel() for p in resnet50().parameters())
        25557032
    """
    return _resnet(pretrained, {"block_type": Bottleneck, "layers": (3, 4, 6, 3)}, kwargs)


@_imagenet(summary="ResNet-101, four stages of 3, 4, 23, 3 bottlenecks")
def resnet101(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """Make a ResNet-101; see :func:`resnet18`.

    Example:
        >>> with torch.device("meta"):  # shapes only
        ...     sum(p.numel() for p in resnet101().parameters())
        44549160
    """
    return _resnet(pretrained, {"block_type": Bottleneck, "layers": (3, 4, 23, 3)}, kwargs)


@_imagenet(summary="ResNet-152, four stages of 3, 8, 36, 3 bottlenecks")
def resnet152(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """Make a ResNet-152; see :func:`resnet18`.

    Example:
        >>> with torch.device("meta"):  # shapes only
        ...     sum(p.numel() for p in resnet152().parameters())
        60192808
    """
    return _resnet(pretrained, {"block_type": Bottleneck, "layers": (3, 8, 36, 3)}, kwargs)


# What binarizes well, and no 1x1 convolution in the shortcuts, which would stay in float.
_CIFAR_DEFAULTS: Mapping[str, object] = {
    "block_type": PreBasicBlock,
    "num_classes": 10,
    "width": 16,
    "activation": nn.PReLU,
    "stem_type": "cifar",
    "shortcut": "pool",
}


@_cifar(summary="ResNet-8 for small images, pre-activation, PReLU, shortcuts without weights")
def resnet8(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """Make a network of 3 stages of 1 block for images of 32x32 or less, down to 8x8.

    Its defaults are made to be binarized: ``block_type=PreBasicBlock, activation=nn.PReLU,
    stem_type="cifar", shortcut="pool", width=16, num_classes=10``.

    Args:
        pretrained: Must be False: no weights are shipped.
        **kwargs: Arguments of :class:`ResNet`; each overrides its default.

    Raises:
        ConfigError: If ``pretrained`` is true, or :class:`ResNet` refuses an argument.

    Example:
        >>> resnet8(in_channels=1, width=32)(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """
    return _resnet(pretrained, {**_CIFAR_DEFAULTS, "layers": (1, 1, 1)}, kwargs)


@_cifar(summary="ResNet-20 for small images, pre-activation, PReLU, shortcuts without weights")
def resnet20(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """Make a network of 3 stages of 3 blocks for small images; see :func:`resnet8`.

    Example:
        >>> resnet20()(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """
    return _resnet(pretrained, {**_CIFAR_DEFAULTS, "layers": (3, 3, 3)}, kwargs)
