"""BinaryDenseNet: dense connections instead of residual ones."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.models.checks import check_positive
from bnn.models.concat import DenseBlock, PooledClassifier, transition
from bnn.models.grid import Grid
from bnn.models.initialize import initialize_, initialize_latent_
from bnn.models.norms import batch_norm
from bnn.models.preprocessing import IMAGENET_LARQ
from bnn.models.registry import Figures, Published, register_model


class BinaryDenseNet(nn.Module):
    """Stem, stages of dense blocks, float transitions that reduce the channels, classifier.

    Args:
        layers: Dense blocks of each stage.
        reduction: By how much each transition, one less than stages, divides the channels; the
            result is rounded to a multiple of 32.
        dilation: Dilation of each stage's convolutions; a transition to a dilated stage keeps the
            size.
        num_classes: Outputs.
        in_channels: Channels of the image.
        width: Channels of the stem.
        growth: Channels that each block adds.
        input_size: The image's height and width, which only ``padding="tf"`` needs.
        padding: ``"torch"``, or ``"tf"`` for weights that were trained with Larq, see
            :class:`bnn.models.grid.Grid`.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, num_classes).

    Raises:
        ConfigError: If an argument is out of range.

    Reference:
        Bethge et al., *Back to Simplicity*, 2019. https://arxiv.org/abs/1906.08637

    Example:
        >>> import torch
        >>> net = BinaryDenseNet((2, 1), (2.0,), (1, 1), 5)
        >>> net(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        layers: Sequence[int] = (6, 6, 6, 5),
        reduction: Sequence[float] = (2.7, 2.7, 2.2),
        dilation: Sequence[int] = (1, 1, 1, 1),
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        width: int = 64,
        growth: int = 64,
        input_size: int | Sequence[int] = 224,
        padding: str = "torch",
    ) -> None:
        super().__init__()
        self.padding = padding
        check_positive(num_classes=num_classes, in_channels=in_channels, width=width, growth=growth)
        _check_stages(layers, reduction, dilation)
        grid = Grid.of(input_size, padding)
        half = grid.strided(2)
        self.stem = nn.Sequential(
            grid.conv(in_channels, width, 7, 2), batch_norm(width), nn.ReLU(), half.max_pool(3, 2)
        )
        grid = half.strided(2)
        stages: list[nn.Module] = []
        channels = width
        for i, count in enumerate(layers):
            stage = nn.Sequential()
            for _ in range(count):
                stage.append(DenseBlock(channels, growth, grid, dilation[i]))
                channels += growth
            if i + 1 < len(layers):
                pool = dilation[i + 1] == 1
                reduced = max(round(channels // reduction[i] / 32), 1) * 32
                stage.append(transition(channels, reduced, pool=pool))
                grid = grid.strided(2) if pool else grid
                channels = reduced
            stages.append(stage)
        self.stages = nn.Sequential(*stages)
        self.head = PooledClassifier(channels, num_classes)
        initialize_(self)
        initialize_latent_(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.stages(self.stem(x)))
        return logits


def _check_stages(
    layers: Sequence[int], reduction: Sequence[float], dilation: Sequence[int]
) -> None:
    if not layers or len(reduction) != len(layers) - 1 or len(dilation) != len(layers):
        raise ConfigError(
            f"{len(layers)} stages of layers need as many dilations and one reduction less, at "
            f"least one stage; got {len(dilation)} and {len(reduction)}"
        )
    for count, spacing in zip(layers, dilation, strict=True):
        check_positive(layers=count, dilation=spacing)
    if any(not factor >= 1 for factor in reduction):
        raise ConfigError(f"reduction must hold numbers of at least 1, not {tuple(reduction)!r}")


_TINY: dict[str, Any] = {
    "layers": (2, 1),
    "reduction": (2.0,),
    "dilation": (1, 1),
    "width": 32,
    "growth": 32,
    "num_classes": 5,
    "input_size": 32,
}
_register = functools.partial(
    register_model,
    network=BinaryDenseNet,
    input_shape=(3, 224, 224),
    num_classes=1000,
    paper="https://arxiv.org/abs/1906.08637",
    tiny=_TINY,
    tiny_shape=(3, 32, 32),
    preprocessing=IMAGENET_LARQ,
)


@_register(
    summary="BinaryDenseNet-28, stages of 6, 6, 6, 5 dense blocks",
    figures=Figures(params=5_131_496, bytes=4_241_312, macs={1: 3_587_383_296, 32: 202_484_224}),
    published=Published(top1=60.91, top5=82.83),
)
def binary_densenet28(**kwargs: Any) -> BinaryDenseNet:
    """Make a BinaryDenseNet-28; any argument of :class:`BinaryDenseNet` goes by keyword.

    Example:
        >>> binary_densenet28(num_classes=10).head[-1]
        Linear(in_features=576, out_features=10, bias=True)
    """
    return BinaryDenseNet(**kwargs)


_LAYERS_37: dict[str, Any] = {"layers": (6, 8, 12, 6), "reduction": (3.3, 3.3, 4)}


@_register(
    summary="BinaryDenseNet-37, stages of 6, 8, 12, 6 dense blocks",
    figures=Figures(params=8_702_248, bytes=5_382_304, macs={1: 4_506_808_320, 32: 199_738_368}),
    published=Published(top1=62.89, top5=84.19),
)
def binary_densenet37(**kwargs: Any) -> BinaryDenseNet:
    """Make a BinaryDenseNet-37; see :func:`binary_densenet28`.

    Example:
        >>> binary_densenet37(num_classes=10).head[-1]
        Linear(in_features=640, out_features=10, bias=True)
    """
    return BinaryDenseNet(**{**_LAYERS_37, **kwargs})


@_register(
    summary="BinaryDenseNet-37 with dilation instead of the last two poolings",
    figures=Figures(params=8_702_248, bytes=5_382_304, macs={1: 7_774_470_144, 32: 452_625_408}),
    published=Published(top1=64.34, top5=85.15),
    tiny={**_TINY, "dilation": (1, 2)},
)
def binary_densenet37_dilated(**kwargs: Any) -> BinaryDenseNet:
    """Make a BinaryDenseNet-37 of dilated convolutions; see :func:`binary_densenet28`.

    Example:
        >>> binary_densenet37_dilated(num_classes=10).stages[3][0].conv.dilation
        (4, 4)
    """
    return BinaryDenseNet(**{**_LAYERS_37, "dilation": (1, 1, 2, 4), **kwargs})


@_register(
    summary="BinaryDenseNet-45, stages of 6, 12, 14, 8 dense blocks",
    figures=Figures(params=13_889_512, bytes=7_703_968, macs={1: 6_430_556_160, 32: 244_103_424}),
    published=Published(top1=64.59, top5=85.21),
)
def binary_densenet45(**kwargs: Any) -> BinaryDenseNet:
    """Make a BinaryDenseNet-45; see :func:`binary_densenet28`.

    Example:
        >>> binary_densenet45(num_classes=10).head[-1]
        Linear(in_features=800, out_features=10, bias=True)
    """
    return BinaryDenseNet(**{"layers": (6, 12, 14, 8), "reduction": (2.7, 3.3, 4), **kwargs})
