"""The two networks made of BATS cells."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.models.bats.cell import Cell
from bnn.models.bats.genotype import BATS_CIFAR_DEFAULT, BATS_IMAGENET_DEFAULT, Genotype
from bnn.models.bats.operations import DropPath
from bnn.models.checks import check_positive
from bnn.models.factories import ActivationFactory, NormFactory, make_activation, make_norm
from bnn.models.initialize import initialize_
from bnn.models.registry import register_model

_PAPER = "https://arxiv.org/abs/2003.01711"


class Stems(NamedTuple):
    """What stands before the first cell.

    Attributes:
        first: Makes ``s0`` of the image.
        second: Makes ``s1`` of ``s0``.
        channels: Channels of ``s0`` and ``s1``.
        reduces: Whether ``second`` halves the size.
    """

    first: nn.Module
    second: nn.Module
    channels: tuple[int, int]
    reduces: bool


class AuxiliaryHead(nn.Sequential):
    """A second classifier in the middle of the network, for training only.

    Shape:
        - Input: (N, in_channels, H, W), any size.
        - Output: (N, num_classes).
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        activation: ActivationFactory,
        norm_layer: NormFactory | None,
    ) -> None:
        super().__init__(
            nn.AdaptiveAvgPool2d(2),
            make_norm(norm_layer, in_channels),
            nn.Conv2d(in_channels, 128, 1, bias=False),
            make_activation(activation, 128),
            make_norm(norm_layer, 128),
            nn.Conv2d(128, 768, 2, bias=False),
            make_activation(activation, 768),
            nn.Flatten(),
            nn.Linear(768, num_classes),
        )


class BATSNetwork(nn.Module):
    """Stems, cells, average pooling and a linear classifier: base of the two networks below.

    A third and two thirds of the way, a cell halves the size and doubles the channels.

    Args:
        C: Channels of each state in the first cells; ``groups`` must divide it.
        num_classes: Outputs of the classifier.
        layers: Cells.
        auxiliary: Whether to add a second classifier two thirds of the way, see Returns.
        genotype: The cells. The defaults are ours, made by hand; they are not the paper's.
        in_channels: Channels of the image.
        groups: Groups of the grouped convolutions.
        activation: Makes one activation.
        norm_layer: Makes one norm from a channel count. None means ``nn.BatchNorm2d``.
        drop_path_prob: Probability to drop an edge of a sample; can be set later, as a schedule
            does.

    Returns:
        Logits of shape (N, num_classes). In training mode with ``auxiliary``: a pair of them, the
        network's and the second classifier's.

    Raises:
        ConfigError: If an argument is out of range or the genotype is malformed.
    """

    def __init__(
        self,
        C: int,  # noqa: N803
        num_classes: int,
        layers: int,
        auxiliary: bool,
        genotype: Genotype,
        *,
        in_channels: int = 3,
        groups: int = 12,
        activation: ActivationFactory = nn.PReLU,
        norm_layer: NormFactory | None = None,
        drop_path_prob: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive(C=C, num_classes=num_classes, layers=layers, in_channels=in_channels)
        stems = self._make_stems(in_channels, C, activation, norm_layer)
        self.stem0, self.stem1 = stems.first, stems.second
        (before_last, last), reduced = stems.channels, stems.reduces
        reductions, middle = {layers // 3, 2 * layers // 3}, 2 * layers // 3
        self.cells = nn.ModuleList()
        self.auxiliary_head: AuxiliaryHead | None = None
        for i in range(layers):
            reduction = i in reductions
            C = 2 * C if reduction else C  # noqa: N806
            cell = Cell(
                genotype,
                before_last,
                last,
                C,
                reduction,
                reduced,
                groups=groups,
                activation=activation,
                norm_layer=norm_layer,
            )
            self.cells.append(cell)
            before_last, last, reduced = last, cell.out_channels, reduction
            if auxiliary and i == middle:
                self.auxiliary_head = AuxiliaryHead(last, num_classes, activation, norm_layer)
        self._auxiliary_after = middle
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(last, num_classes)
        # Most convolutions here take many more channels than they give: with fan-out the states
        # would start several times too large.
        initialize_(self, mode="fan_in")
        self.drop_path_prob = drop_path_prob

    @staticmethod
    def _make_stems(
        in_channels: int,
        C: int,  # noqa: N803
        activation: ActivationFactory,
        norm_layer: NormFactory | None,
    ) -> Stems:
        raise NotImplementedError

    @property
    def drop_path_prob(self) -> float:
        """Probability with which each edge, except an identity, is dropped for a sample."""
        return self._drop_path_prob

    @drop_path_prob.setter
    def drop_path_prob(self, value: float) -> None:
        if not 0.0 <= value < 1.0:
            raise ConfigError(f"drop_path_prob must be at least 0 and less than 1, not {value}")
        self._drop_path_prob = float(value)
        for module in self.modules():
            if isinstance(module, DropPath):
                module.p = self._drop_path_prob

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return the logits, or a pair of logits, see the class."""
        s0 = self.stem0(x)
        s1 = self.stem1(s0)
        auxiliary: Tensor | None = None
        for i, cell in enumerate(self.cells):
            s0, s1 = s1, cell(s0, s1)
            if i == self._auxiliary_after and self.auxiliary_head is not None and self.training:
                auxiliary = self.auxiliary_head(s1)
        logits: Tensor = self.fc(torch.flatten(self.avgpool(s1), 1))
        return logits if auxiliary is None else (logits, auxiliary)


class BATSNetworkCIFAR(BATSNetwork):
    """BATS network for images of about 32x32: a 3x3 stem that keeps the size, then cells.

    Args, returns and errors: see :class:`BATSNetwork`. The default genotype,
    ``BATS_CIFAR_DEFAULT``, is ours, made by hand; it is not the one that the paper found.

    Shape:
        - Input: (N, in_channels, H, W), any size.
        - Output: (N, num_classes).

    Reference:
        Bulat et al., *BATS: Binary ArchitecTure Search*, ECCV 2020.
        https://arxiv.org/abs/2003.01711

    Example:
        >>> net = BATSNetworkCIFAR(C=4, layers=3, groups=2)
        >>> net.drop_path_prob = 0.2
        >>> net(torch.zeros(2, 3, 9, 9)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        C: int = 36,  # noqa: N803
        num_classes: int = 10,
        layers: int = 20,
        auxiliary: bool = False,
        genotype: Genotype = BATS_CIFAR_DEFAULT,
        **kwargs: Any,
    ) -> None:
        super().__init__(C, num_classes, layers, auxiliary, genotype, **kwargs)

    @staticmethod
    def _make_stems(
        in_channels: int,
        C: int,  # noqa: N803
        activation: ActivationFactory,  # noqa: ARG004 - the cells begin with norm and convolution
        norm_layer: NormFactory | None,
    ) -> Stems:
        conv = nn.Conv2d(in_channels, 3 * C, 3, padding=1, bias=False)
        first = nn.Sequential(conv, make_norm(norm_layer, 3 * C))
        return Stems(first, nn.Identity(), (3 * C, 3 * C), reduces=False)


class BATSNetworkImageNet(BATSNetwork):
    """BATS network for images of about 224x224: stems that reduce the size eightfold, then cells.

    Args, returns and errors: see :class:`BATSNetwork`. The default genotype,
    ``BATS_IMAGENET_DEFAULT``, is ours, made by hand; it is not the one that the paper found.

    Shape:
        - Input: (N, in_channels, H, W), any size.
        - Output: (N, num_classes).

    Reference:
        Bulat et al., *BATS: Binary ArchitecTure Search*, ECCV 2020.
        https://arxiv.org/abs/2003.01711

    Example:
        >>> net = BATSNetworkImageNet(C=4, num_classes=5, layers=3, groups=2, auxiliary=True)
        >>> logits, auxiliary = net(torch.zeros(2, 3, 65, 65))
        >>> net.eval()(torch.zeros(2, 3, 65, 65)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        C: int = 48,  # noqa: N803
        num_classes: int = 1000,
        layers: int = 14,
        auxiliary: bool = False,
        genotype: Genotype = BATS_IMAGENET_DEFAULT,
        **kwargs: Any,
    ) -> None:
        super().__init__(C, num_classes, layers, auxiliary, genotype, **kwargs)

    @staticmethod
    def _make_stems(
        in_channels: int,
        C: int,  # noqa: N803
        activation: ActivationFactory,
        norm_layer: NormFactory | None,
    ) -> Stems:
        half = max(C // 2, 1)
        stem0 = nn.Sequential(
            nn.Conv2d(in_channels, half, 3, stride=2, padding=1, bias=False),
            make_norm(norm_layer, half),
            make_activation(activation, half),
            nn.Conv2d(half, C, 3, stride=2, padding=1, bias=False),
            make_norm(norm_layer, C),
        )
        stem1 = nn.Sequential(
            make_activation(activation, C),
            nn.Conv2d(C, C, 3, stride=2, padding=1, bias=False),
            make_norm(norm_layer, C),
        )
        return Stems(stem0, stem1, (C, C), reduces=True)


@register_model(
    network=BATSNetwork,
    input_shape=(3, 32, 32),
    num_classes=10,
    paper=_PAPER,
    summary="BATS for small images, 20 cells of our own genotype",
    tiny={"C": 4, "layers": 3, "groups": 2, "num_classes": 5},
    tiny_shape=(3, 16, 16),
)
def bats_cifar(**kwargs: Any) -> BATSNetworkCIFAR:
    """Make a :class:`BATSNetworkCIFAR` from its own arguments.

    Example:
        >>> bats_cifar(C=12, layers=3)(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """
    return BATSNetworkCIFAR(**kwargs)


@register_model(
    network=BATSNetwork,
    input_shape=(3, 224, 224),
    num_classes=1000,
    paper=_PAPER,
    summary="BATS for large images, 14 cells of our own genotype",
    tiny={"C": 4, "layers": 3, "groups": 2, "num_classes": 5},
    tiny_shape=(3, 64, 64),
)
def bats_imagenet(**kwargs: Any) -> BATSNetworkImageNet:
    """Make a :class:`BATSNetworkImageNet` from its own arguments.

    Example:
        >>> bats_imagenet(C=12, layers=3).eval()(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 1000])
    """
    return BATSNetworkImageNet(**kwargs)
