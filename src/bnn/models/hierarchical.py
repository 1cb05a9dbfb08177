"""Hierarchical block: three receptive fields in one residual block."""

from __future__ import annotations

import torch
from torch import Tensor

from bnn.errors import ConfigError
from bnn.models.registry import BLOCKS
from bnn.models.residual import BlockSpec, PreActivationBlock


@BLOCKS.register("HBlock")
class HBlock(PreActivationBlock):
    """Three 3x3 convolutions in a row, whose outputs are concatenated and added to the shortcut.

    With C output channels the convolutions give C/2, C/4 and C/4 channels, each with norm before
    and activation after it. Compared with a bottleneck it has no 1x1 convolution, which loses most
    when binarized, and every convolution has a short path to the output. Where input and output
    have C channels, the convolutions hold 9 C^2 (1/2 + 1/8 + 1/16) weights.

    The first convolution carries the stride. ``base_width`` other than 64 means nothing here, since
    the widths follow from C, and is refused.

    Args, shapes and the remaining errors: see :class:`bnn.models.residual.ResidualBlock`.

    Raises:
        ConfigError: If ``planes`` is not a multiple of 4, or ``base_width`` is not 64.

    Reference:
        Bulat & Tzimiropoulos, *Hierarchical binary CNNs for landmark localization with limited
        resources*, IEEE TPAMI 2020. https://arxiv.org/abs/1808.04803

    Example:
        >>> HBlock(16, 32, stride=2)(torch.zeros(1, 16, 7, 7)).shape
        torch.Size([1, 32, 4, 4])
    """

    def _build(self, spec: BlockSpec) -> None:
        super()._build(spec)
        if spec.planes % 4:
            raise ConfigError(
                f"HBlock splits its output into C/2, C/4 and C/4 channels, so planes must be a "
                f"multiple of 4, not {spec.planes}"
            )
        if spec.base_width != 64:
            raise ConfigError("HBlock has no inner width: leave width_per_group at 64")
        half, quarter = spec.planes // 2, spec.planes // 4
        self.bn1 = spec.norm(spec.inplanes)
        self.conv1 = spec.conv3x3(spec.inplanes, half, spec.stride)
        self.act1 = spec.act(half)
        self.bn2 = spec.norm(half)
        self.conv2 = spec.conv3x3(half, quarter)
        self.act2 = spec.act(quarter)
        self.bn3 = spec.norm(quarter)
        self.conv3 = spec.conv3x3(quarter, quarter)
        self.act3 = spec.act(quarter)

    def _branch(self, x: Tensor) -> Tensor:
        y1 = self.act1(self.conv1(self.bn1(x)))
        y2 = self.act2(self.conv2(self.bn2(y1)))
        y3 = self.act3(self.conv3(self.bn3(y2)))
        return torch.cat((y1, y2, y3), dim=1)
