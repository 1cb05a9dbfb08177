"""The grid of blocks x activations x strides, and the order of what each block does."""

from __future__ import annotations

import functools
import pickle

import pytest
import torch
from torch import nn

from bnn.errors import ConfigError
from bnn.layers import PReLU
from bnn.models import BasicBlock, Bottleneck, HBlock, PreBasicBlock, PreBottleneck
from bnn.models.registry import BLOCKS
from bnn.models.residual import PoolShortcut, PreActivationBlock, ResidualBlock

BLOCK_TYPES = [BLOCKS[name] for name in BLOCKS]
ACTIVATIONS = [nn.ReLU, nn.PReLU, nn.LeakyReLU, nn.Hardtanh, nn.Identity]


def test_the_table_holds_every_block():
    assert set(BLOCK_TYPES) == {BasicBlock, Bottleneck, HBlock, PreBasicBlock, PreBottleneck}


@pytest.mark.parametrize("shortcut", ["conv", "pool"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("block_type", BLOCK_TYPES)
def test_shape_and_gradients(block_type, activation, stride, shortcut):
    torch.manual_seed(0)
    block = block_type(4, 8, stride, activation=activation, shortcut=shortcut)
    x = torch.randn(3, 4, 9, 7, requires_grad=True)
    y = block(x)
    assert y.shape == (3, 8 * block_type.expansion, -(-9 // stride), -(-7 // stride))
    (y * torch.randn_like(y)).sum().backward()
    assert x.grad.abs().sum() > 0
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("block_type", BLOCK_TYPES)
@pytest.mark.parametrize("norm_layer", [None, nn.Identity, functools.partial(nn.GroupNorm, 1)])
def test_any_norm(block_type, norm_layer):
    block = block_type(4, 8, 2, norm_layer=norm_layer, activation=nn.PReLU)
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    assert bool(norms) == (norm_layer is None)
    assert block(torch.randn(2, 4, 5, 5)).shape[2:] == (3, 3)


@pytest.mark.parametrize("block_type", BLOCK_TYPES)
def test_same_shape_needs_no_shortcut_and_no_module(block_type):
    block = block_type(8 * block_type.expansion, 8)
    assert block.downsample is None
    assert not any(name.startswith("downsample") for name in block.state_dict())
    assert "downsample" not in dict(block.named_children())


@pytest.mark.parametrize("block_type", BLOCK_TYPES)
def test_pool_shortcut_has_no_parameters(block_type):
    block = block_type(4, 8, 2, shortcut="pool")
    assert isinstance(block.downsample, PoolShortcut)
    assert not list(block.downsample.parameters())


@pytest.mark.parametrize("block_type", BLOCK_TYPES)
@pytest.mark.parametrize("inplace", [nn.ReLU, nn.LeakyReLU, nn.Hardtanh])
def test_inplace_activations_do_not_change_the_input(block_type, inplace):
    block = block_type(
        4 * block_type.expansion,
        4,
        activation=functools.partial(inplace, inplace=True),
        norm_layer=nn.Identity,
    )
    x = torch.randn(2, 4 * block_type.expansion, 5, 5)
    before = x.clone()
    y = block(x)
    assert torch.equal(x, before)
    reference = block_type(4 * block_type.expansion, 4, activation=inplace, norm_layer=nn.Identity)
    reference.load_state_dict(block.state_dict())
    torch.testing.assert_close(y, reference(x))


@pytest.mark.parametrize("block_type", BLOCK_TYPES)
def test_order_of_norm_convolution_and_activation(block_type):
    """The convolution's input, of which a binary one takes the sign, is what the order decides."""
    block = block_type(4 * block_type.expansion, 4, activation=nn.PReLU)
    order = []
    for module in block.modules():
        kind = {nn.BatchNorm2d: "norm", nn.Conv2d: "conv", PReLU: "act"}.get(type(module))
        if kind:
            module.register_forward_hook(lambda *_, kind=kind: order.append(kind))
    block(torch.randn(2, 4 * block_type.expansion, 5, 5))
    convolutions = order.count("conv")
    if issubclass(block_type, PreActivationBlock):
        assert order == ["norm", "conv", "act"] * convolutions
    else:
        assert order == ["conv", "norm", "act"] * convolutions


@pytest.mark.parametrize("block_type", BLOCK_TYPES)
def test_the_sum_is_with_the_untouched_input(block_type):
    """With the convolutions at zero only the shortcut is left."""
    block = block_type(4 * block_type.expansion, 4, activation=nn.Identity).eval()
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.weight)
    x = torch.randn(2, 4 * block_type.expansion, 5, 5)
    torch.testing.assert_close(block(x), x)


def test_pre_activation_shows_the_convolution_both_signs():
    """Why the Pre blocks exist: after ReLU a plain block's convolution sees one sign only."""

    def negative_share(block_type: type[ResidualBlock]) -> float:
        seen = []
        block = block_type(8, 8)
        block.conv1.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        block(torch.relu(torch.randn(4, 8, 6, 6)))
        return (seen[0] < 0).float().mean().item()

    assert negative_share(BasicBlock) == 0
    assert 0.3 < negative_share(PreBasicBlock) < 0.7


@pytest.mark.parametrize("block_type", BLOCK_TYPES)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_groups_reach_the_3x3_convolutions(block_type, groups):
    block = block_type(8, 16, 2, groups=groups)
    convolutions = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
    for convolution in convolutions:
        expected = groups if convolution.kernel_size == (3, 3) else 1
        assert convolution.groups == expected
    assert block(torch.randn(2, 8, 5, 5)).shape[2:] == (3, 3)


@pytest.mark.parametrize("block_type", BLOCK_TYPES)
@pytest.mark.parametrize("dilation", [2, 3])
def test_dilation_keeps_the_size(block_type, dilation):
    block = block_type(4, 8, dilation=dilation)
    assert block(torch.randn(2, 4, 9, 8)).shape[2:] == (9, 8)


@pytest.mark.parametrize("block_type", BLOCK_TYPES)
@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"stride": 0}, "stride must be"),
        ({"dilation": 0}, "dilation must be"),
        ({"groups": 3}, "groups=3 does not divide"),
        ({"groups": -1}, "groups must be"),
        ({"base_width": 0}, "base_width must be"),
        ({"planes": 0}, "planes must be"),
        ({"inplanes": 1.5}, "inplanes must be an integer"),
        ({"shortcut": "mean"}, "shortcut must be one of conv, pool, not 'mean'"),
        ({"inplanes": 64, "shortcut": "pool"}, "can add channels, not remove"),
        ({"activation": nn.PReLU()}, "activation must be a class"),
    ],
)
def test_bad_arguments_are_refused(block_type, kwargs, message):
    # Grouped 1x1 convolutions do not exist, so only an output that 3 does not divide can fail.
    arguments = {"inplanes": 4, "planes": 8, **kwargs}
    if "groups" in kwargs and block_type in (Bottleneck, PreBottleneck):
        message = "groups must be" if kwargs["groups"] < 1 else None
    if message is None:
        block_type(**arguments)
        return
    with pytest.raises(ConfigError, match=message):
        block_type(**arguments)


@pytest.mark.parametrize("size", [1, 2, 5, 8])
@pytest.mark.parametrize("stride", [2, 3])
def test_pool_shortcut_averages_whole_windows(size, stride):
    x = torch.randn(2, 3, size, size)
    y = PoolShortcut(stride, new_channels=2)(x)
    out = -(-size // stride)
    assert y.shape == (2, 5, out, out)
    assert torch.equal(y[:, 3:], torch.zeros(2, 2, out, out))
    for i in range(out):
        for j in range(out):
            window = x[:, :, i * stride : (i + 1) * stride, j * stride : (j + 1) * stride]
            torch.testing.assert_close(y[:, :3, i, j], window.mean((2, 3)))


def test_zero_init_gate_survives_pickle_and_state_dict():
    block = PreBasicBlock(4, 4)
    assert not any("gate" in name for name in block.state_dict())
    block.zero_init_residual_()
    assert block.state_dict()["gate.weight"].shape == (4, 1, 1)
    again = pickle.loads(pickle.dumps(block))
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(again(x), x)


def test_half_and_double_and_channels_last():
    for block_type in BLOCK_TYPES:
        block = block_type(4, 8, 2, activation=nn.PReLU, shortcut="pool").eval()
        x = torch.randn(2, 4, 5, 5)
        expected = block(x)
        torch.testing.assert_close(block(x.to(memory_format=torch.channels_last)), expected)
        assert block.double()(x.double()).dtype == torch.float64
        assert block.bfloat16()(x.bfloat16()).dtype == torch.bfloat16
