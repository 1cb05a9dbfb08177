"""Stems: sizes, activations, norms, counts."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from bnn.errors import ConfigError
from bnn.models import BasicStem, DaBNNStem, PreBasicBlock, ResNet
from bnn.models.stems import STEMS

REDUCTION = {"basic": 4, "cifar": 1, "dabnn": 4}


@pytest.mark.parametrize("size", [(32, 32), (33, 31), (7, 5), (1, 1), (224, 30)])
@pytest.mark.parametrize("name", sorted(STEMS))
def test_size(name, size):
    stem = STEMS[name](8, 2)
    expected = tuple(-(-side // REDUCTION[name]) for side in size)
    assert stem(torch.randn(2, 2, *size)).shape == (2, 8, *expected)


@pytest.mark.parametrize("name", sorted(STEMS))
@pytest.mark.parametrize("activation", [nn.ReLU, nn.PReLU, nn.LeakyReLU, nn.Hardtanh, nn.Identity])
def test_every_activation_is_honoured_and_gradients_flow(name, activation):
    torch.manual_seed(0)
    stem = STEMS[name](8, activation=activation)
    kinds = {type(m) for m in stem.modules()}
    assert any(issubclass(kind, activation) for kind in kinds)
    assert (nn.ReLU in kinds) == (activation is nn.ReLU)
    y = stem(torch.randn(2, 3, 16, 16))
    (y * torch.randn_like(y)).sum().backward()
    for parameter_name, parameter in stem.named_parameters():
        # The largest of nine values is hardly ever negative, so a slope before max pooling idles.
        if (name, parameter_name) != ("basic", "act1.weight"):
            assert parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", sorted(STEMS))
@pytest.mark.parametrize("norm_layer", [None, nn.Identity, functools.partial(nn.GroupNorm, 1)])
def test_any_norm(name, norm_layer):
    stem = STEMS[name](8, norm_layer=norm_layer)
    has_batch_norm = any(isinstance(m, nn.BatchNorm2d) for m in stem.modules())
    assert has_batch_norm == (norm_layer is None)
    assert stem(torch.randn(1, 3, 16, 16)).shape[1] == 8


@pytest.mark.parametrize("name", sorted(STEMS))
def test_no_biases(name):
    assert all(m.bias is None for m in STEMS[name](8).modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize(("stem", "parameters"), [(BasicStem, 9_536), (DaBNNStem, 10_368)])
def test_parameter_count_for_64_channels(stem, parameters):
    assert sum(p.numel() for p in stem(64).parameters()) == parameters


@pytest.mark.parametrize("planes", [1, 2, 6])
def test_dabnn_needs_four_parts(planes):
    with pytest.raises(ConfigError, match=f"4 divides, not {planes}"):
        DaBNNStem(planes)


@pytest.mark.parametrize("name", sorted(STEMS))
def test_the_network_runs_the_stem_as_the_stem_runs_itself(name):
    """ResNet holds the steps as its own children; they must stay all and in order."""
    net = ResNet(PreBasicBlock, (1,), 3, width=8, stem_type=name).eval()
    stem = STEMS[name](8).eval()
    state = {k: v for k, v in net.state_dict().items() if k in stem.state_dict()}
    stem.load_state_dict(state)
    x = torch.randn(1, 3, 17, 17)
    expected = net.fc(net.avgpool(net.layer1(stem(x))).flatten(1))
    torch.testing.assert_close(net(x), expected)
