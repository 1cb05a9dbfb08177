"""Genotypes: which operations the nodes of a cell apply, and to which earlier states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bnn.errors import ConfigError
from bnn.models.bats.operations import OPERATIONS
from bnn.models.registry import GENOTYPES
from bnn.registry import did_you_mean

#: (operation, state). States 0 and 1 are the cell's inputs; node i adds state i + 2.
Edge = tuple[str, int]


class Genotype(NamedTuple):
    """The two cells of a network.

    Attributes:
        normal: Edges of the cell that keeps the size, two for each node, in order.
        normal_concat: States that this cell concatenates as its output.
        reduce: Edges of the cell that halves the size.
        reduce_concat: States that this cell concatenates as its output.

    Reference:
        The form is that of Liu et al., *DARTS*, ICLR 2019. https://arxiv.org/abs/1806.09055

    Example:
        >>> edges = [("group_conv_3x3", 1), ("skip_connect", 0)]
        >>> check_genotype(Genotype(edges, [2], edges, [2]))
    """

    normal: Sequence[Edge]
    normal_concat: Sequence[int]
    reduce: Sequence[Edge]
    reduce_concat: Sequence[int]


def check_genotype(genotype: Genotype) -> None:
    """Refuse a genotype that no cell can be built from.

    Raises:
        ConfigError: If an operation is unknown, a state does not exist where it is used, or the
            edges are not two for each node. The message names cell, edge and what is allowed.
    """
    if not isinstance(genotype, Genotype):
        raise ConfigError(
            f"genotype must be a bnn.models.Genotype, not {type(genotype).__name__}. "
            f"Names as strings are understood by bnn.models.create."
        )
    _check_cell("normal", genotype.normal, genotype.normal_concat)
    _check_cell("reduce", genotype.reduce, genotype.reduce_concat)


def _check_cell(cell: str, edges: Sequence[Edge], concat: Sequence[int]) -> None:
    if not edges or len(edges) % 2:
        raise ConfigError(f"genotype.{cell} needs two edges for each node, not {len(edges)} edges")
    for i, (operation, state) in enumerate(edges):
        if operation not in OPERATIONS:
            raise ConfigError(
                f"genotype.{cell}[{i}]: no operation {operation!r}."
                f"{did_you_mean(str(operation), OPERATIONS)} Known: {', '.join(OPERATIONS)}"
            )
        node = i // 2
        if not 0 <= state < node + 2:
            raise ConfigError(
                f"genotype.{cell}[{i}]: state {state} is not one of 0 to {node + 1}, the states "
                f"that node {node} can read"
            )
    last = len(edges) // 2 + 1
    if not concat:
        raise ConfigError(f"genotype.{cell}_concat is empty: the cell would have no output")
    for state in concat:
        # States 0 and 1 have another size than the nodes in a reduction cell.
        if not 2 <= state <= last:
            raise ConfigError(
                f"genotype.{cell}_concat: state {state} is not a node of the cell (2 to {last})"
            )


#: Our own cells for small images, made by hand, not found by a search: they are not the cells of
#: the BATS paper and none of its results holds for them. Each node has one grouped convolution;
#: an identity or a pooling beside it keeps real values flowing from input to output.
BATS_CIFAR_DEFAULT = Genotype(
    normal=(
        ("group_conv_3x3", 1),
        ("skip_connect", 0),
        ("group_conv_5x5", 1),
        ("skip_connect", 2),
        ("dil_group_conv_3x3", 2),
        ("skip_connect", 1),
        ("group_conv_3x3", 3),
        ("avg_pool_3x3", 4),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("max_pool_3x3", 0),
        ("group_conv_3x3", 1),
        ("avg_pool_3x3", 1),
        ("group_conv_5x5", 0),
        ("group_conv_3x3", 2),
        ("skip_connect", 3),
        ("dil_group_conv_3x3", 3),
        ("skip_connect", 2),
    ),
    reduce_concat=(2, 3, 4, 5),
)

#: Our own cells for large images, made by hand as :data:`BATS_CIFAR_DEFAULT` and with the same
#: caution: 3x3 convolutions only, since 5x5 ones cost most at this size.
BATS_IMAGENET_DEFAULT = Genotype(
    normal=(
        ("group_conv_3x3", 1),
        ("skip_connect", 0),
        ("group_conv_3x3", 0),
        ("skip_connect", 1),
        ("dil_group_conv_3x3", 2),
        ("group_conv_3x3", 3),
        ("group_conv_3x3", 4),
        ("skip_connect", 2),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("max_pool_3x3", 1),
        ("group_conv_3x3", 0),
        ("avg_pool_3x3", 0),
        ("group_conv_3x3", 1),
        ("dil_group_conv_3x3", 2),
        ("skip_connect", 3),
        ("group_conv_3x3", 4),
        ("skip_connect", 2),
    ),
    reduce_concat=(2, 3, 4, 5),
)

GENOTYPES.register("BATS_CIFAR_DEFAULT")(BATS_CIFAR_DEFAULT)
GENOTYPES.register("BATS_IMAGENET_DEFAULT")(BATS_IMAGENET_DEFAULT)
