"""Networks to binarize, and binary ones as published; see :func:`create` and :func:`list`."""

from bnn.models.alexnet import (
    BinaryAlexNet,
    DoReFaNet,
    XNORNet,
    binary_alexnet,
    dorefanet,
    xnornet,
)
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
from bnn.models.birealnet import BiRealNet, birealnet18, birealnet34
from bnn.models.blocks import BasicBlock, Bottleneck, PreBasicBlock, PreBottleneck
from bnn.models.bnext import BNext, bnext_large, bnext_middle, bnext_small, bnext_tiny
from bnn.models.cifar import (
    CifarResNet,
    VGGSmall,
    cifar_resnet18,
    cifar_resnet20,
    vgg_small,
)
from bnn.models.densenet import (
    BinaryDenseNet,
    binary_densenet28,
    binary_densenet37,
    binary_densenet37_dilated,
    binary_densenet45,
)
from bnn.models.hierarchical import HBlock
from bnn.models.meliusnet import MeliusNet, meliusnet22
from bnn.models.preprocessing import Preprocessing
from bnn.models.quicknet import QuickNet, quicknet, quicknet_large, quicknet_small
from bnn.models.reactnet import (
    ReActNet,
    ReActResNet,
    react_resnet18,
    reactnet_a,
    reactnet_b,
    reactnet_c,
)
from bnn.models.real_to_binary import RealToBinaryNet, real_to_binary_net
from bnn.models.registry import MODELS, Figures, ModelEntry, Published, create

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
from bnn.models.resnet_e import BinaryResNetE, binary_resnet_e18
from bnn.models.stems import BasicStem, CifarStem, DaBNNStem

__all__ = [
    # by name
    "MODELS",
    "ModelEntry",
    "Figures",
    "Published",
    "Preprocessing",
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
    # QuickNet
    "QuickNet",
    "quicknet",
    "quicknet_small",
    "quicknet_large",
    # AlexNet
    "BinaryAlexNet",
    "XNORNet",
    "DoReFaNet",
    "binary_alexnet",
    "xnornet",
    "dorefanet",
    # a shortcut around each convolution
    "BiRealNet",
    "birealnet18",
    "birealnet34",
    "BinaryResNetE",
    "binary_resnet_e18",
    "RealToBinaryNet",
    "real_to_binary_net",
    "ReActResNet",
    "react_resnet18",
    # concatenation
    "BinaryDenseNet",
    "binary_densenet28",
    "binary_densenet37",
    "binary_densenet37_dilated",
    "binary_densenet45",
    "MeliusNet",
    "meliusnet22",
    # MobileNet's shape
    "ReActNet",
    "reactnet_a",
    "reactnet_b",
    "reactnet_c",
    "BNext",
    "bnext_tiny",
    "bnext_small",
    "bnext_middle",
    "bnext_large",
    # images of 32x32
    "CifarResNet",
    "VGGSmall",
    "cifar_resnet18",
    "cifar_resnet20",
    "vgg_small",
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
