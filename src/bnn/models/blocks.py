"""Residual blocks: the order of norm, convolution and activation, and nothing else.

===============  ==========================================  =======================================
Block            Branch                                      Result
===============  ==========================================  =======================================
BasicBlock       conv norm act, conv norm                    act(branch + shortcut)
Bottleneck       conv norm act, conv norm act, conv norm     act(branch + shortcut)
PreBasicBlock    norm conv act, norm conv act                branch + shortcut
PreBottleneck    norm conv act, norm conv act, norm conv act branch + shortcut
===============  ==========================================  =======================================

Once binarized, each convolution takes the sign of its input. In the ``Pre`` blocks a norm has just
centred that input, so both signs occur; this is the order of XNOR-Net.
"""

from __future__ import annotations

from torch import Tensor

from bnn.models.registry import BLOCKS
from bnn.models.residual import BlockSpec, PreActivationBlock, ResidualBlock, zero_norm_


@BLOCKS.register("BasicBlock")
class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions, activation after the sum: the block of ResNet-18 and -34.

    Mind the sign. With ReLU, the block's output has no negative value, and a binary convolution
    that takes the sign of it sees +1 everywhere and learns nothing from its input. To binarize,
    prefer :class:`PreBasicBlock`, or at least ``activation=nn.PReLU``.

    Reference:
        He et al., *Deep Residual Learning*, CVPR 2016. https://arxiv.org/abs/1512.03385

    Example:
        >>> import torch
        >>> BasicBlock(16, 32, stride=2, activation=torch.nn.PReLU)(torch.zeros(1, 16, 7, 7)).shape
        torch.Size([1, 32, 4, 4])
    """

    def _build(self, spec: BlockSpec) -> None:
        self.conv1 = spec.conv3x3(spec.inplanes, spec.width, spec.stride)
        self.bn1 = spec.norm(spec.width)
        self.act1 = spec.act(spec.width)
        self.conv2 = spec.conv3x3(spec.width, spec.planes)
        self.bn2 = spec.norm(spec.planes)
        self.act2 = spec.act(spec.planes)

    def zero_init_residual_(self) -> None:
        """Set the weight of the last norm to zero."""
        zero_norm_(self.bn2)

    def forward(self, x: Tensor) -> Tensor:
        """Return act(branch + shortcut)."""
        y = self.act1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: Tensor = self.act2(y + self._shortcut(x))
        return out


@BLOCKS.register("Bottleneck")
class Bottleneck(ResidualBlock):
    """1x1, 3x3 and 1x1 convolution, activation after the sum: the block of ResNet-50 and deeper.

    The stride is in the 3x3 convolution. The warning in :class:`BasicBlock` about ReLU before a
    sign holds here too: to binarize, prefer :class:`PreBottleneck`.

    Reference:
        He et al., *Deep Residual Learning*, CVPR 2016. https://arxiv.org/abs/1512.03385

    Example:
        >>> import torch
        >>> Bottleneck(64, 16)(torch.zeros(1, 64, 7, 7)).shape
        torch.Size([1, 64, 7, 7])
    """

    expansion = 4

    def _build(self, spec: BlockSpec) -> None:
        out_channels = spec.planes * self.expansion
        self.conv1 = spec.conv1x1(spec.inplanes, spec.width)
        self.bn1 = spec.norm(spec.width)
        self.act1 = spec.act(spec.width)
        self.conv2 = spec.conv3x3(spec.width, spec.width, spec.stride)
        self.bn2 = spec.norm(spec.width)
        self.act2 = spec.act(spec.width)
        self.conv3 = spec.conv1x1(spec.width, out_channels)
        self.bn3 = spec.norm(out_channels)
        self.act3 = spec.act(out_channels)

    def zero_init_residual_(self) -> None:
        """Set the weight of the last norm to zero."""
        zero_norm_(self.bn3)

    def forward(self, x: Tensor) -> Tensor:
        """Return act(branch + shortcut)."""
        y = self.act1(self.bn1(self.conv1(x)))
        y = self.act2(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        out: Tensor = self.act3(y + self._shortcut(x))
        return out


@BLOCKS.register("PreBasicBlock")
class PreBasicBlock(PreActivationBlock):
    """Two times norm, 3x3 convolution, activation; nothing after the sum.

    Binarization puts the sign between norm and convolution, where XNOR-Net has it.

    Reference:
        Rastegari et al., *XNOR-Net*, ECCV 2016. https://arxiv.org/abs/1603.05279

    Example:
        >>> import torch
        >>> PreBasicBlock(16, 32, stride=2, shortcut="pool")(torch.zeros(1, 16, 7, 7)).shape
        torch.Size([1, 32, 4, 4])
    """

    def _build(self, spec: BlockSpec) -> None:
        super()._build(spec)
        self.bn1 = spec.norm(spec.inplanes)
        self.conv1 = spec.conv3x3(spec.inplanes, spec.width, spec.stride)
        self.act1 = spec.act(spec.width)
        self.bn2 = spec.norm(spec.width)
        self.conv2 = spec.conv3x3(spec.width, spec.planes)
        self.act2 = spec.act(spec.planes)

    def _branch(self, x: Tensor) -> Tensor:
        y = self.act1(self.conv1(self.bn1(x)))
        out: Tensor = self.act2(self.conv2(self.bn2(y)))
        return out


@BLOCKS.register("PreBottleneck")
class PreBottleneck(PreActivationBlock):
    """Norm, convolution, activation for a 1x1, a 3x3 and a 1x1 convolution; nothing after the sum.

    The stride is in the 3x3 convolution.

    Reference:
        Rastegari et al., *XNOR-Net*, ECCV 2016. https://arxiv.org/abs/1603.05279 (the order);
        He et al., *Identity Mappings in Deep Residual Networks*, ECCV 2016.
        https://arxiv.org/abs/1603.05027

    Example:
        >>> import torch
        >>> PreBottleneck(32, 16, stride=2)(torch.zeros(1, 32, 7, 7)).shape
        torch.Size([1, 64, 4, 4])
    """

    expansion = 4

    def _build(self, spec: BlockSpec) -> None:
        super()._build(spec)
        out_channels = spec.planes * self.expansion
        self.bn1 = spec.norm(spec.inplanes)
        self.conv1 = spec.conv1x1(spec.inplanes, spec.width)
        self.act1 = spec.act(spec.width)
        self.bn2 = spec.norm(spec.width)
        self.conv2 = spec.conv3x3(spec.width, spec.width, spec.stride)
        self.act2 = spec.act(spec.width)
        self.bn3 = spec.norm(spec.width)
        self.conv3 = spec.conv1x1(spec.width, out_channels)
        self.act3 = spec.act(out_channels)

    def _branch(self, x: Tensor) -> Tensor:
        y = self.act1(self.conv1(self.bn1(x)))
        y = self.act2(self.conv2(self.bn2(y)))
        out: Tensor = self.act3(self.conv3(self.bn3(y)))
        return out
