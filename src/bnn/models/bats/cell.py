"""The cell: one genotype's graph, built and run."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.models.bats.genotype import Genotype, check_genotype
from bnn.models.bats.operations import FactorizedReduce, NormConvAct, OperationSpec, make_edge
from bnn.models.checks import check_positive
from bnn.models.factories import ActivationFactory, NormFactory


class Cell(nn.Module):
    """A small graph of nodes, each the sum of two operations on earlier states.

    Args:
        genotype: The graph; ``reduction`` chooses which of its two.
        C_prev_prev: Channels of the output of the cell before the previous one.
        C_prev: Channels of the output of the previous cell.
        C: Channels of each state; ``groups`` must divide it.
        reduction: Whether the cell halves the size.
        reduction_prev: Whether the previous cell did, so that ``s0`` is twice as large as ``s1``.
        groups: Groups of the grouped convolutions.
        activation: Makes one activation.
        norm_layer: Makes one norm from a channel count. None means ``nn.BatchNorm2d``.

    Shape:
        - s0: (N, C_prev_prev, H, W), or twice the size (or one less) with ``reduction_prev``.
        - s1: (N, C_prev, H, W).
        - Output: (N, C * states concatenated, H, W), or ceil of half the size with ``reduction``.

    Raises:
        ConfigError: If the genotype is malformed or ``groups`` does not divide ``C``.

    Reference:
        Bulat et al., *BATS: Binary ArchitecTure Search*, ECCV 2020.
        https://arxiv.org/abs/2003.01711

    Example:
        >>> from bnn.models import BATS_CIFAR_DEFAULT
        >>> cell = Cell(BATS_CIFAR_DEFAULT, 8, 8, 4, True, False, groups=2)
        >>> cell(torch.zeros(2, 8, 7, 7), torch.zeros(2, 8, 7, 7)).shape
        torch.Size([2, 16, 4, 4])
    """

    def __init__(
        self,
        genotype: Genotype,
        C_prev_prev: int,  # noqa: N803 - C is the field's word for channels
        C_prev: int,  # noqa: N803
        C: int,  # noqa: N803
        reduction: bool,
        reduction_prev: bool,
        *,
        groups: int = 12,
        activation: ActivationFactory = nn.PReLU,
        norm_layer: NormFactory | None = None,
    ) -> None:
        super().__init__()
        check_genotype(genotype)
        check_positive(C_prev_prev=C_prev_prev, C_prev=C_prev, C=C, groups=groups)
        if C % groups:
            raise ConfigError(f"groups={groups} must divide C={C}; change one of them")
        spec = OperationSpec(
            channels=C,
            stride=1,
            groups=groups,
            activation=activation,
            norm_layer=norm_layer,
        )
        bring = FactorizedReduce if reduction_prev else NormConvAct
        self.preprocess0 = bring(C_prev_prev, spec)
        self.preprocess1 = NormConvAct(C_prev, spec)
        edges = genotype.reduce if reduction else genotype.normal
        self.concat = tuple(genotype.reduce_concat if reduction else genotype.normal_concat)
        self.inputs = tuple(state for _, state in edges)
        self.edges = nn.ModuleList(
            make_edge(operation, spec, stride=2 if reduction and state < 2 else 1)
            for operation, state in edges
        )
        self.out_channels = C * len(self.concat)

    def forward(self, s0: Tensor, s1: Tensor) -> Tensor:
        """Return the concatenated nodes."""
        states: list[Tensor] = [self.preprocess0(s0), self.preprocess1(s1)]
        for i in range(0, len(self.edges), 2):
            first = self.edges[i](states[self.inputs[i]])
            second = self.edges[i + 1](states[self.inputs[i + 1]])
            states.append(first + second)
        return torch.cat([states[i] for i in self.concat], dim=1)
