"""The networks that are measured, each as a float and as a binarized model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnn import BConfig, prepare_binary_model
from bnn.layers import BinaryLayer
from bnn.models import PreBasicBlock, resnet18, resnet20
from bnn.ops import BasicInputBinarizer, XNORWeightBinarizer

CONFIG = BConfig(BasicInputBinarizer, weight_pre_process=XNORWeightBinarizer)
SETTLING_IMAGES = 4


@dataclass(frozen=True)
class Network:
    """A network and what stays in float.

    Attributes:
        name: As in the tables.
        make: Makes the float model.
        size: Height and width of its images.
        floats: Further layers that stay in float, as ``prepare_binary_model`` takes them.
        large: Whether it is one of those for which speed was promised.
    """

    name: str
    make: Callable[[], nn.Module]
    size: int
    floats: tuple[str, ...] = ()
    large: bool = False

    def models(self) -> tuple[nn.Module, nn.Module]:
        """Return the float model and the binary one, in evaluation mode, with random weights."""
        torch.manual_seed(0)
        float_model = self.make()
        binary_model = prepare_binary_model(
            copy.deepcopy(float_model),
            CONFIG,
            ignore_layers_name=["_first_", "_last_", *self.floats],
        )
        images = self.images(SETTLING_IMAGES, seed=1)
        return settle_(float_model, images), settle_(binary_model, images)

    def images(self, count: int, seed: int = 0) -> Tensor:
        """Return random images, ``(count, 3, size, size)``."""
        return random_images(self.size, count, seed)


def random_images(size: int, count: int, seed: int = 0) -> Tensor:
    """Return ``(count, 3, size, size)``.

    They have blobs of some pixels, so that averages over an image differ between images too.
    """
    random = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 4, 4, generator=random)
    fine = torch.randn(count, 3, size, size, generator=random)
    return nn.functional.interpolate(coarse, size=(size, size)) + fine


def vgg_small(num_classes: int = 10) -> nn.Module:
    """Make the VGG-small of papers on binary networks: six convolutions and a classifier.

    The order is theirs too: convolution, pooling, batch norm, hard tanh, and then the next layer's
    sign. The first convolution and the classifier usually stay in float.

    Reference:
        Zhang et al., *LQ-Nets*, ECCV 2018. https://arxiv.org/abs/1807.10029
    """
    steps: list[nn.Module] = []
    channels = 3
    for width in (128, 256, 512):
        for pooled in (False, True):
            steps.append(nn.Conv2d(channels, width, 3, padding=1, bias=False))
            if pooled:
                steps.append(nn.MaxPool2d(2))
            steps += [nn.BatchNorm2d(width), nn.Hardtanh()]
            channels = width
    return nn.Sequential(*steps, nn.Flatten(), nn.Linear(512 * 4 * 4, num_classes))


def settle_(model: nn.Module, images: Tensor) -> nn.Module:
    """Give batch norms and PReLUs the state of a trained network's; return the model, evaluating.

    Scales, shifts and slopes are random; means and variances are those of the images, so that the
    values before each sign lie on both sides of 0.
    """
    random = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            if module.weight is not None:
                nn.init.uniform_(module.weight, 0.5, 1.5, generator=random)
            if module.bias is not None:
                nn.init.normal_(module.bias, 0.0, 0.2, generator=random)
            module.momentum = None  # the mean over all batches, of which there is one
        elif isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, 0.05, 0.5, generator=random)
    with torch.no_grad():
        model.train()(images)
    return model.eval()


@torch.no_grad()
def negative_share(model: nn.Module, images: Tensor) -> float:
    """Return the share of negative values among the inputs of all binary layers."""
    negative = total = 0

    def count(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal negative, total
        negative += int((inputs[0] < 0).sum())
        total += inputs[0].numel()

    layers = [module for module in model.modules() if isinstance(module, BinaryLayer)]
    hooks = [layer.register_forward_pre_hook(count) for layer in layers]
    model(images)
    for hook in hooks:
        hook.remove()
    return negative / max(total, 1)


def _resnet18_prelu() -> nn.Module:
    return resnet18(block_type=PreBasicBlock, activation=nn.PReLU, stem_type="dabnn")


NETWORKS = (
    Network("resnet18 BasicBlock", resnet18, 224, ("$downsample$",), large=True),
    Network(
        "resnet18 PreBasicBlock PReLU dabnn",
        _resnet18_prelu,
        224,
        ("$downsample$", "$^stem_$"),
        large=True,
    ),
    Network("VGG-small", vgg_small, 32),
    Network("ResNet-20", resnet20, 32),
)
