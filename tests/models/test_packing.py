"""Every binary network packs, agrees with its packed form, and goes through a file."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import bnn
from bnn.layers import BinaryLayer
from bnn.models import MODELS, create

IMAGES = 256


def is_binary(model: nn.Module) -> bool:
    return any(isinstance(module, BinaryLayer) for module in model.modules())


def balance(model: nn.Module, x: torch.Tensor) -> None:
    """Move the classifier's bias, so that not every image has the same answer."""
    classifier = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    if classifier.bias is not None:
        with torch.no_grad():
            classifier.bias -= model(x).mean(0)


# Those whose small instances differ.
TINY = {str(create(name, **MODELS[name].tiny)): name for name in reversed(list(MODELS))}
BINARY = [name for name in TINY.values() if is_binary(create(name, **MODELS[name].tiny))]


@pytest.mark.parametrize("name", BINARY)
def test_packs_without_a_rest_and_agrees(name, calibrate, tmp_path):
    entry = MODELS[name]
    torch.manual_seed(0)
    model = create(name, **entry.tiny)
    x = torch.randn(IMAGES, *entry.tiny_shape)
    calibrate(model, x)
    balance(model, x)
    packed = bnn.pack(model, x[:2])
    assert packed.report.how == "graph"
    assert not packed.report.emulated
    assert not packed.report.opaque
    layers = [n for n, m in model.named_modules() if isinstance(m, BinaryLayer)]
    assert sorted(packed.report.binary) == sorted(layers)
    agreement = bnn.verify(model, packed, x)
    assert agreement.identical
    assert agreement.top1 == agreement.samples == IMAGES
    packed.save(tmp_path / "net.bnn")
    loaded = bnn.load(tmp_path / "net.bnn")
    assert torch.equal(loaded(x), packed(x))
    answers = packed(x).argmax(1)
    assert answers.unique().numel() > 1, "every image has the same answer"


@pytest.mark.parametrize("name", ["quicknet", "binary_resnet_e18", "xnornet", "meliusnet22"])
def test_packs_with_tensorflow_padding(name, calibrate):
    entry = MODELS[name]
    torch.manual_seed(0)
    model = create(name, **entry.tiny, padding="tf")
    x = torch.randn(8, *entry.tiny_shape)
    calibrate(model, x)
    packed = bnn.pack(model, x[:1])
    assert packed.report.can_be_saved
    agreement = bnn.verify(model, packed, x)
    assert agreement.identical
    assert agreement.top1 == 8
