"""Float networks that are made to be binarized; see :func:`create` and :func:`list`."""

from bnn.models.bats import (
    BATS_CIFAR_DEFAULT,
    BATS_IMAGENET_DEFAULT,
    BATSNetworkCIFAR,
    BATSNetworkImageNet,
    Cell,
    Genotype,
    bats_cifar,
    bats_imagenet,
)
from bnn.models.blocks import BasicBlock, Bottleneck, PreBasicBlock, PreBottleneck
from bnn.models.hierarchical import HBlock
from bnn.models.registry import MODELS, ModelEntry, create

# Not in __all__: a star import must not replace the builtin.
from bnn.models.registry import list as list  # noqa: A004
from bnn.models.residual import ResidualBlock
from bnn.models.resnet import (
    ResNet,
    resnet8,
    resnet18,
    resnet20,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
)
from bnn.models.stems import BasicStem, CifarStem, DaBNNStem

__all__ = [
    # by name
    "MODELS",
    "ModelEntry",
    "create",
    # residual networks
    "ResNet",
    "resnet8",
    "resnet18",
    "resnet20",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    # binary architecture search
    "BATSNetworkCIFAR",
    "BATSNetworkImageNet",
    "bats_cifar",
    "bats_imagenet",
    "Cell",
    "Genotype",
    "BATS_CIFAR_DEFAULT",
    "BATS_IMAGENET_DEFAULT",
    # blocks
    "ResidualBlock",
    "BasicBlock",
    "Bottleneck",
    "PreBasicBlock",
    "PreBottleneck",
    "HBlock",
    # stems
    "BasicStem",
    "CifarStem",
    "DaBNNStem",
]
