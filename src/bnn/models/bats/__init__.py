"""BATS: networks of searched cells whose operations are made for binarization."""

from bnn.models.bats.cell import Cell
from bnn.models.bats.genotype import (
    BATS_CIFAR_DEFAULT,
    BATS_IMAGENET_DEFAULT,
    Genotype,
    check_genotype,
)
from bnn.models.bats.network import (
    BATSNetwork,
    BATSNetworkCIFAR,
    BATSNetworkImageNet,
    bats_cifar,
    bats_imagenet,
)
from bnn.models.bats.operations import OPERATIONS, DropPath, FactorizedReduce

__all__ = [
    "BATS_CIFAR_DEFAULT",
    "BATS_IMAGENET_DEFAULT",
    "OPERATIONS",
    "BATSNetwork",
    "BATSNetworkCIFAR",
    "BATSNetworkImageNet",
    "Cell",
    "DropPath",
    "FactorizedReduce",
    "Genotype",
    "bats_cifar",
    "bats_imagenet",
    "check_genotype",
]
