"""ResNet: counts, torchvision's names, every stem and block, arguments that are refused."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from bnn.errors import ConfigError
from bnn.models import (
    BasicBlock,
    Bottleneck,
    HBlock,
    PreBasicBlock,
    PreBottleneck,
    ResNet,
    resnet8,
    resnet18,
    resnet20,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
)

BLOCK_TYPES = [BasicBlock, Bottleneck, PreBasicBlock, PreBottleneck, HBlock]
FACTORIES = [resnet8, resnet18, resnet20, resnet34, resnet50, resnet101, resnet152]


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("factory", "kwargs", "parameters"),
    [
        (resnet18, {}, 11_689_512),
        (resnet18, {"activation": nn.PReLU}, 11_693_352),
        (resnet18, {"block_type": PreBasicBlock}, 11_688_616),
        (resnet18, {"block_type": PreBasicBlock, "activation": nn.PReLU}, 11_692_456),
        (
            resnet18,
            {"block_type": PreBasicBlock, "activation": nn.PReLU, "stem_type": "dabnn"},
            11_693_288,
        ),
        (resnet34, {}, 21_797_672),
        (resnet50, {}, 25_557_032),
        (resnet101, {}, 44_549_160),
        (resnet152, {}, 60_192_808),
        # ResNeXt-50 32x4d and Wide ResNet-50-2 fix the meaning of groups and width_per_group.
        (resnet50, {"groups": 32, "width_per_group": 4}, 25_028_904),
        (resnet50, {"width_per_group": 128}, 68_883_240),
    ],
)
def test_parameter_count(factory, kwargs, parameters):
    with torch.device("meta"):
        assert count(factory(**kwargs)) == parameters


def torchvision_state_shapes(layers, bottleneck):
    """Names and shapes of torchvision's state_dict, from its documented structure."""
    shapes = {}

    def conv(name, out_channels, in_channels, k):
        shapes[f"{name}.weight"] = (out_channels, in_channels, k, k)

    def norm(name, channels):
        for field in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{field}"] = (channels,)
        shapes[f"{name}.num_batches_tracked"] = ()

    conv("conv1", 64, 3, 7)
    norm("bn1", 64)
    channels = 64
    for stage, blocks in enumerate(layers):
        planes = 64 << stage
        out = planes * (4 if bottleneck else 1)
        for i in range(blocks):
            name = f"layer{stage + 1}.{i}"
            if bottleneck:
                plan = [(planes, channels, 1), (planes, planes, 3), (out, planes, 1)]
            else:
                plan = [(planes, channels, 3), (planes, planes, 3)]
            for j, (o, c, k) in enumerate(plan, 1):
                conv(f"{name}.conv{j}", o, c, k)
                norm(f"{name}.bn{j}", o)
            if i == 0 and (stage > 0 or channels != out):
                conv(f"{name}.downsample.0", out, channels, 1)
                norm(f"{name}.downsample.1", out)
            channels = out
    shapes["fc.weight"], shapes["fc.bias"] = (1000, channels), (1000,)
    return shapes


@pytest.mark.parametrize(
    ("factory", "layers", "bottleneck"),
    [(resnet18, (2, 2, 2, 2), False), (resnet34, (3, 4, 6, 3), False), (resnet50, (3, 4, 6, 3), 1)],
)
def test_state_dict_is_torchvisions(factory, layers, bottleneck):
    with torch.device("meta"):
        state = factory().state_dict()
    assert {k: tuple(v.shape) for k, v in state.items()} == torchvision_state_shapes(
        layers, bottleneck
    )


@pytest.mark.parametrize("factory", FACTORIES)
def test_pretrained_is_refused(factory):
    with pytest.raises(ConfigError, match="ships no weights"):
        factory(pretrained=True)
    with pytest.raises(ConfigError, match="ships no weights"):
        factory(True)


@pytest.mark.parametrize("stem_type", ["basic", "cifar", "dabnn"])
@pytest.mark.parametrize("block_type", BLOCK_TYPES)
@pytest.mark.parametrize("shortcut", ["conv", "pool"])
def test_every_combination_runs_on_odd_images(stem_type, block_type, shortcut):
    net = ResNet(
        block_type,
        (1, 2, 1),
        3,
        in_channels=2,
        width=8,
        stem_type=stem_type,
        activation=nn.PReLU,
        shortcut=shortcut,
    )
    assert net(torch.randn(2, 2, 35, 29)).shape == (2, 3)


@pytest.mark.parametrize("stages", [1, 2, 5])
def test_any_number_of_stages(stages):
    net = ResNet(PreBasicBlock, (1,) * stages, 3, width=4)
    assert net.fc.in_features == 4 << (stages - 1)
    assert net.eval()(torch.randn(1, 3, 16, 16)).shape == (1, 3)


@pytest.mark.parametrize("factory", [resnet8, resnet20])
@pytest.mark.parametrize("size", [8, 9, 28, 32])
def test_small_images(factory, size):
    net = factory(in_channels=1, width=4, num_classes=7)
    assert net(torch.randn(2, 1, size, size)).shape == (2, 7)


def test_cifar_networks_have_weights_only_in_the_named_layers():
    net = resnet20()
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 19
    assert all(m.kernel_size == (3, 3) for m in convolutions)
    assert len([m for m in resnet8().modules() if isinstance(m, nn.Conv2d)]) == 7


@pytest.mark.parametrize("stem_type", ["basic", "cifar", "dabnn"])
def test_stem_and_block_activations_are_separate(stem_type):
    def prelus(**kwargs):
        net = ResNet(PreBasicBlock, (1,), width=8, stem_type=stem_type, **kwargs)
        names = {n for n, m in net.named_modules() if isinstance(m, nn.PReLU)}
        return {n for n in names if not n.startswith("layer")}, names

    stem, everything = prelus(activation=nn.PReLU)
    assert stem == set()
    assert len(everything) == 2
    stem, everything = prelus(stem_activation=nn.PReLU)
    assert len(stem) == (4 if stem_type == "dabnn" else 1)
    assert everything == stem


def test_every_position_has_its_own_activation():
    net = resnet18(activation=nn.PReLU, width=8)
    # remove_duplicate=False lists a shared module once for every place it is used.
    places = [m for _, m in net.named_modules(remove_duplicate=False) if isinstance(m, nn.PReLU)]
    assert len(places) == len(set(map(id, places))) == 16


@pytest.mark.parametrize("block_type", BLOCK_TYPES)
@pytest.mark.parametrize("shortcut", ["conv", "pool"])
def test_zero_init_residual_starts_at_the_shortcut(block_type, shortcut):
    net = ResNet(
        block_type,
        (2, 1),
        width=8,
        activation=nn.PReLU,
        zero_init_residual=True,
        shortcut=shortcut,
    )
    for block in (*net.layer1, *net.layer2):
        x = torch.randn(3, net_channels(block), 5, 5)
        identity = x if block.downsample is None else block.downsample(x)
        last = {BasicBlock: "act2", Bottleneck: "act3"}.get(block_type)
        expected = identity if last is None else getattr(block, last)(identity)
        torch.testing.assert_close(block(x), expected)


def net_channels(block: nn.Module) -> int:
    first = block.bn1 if hasattr(block, "gate") else block.conv1
    return first.num_features if isinstance(first, nn.BatchNorm2d) else first.in_channels


@pytest.mark.parametrize("block_type", BLOCK_TYPES)
def test_zero_init_residual_can_leave_zero(block_type):
    torch.manual_seed(0)
    net = ResNet(block_type, (1,), 3, width=8, stem_type="cifar", zero_init_residual=True)
    optimizer = torch.optim.SGD(net.parameters(), 0.5)
    x = torch.randn(4, 3, 6, 6)
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_zero_init_residual_without_a_norm_weight_is_refused():
    with pytest.raises(ConfigError, match="Identity has none"):
        ResNet(BasicBlock, (1,), width=4, norm_layer=nn.Identity, zero_init_residual=True)


@pytest.mark.parametrize("block_type", [BasicBlock, Bottleneck, PreBasicBlock, PreBottleneck])
def test_replace_stride_with_dilation_keeps_the_size(block_type):
    net = ResNet(
        block_type,
        (1, 2, 2, 2),
        width=4,
        stem_type="cifar",
        replace_stride_with_dilation=(False, True, True),
    )
    x = torch.randn(2, 4, 17, 17)
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        x = stage(x)
    assert x.shape[2:] == (9, 9)
    conv = "conv2" if "Bottle" in block_type.__name__ else "conv1"
    dilations = [
        getattr(block, conv).dilation[0] for block in (*net.layer2, *net.layer3, *net.layer4)
    ]
    assert dilations == [1, 1, 1, 2, 2, 4]


def test_dilation_has_the_weights_of_stride():
    dilated = resnet18(width=4, replace_stride_with_dilation=(True, True, True))
    dilated.load_state_dict(resnet18(width=4).state_dict())


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"layers": ()}, "at least one block"),
        ({"layers": (1, 0)}, "at least one block"),
        ({"num_classes": 0}, "num_classes must be an integer of at least 1"),
        ({"in_channels": 0}, "in_channels must be an integer of at least 1"),
        ({"width": 0}, "width must be an integer"),
        ({"groups": 0}, "groups must be an integer of at least 1"),
        ({"width_per_group": 0}, "width_per_group must be an integer"),
        ({"width": 4, "width_per_group": 1}, "leaves no channel"),
        ({"width": 4, "groups": 3}, "does not divide the 4 channels"),
        ({"stem_type": "basik"}, "Did you mean 'basic'"),
        ({"stem_type": "dabnn", "width": 6}, "4 divides"),
        ({"shortcut": "none"}, "one of conv, pool"),
        ({"block_type": "PreBasicBlock"}, "bnn.models.create"),
        ({"block_type": nn.Conv2d}, "subclass of ResidualBlock"),
        ({"activation": nn.ReLU()}, "not ReLU"),
        ({"activation": "ReLU"}, "bnn.models.create"),
        ({"activation": dict}, "not an nn.Module"),
        ({"replace_stride_with_dilation": (True,)}, "one value for each of the 3 stages"),
        ({"block_type": HBlock, "width": 6}, "multiple of 4, not 6"),
        ({"block_type": HBlock, "width": 8, "width_per_group": 32}, "no inner width"),
    ],
)
def test_bad_arguments_are_refused(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        resnet18(**{"width": 4, **kwargs})


def test_norm_layer_is_used_everywhere():
    norm = functools.partial(nn.GroupNorm, 2)
    net = resnet18(block_type=PreBasicBlock, width=8, stem_type="dabnn", norm_layer=norm)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    assert net(torch.randn(1, 3, 32, 32)).shape == (1, 1000)


def test_arguments_are_not_changed():
    layers, dilate = [1, 1], [True]
    ResNet(PreBasicBlock, layers, width=4, replace_stride_with_dilation=dilate)
    assert layers == [1, 1]
    assert dilate == [True]


def test_fx_traces_to_the_same_function():
    net = resnet8(width=4).eval()
    x = torch.randn(2, 3, 9, 9)
    torch.testing.assert_close(torch.fx.symbolic_trace(net)(x), net(x))
