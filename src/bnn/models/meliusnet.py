"""MeliusNet: dense blocks that add channels, each followed by one that improves the newest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.models.checks import check_positive
from bnn.models.concat import DenseImprovementPair, PooledClassifier, transition
from bnn.models.grid import Grid
from bnn.models.initialize import initialize_, initialize_latent_
from bnn.models.norms import batch_norm
from bnn.models.preprocessing import IMAGENET_LARQ
from bnn.models.registry import Figures, Published, register_model


class MeliusNet(nn.Module):
    """Grouped stem, stages of dense and improvement blocks, float transitions, classifier.

    Args:
        blocks: Pairs of a dense and an improvement block in each stage.
        transitions: Channels behind each stage but the last.
        num_classes: Outputs.
        in_channels: Channels of the image.
        growth: Channels that a dense block adds, and that an improvement block improves.
        input_size: The image's height and width, which only ``padding="tf"`` needs.
        padding: ``"torch"``, or ``"tf"`` for weights that were trained with Larq, see
            :class:`bnn.models.grid.Grid`.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, num_classes).

    Raises:
        ConfigError: If an argument is out of range.

    Reference:
        Bethge et al., *MeliusNet: Can Binary Neural Networks Achieve MobileNet-level Accuracy?*,
        2020. https://arxiv.org/abs/2001.05936

    Example:
        >>> import torch
        >>> MeliusNet((1, 1), (64,), 5)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        blocks: Sequence[int] = (4, 5, 4, 4),
        transitions: Sequence[int] = (160, 224, 256),
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        growth: int = 64,
        input_size: int | Sequence[int] = 224,
        padding: str = "torch",
    ) -> None:
        super().__init__()
        self.padding = padding
        check_positive(num_classes=num_classes, in_channels=in_channels, growth=growth)
        if not blocks or len(transitions) != len(blocks) - 1:
            raise ConfigError(
                f"transitions must be one less than the stages of blocks, not {len(transitions)} "
                f"for {len(blocks)}"
            )
        for count in (*blocks, *transitions):
            check_positive(**{"blocks and transitions": count})
        self.stem, grid, channels = _grouped_stem(in_channels, Grid.of(input_size, padding))
        stages: list[nn.Module] = []
        for i, count in enumerate(blocks):
            stage = nn.Sequential()
            for _ in range(count):
                stage.append(DenseImprovementPair(channels, growth, grid))
                channels += growth
            if i < len(transitions):
                stage.append(transition(channels, transitions[i], pool=True))
                channels, grid = transitions[i], grid.strided(2)
            stages.append(stage)
        self.stages = nn.Sequential(*stages)
        self.head = PooledClassifier(channels, num_classes)
        initialize_(self)
        initialize_latent_(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.stages(self.stem(x)))
        return logits


def _grouped_stem(in_channels: int, grid: Grid) -> tuple[nn.Sequential, Grid, int]:
    """Return three 3x3 convolutions, the later ones grouped, that cost half of a 7x7 one."""
    half = grid.strided(2)
    steps: list[nn.Module] = []
    for conv, channels in (
        (grid.conv(in_channels, 32, 3, 2), 32),
        (half.conv(32, 32, 3, groups=4), 32),
        (half.conv(32, 64, 3, groups=8), 64),
    ):
        steps += [conv, batch_norm(channels), nn.ReLU()]
    return nn.Sequential(*steps, half.max_pool(2, 2)), half.strided(2), 64


@register_model(
    network=MeliusNet,
    input_shape=(3, 224, 224),
    num_classes=1000,
    paper="https://arxiv.org/abs/2001.05936",
    summary="MeliusNet-22, stages of 4, 5, 4, 4 pairs of blocks",
    tiny={
        "blocks": (1, 1),
        "transitions": (64,),
        "growth": 32,
        "num_classes": 5,
        "input_size": 32,
    },
    tiny_shape=(3, 32, 32),
    figures=Figures(params=6_944_584, bytes=4_065_568, macs={1: 4_624_220_160, 32: 136_388_608}),
    published=Published(top1=62.4, top5=83.9),
    preprocessing=IMAGENET_LARQ,
)
def meliusnet22(**kwargs: Any) -> MeliusNet:
    """Make a MeliusNet-22; any argument of :class:`MeliusNet` can be given by keyword.

    Example:
        >>> meliusnet22(num_classes=10).head[-1]
        Linear(in_features=512, out_features=10, bias=True)
    """
    return MeliusNet(**kwargs)
