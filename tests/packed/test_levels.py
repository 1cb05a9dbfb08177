"""Operands with levels of their own, packed: equal to the model's layer to the last bit."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

import bnn
from bnn import BConfig, Identity
from bnn.errors import PackedError
from bnn.layers import Conv1d, Conv2d, Linear, RPReLU
from bnn.ops import (
    AdaBinInputBinarizer,
    AdaBinWeightBinarizer,
    BasicInputBinarizer,
    BiPerWeightBinarizer,
    DoReFaInputBinarizer,
    DoReFaWeightBinarizer,
    HeavisideInputBinarizer,
    InputBinarizer,
    IRNetWeightBinarizer,
    LSQWeightBinarizer,
    RealToBinaryGateBinarizer,
    RSignInputBinarizer,
    TernaryWeightBinarizer,
    WeightBinarizer,
)
from bnn.packed.decompose import decompose
from bnn.packed.planes import input_planes, weight_planes

INPUTS = {
    "float": Identity,
    "sign": BasicInputBinarizer,
    "rsign": RSignInputBinarizer,
    "heaviside": HeavisideInputBinarizer,
    "dorefa1": DoReFaInputBinarizer.with_args(bits=1),
    "dorefa2": DoReFaInputBinarizer,
    "dorefa4": DoReFaInputBinarizer.with_args(bits=4),
    "adabin": AdaBinInputBinarizer.with_args(alpha=0.8, beta=0.3),
    "adabin negative": AdaBinInputBinarizer.with_args(alpha=-0.7, beta=-0.2),
}
WEIGHTS = {
    "float": Identity,
    "sign": BasicInputBinarizer,
    "adabin": AdaBinWeightBinarizer,
    "ternary": TernaryWeightBinarizer.with_args(threshold="twn"),
    "dorefa1": DoReFaWeightBinarizer,
    "dorefa3": DoReFaWeightBinarizer.with_args(bits=3),
    "irnet": IRNetWeightBinarizer,
    "lsq": LSQWeightBinarizer,
}
GEOMETRIES = {
    "linear": lambda c: Linear(6, 5, bconfig=c),
    "padded": lambda c: Conv2d(6, 4, 3, padding=1, bconfig=c),
    "strided": lambda c: Conv2d(6, 4, (3, 2), stride=2, padding=(2, 1), bias=False, bconfig=c),
    "grouped": lambda c: Conv2d(6, 4, 3, padding=1, groups=2, bconfig=c),
    "depthwise": lambda c: Conv2d(6, 6, 3, padding=1, groups=6, bias=False, bconfig=c),
    "same": lambda c: Conv2d(6, 4, 2, padding="same", bconfig=c),
    "circular": lambda c: Conv2d(6, 4, 3, padding=1, padding_mode="circular", bconfig=c),
    "valid": lambda c: Conv2d(6, 4, 3, dilation=2, bconfig=c),
    "1d": lambda c: Conv1d(6, 4, 3, padding=1, bconfig=c),
}


def given_to(layer, batch=3):
    shape = {2: (6,), 3: (6, 9), 4: (6, 9, 8)}[layer.weight.dim()]
    return torch.randn(batch, *shape)


def trained(layer):
    with torch.no_grad():
        for module in layer.modules():
            if isinstance(module, RSignInputBinarizer):
                module.threshold.normal_(0, 0.4)
    return nn.Sequential(layer).eval()


def edges_into(x):
    """Set some values to where stages decide: thresholds, halves, zeros, and beside them."""
    points = [0.0, -0.0, 0.5, 1 / 6, 5 / 6, 1.0, 0.3, -0.2, 1e-45, -1e-45, float("inf")]
    exact = torch.tensor(points)
    exact = torch.cat([exact, exact.nextafter(torch.tensor(2.0)), exact.nextafter(-exact)])
    which = torch.randint(0, len(exact), x.shape)
    return torch.where(torch.rand(x.shape) < 0.3, exact[which], x)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("kind", GEOMETRIES)
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("given", INPUTS)
def test_every_pair_of_operands(given, weight, kind):
    model = trained(GEOMETRIES[kind](BConfig(INPUTS[given], Identity, WEIGHTS[weight])))
    x = given_to(model[0])
    packed = bnn.pack(model, x)
    assert packed.report.how == "graph"
    assert list(packed.report.binary) == ["0"]
    if "float" in (given, weight):
        torch.testing.assert_close(packed(x), model(x), rtol=1e-4, atol=1e-5)
        return
    agreement = bnn.verify(model, packed, x)
    assert agreement.identical
    assert agreement.layers[0].different_signs == 0
    with torch.no_grad():
        for other in (x, edges_into(x), given_to(model[0], batch=1)):
            assert torch.equal(packed(other), model(other))
        if x.dim() == 4:
            other = torch.randn(2, 6, 12, 5)
            assert torch.equal(packed(other), model(other))


@pytest.mark.parametrize("weight", ["sign", "adabin"])
@pytest.mark.parametrize("given", ["rsign", "heaviside", "adabin", "dorefa2"])
def test_linear_layers_of_more_axes(given, weight):
    model = trained(Linear(6, 5, bconfig=BConfig(INPUTS[given], Identity, WEIGHTS[weight])))
    x = torch.randn(2, 7, 6)
    packed = bnn.pack(model, x)
    with torch.no_grad():
        assert torch.equal(packed(x), model(x))


@pytest.mark.parametrize("given", ["rsign", "heaviside", "dorefa2", "adabin", "adabin negative"])
def test_chains_with_norms_and_files(given, tmp_path):
    config = BConfig(INPUTS[given], Identity, AdaBinWeightBinarizer)
    model = nn.Sequential(
        Conv2d(6, 8, 3, padding=1, bconfig=config), nn.BatchNorm2d(8), RPReLU(8),
        Conv2d(8, 8, 3, padding=1, stride=2, bconfig=config), nn.BatchNorm2d(8), nn.PReLU(8),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    ).eval()  # fmt: skip
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 3)
                module.running_var.uniform_(5, 20)
            if isinstance(module, RPReLU):
                for parameter in module.parameters():
                    parameter.normal_(0, 0.3)
            if isinstance(module, RSignInputBinarizer):
                module.threshold.normal_(0, 0.4)
    x = torch.randn(16, 6, 9, 8)
    packed = bnn.pack(model, x[:2])
    assert not packed.graph.opaque()
    agreement = bnn.verify(model, packed, x)
    assert agreement.identical
    assert sum(layer.different_signs for layer in agreement.layers) == 0
    torch.testing.assert_close(packed(x), model(x), rtol=1e-5, atol=1e-5)
    packed.save(tmp_path / "net.bnn")
    loaded = bnn.load(tmp_path / "net.bnn")
    assert torch.equal(loaded(x), packed(x))
    assert bnn.verify(model, loaded, x).identical


def test_verify_finds_a_flipped_bit_in_any_plane():
    config = BConfig(DoReFaInputBinarizer, Identity, TernaryWeightBinarizer)
    model = trained(Conv2d(6, 4, 3, padding=1, bconfig=config))
    x = torch.randn(2, 6, 9, 8)
    for plane in range(4):
        packed = bnn.pack(model, x)
        nodes = [node for node in packed.graph.nodes if node.op == "binary_conv"]
        assert len(nodes) == 4
        nodes[plane].tensors["weight"].view(-1)[0] ^= 1
        assert not bnn.verify(model, packed, x).identical


def test_thresholds_are_folded_into_the_bits():
    model = trained(
        Conv2d(6, 4, 3, bconfig=BConfig(RSignInputBinarizer, Identity, BasicInputBinarizer))
    )
    packed = bnn.pack(model, torch.randn(1, 6, 9, 8))
    assert [node.op for node in packed.graph.nodes] == ["pack", "binary_conv"]


def test_rprelu_alone_and_the_gate(same):
    rprelu = RPReLU(6)
    for parameter in rprelu.parameters():
        nn.init.normal_(parameter)
    gated = BConfig(BasicInputBinarizer, RealToBinaryGateBinarizer, BasicInputBinarizer)
    model = nn.Sequential(rprelu, Conv2d(6, 4, 3, bconfig=gated)).eval()
    x = torch.randn(3, 6, 9, 8)
    packed = bnn.pack(model, x)
    assert not packed.graph.opaque()
    torch.testing.assert_close(packed(x), model(x), rtol=1e-5, atol=1e-5)
    alone = bnn.pack(nn.Sequential(rprelu), x)
    with torch.no_grad():
        same(alone(x), rprelu(x))


# --- what cannot be packed says so ------------------------------------------------------------


class Doubled(AdaBinInputBinarizer):
    def decompose(self, x):
        signs, alpha, beta = super().decompose(x)
        return signs, 2 * alpha, beta


class Quarters(WeightBinarizer):
    def decompose(self, weight):
        return torch.full_like(weight, 0.25), None


class Halves(InputBinarizer):
    def decompose(self, x):
        return torch.full_like(x, 0.5), None, None


@pytest.mark.parametrize(
    ("given", "weight", "message"),
    [
        (Doubled, BasicInputBinarizer, "activation_pre_process is Doubled; allowed: AdvancedInput"),
        (Halves, BasicInputBinarizer, "activation_pre_process is Halves; allowed: .*RSignInput"),
        (BasicInputBinarizer, Quarters, r"weight has 0\.25 .*ternary weights and odd integers"),
        (
            BasicInputBinarizer,
            BiPerWeightBinarizer.with_args(binarize=False),
            "before it is scaled; packed are signs",
        ),
    ],
)
def test_reasons(given, weight, message):
    model = trained(Linear(6, 5, bconfig=BConfig(given, Identity, weight)))
    x = torch.randn(3, 6)
    packed = bnn.pack(model, x)
    with torch.no_grad():
        torch.testing.assert_close(packed(x), model(x))
    (reason,) = packed.report.emulated.values()
    assert re.search(message, reason), reason


@pytest.mark.parametrize("given", ["heaviside", "adabin", "dorefa2"])
def test_padding_with_one_needs_signs(given):
    config = BConfig(INPUTS[given], Identity, BasicInputBinarizer)
    model = trained(Conv2d(6, 4, 3, padding=1, padding_value=1, bconfig=config))
    packed = bnn.pack(model, torch.randn(1, 6, 9, 8))
    (reason,) = packed.report.emulated.values()
    assert reason == "a padding of -1 or +1 is packed only where the activations are signs."


def test_single_packed_layers_name_what_they_do_not_compute():
    layer = Linear(6, 5, bconfig=BConfig(RSignInputBinarizer, Identity, BasicInputBinarizer))
    with pytest.raises(PackedError, match="RSignInputBinarizer, which a single packed layer"):
        decompose(layer, Linear)
    layer = Linear(6, 5, bconfig=BConfig(BasicInputBinarizer, Identity, AdaBinWeightBinarizer))
    with pytest.raises(PackedError, match=r"offset to each filter.*bnn\.pack for whole networks"):
        decompose(layer, Linear)


# --- planes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in INPUTS if name != "float"])
def test_planes_give_the_integers_back_and_pad_as_zero(name):
    layer = nn.Conv2d(6, 4, 3)
    factory = INPUTS[name]
    binarizer = factory(layer) if factory is RSignInputBinarizer else factory()
    integers = binarizer(torch.randn(3, 6, 9, 9))
    if isinstance(binarizer, InputBinarizer):
        integers = binarizer(torch.randn(3, 6, 9, 9), factors=True)[0]
    planes = input_planes(binarizer)
    again = planes.constant + sum(
        coefficient * signs
        for coefficient, signs in zip(planes.coefficients, planes.split(integers), strict=True)
    )
    assert torch.equal(again, integers)
    if planes.pad:
        assert planes.constant + planes.pad * sum(planes.coefficients) == 0


@pytest.mark.parametrize("integers", [[-1, 1], [-1, 0, 1], [0], [-3, -1, 1, 3], [-127, 5, 255]])
def test_weights_are_sums_of_their_planes(integers):
    w = torch.tensor(integers, dtype=torch.float32)
    planes, signs = weight_planes(w)
    assert all(plane.abs().eq(1).all() for plane in signs)
    total = sum(c * plane for c, plane in zip(planes.coefficients, signs, strict=True))
    assert torch.equal(total, w)


# --- what is the same for every input of a size -----------------------------------------------


def adabin_chain():
    config = BConfig(INPUTS["adabin"], Identity, AdaBinWeightBinarizer)
    return nn.Sequential(
        Conv2d(6, 4, 3, padding=1, bconfig=config), Conv2d(4, 5, 3, padding=1, bconfig=config)
    ).eval()


def torch_steps(packed, x):
    return [timing for timing in packed.profile(x) if timing.operation.startswith("torch")]


def test_border_sums_are_computed_once_for_a_size():
    model = adabin_chain()
    x = torch.randn(2, 6, 9, 8)
    packed = bnn.pack(model, x)
    assert "slice" in [node.op for node in packed.graph.nodes]
    assert torch_steps(packed, x) == []


def test_what_is_too_large_to_keep_is_computed_each_time(monkeypatch):
    monkeypatch.setattr("bnn.packed.run.plan.MOST_FOLDED", 100)
    model = adabin_chain()
    x = torch.randn(2, 6, 9, 8)
    packed = bnn.pack(model, x)
    with torch.no_grad():
        assert torch.equal(packed(x), model(x))
        assert torch_steps(packed, x)
        small = torch.randn(1, 6, 3, 3)
        assert torch.equal(packed(small), model(small))


def test_nothing_of_one_input_is_kept_for_the_next():
    model = nn.Sequential(adabin_chain(), nn.ReLU()).eval()
    packed = bnn.pack(model, torch.randn(1, 6, 9, 8))
    with torch.no_grad():
        for value in (torch.randn(1, 6, 9, 8), torch.full((1, 6, 9, 8), float("nan"))):
            assert torch.equal(packed(value), model(value))
            assert torch.equal(packed(value), model(value))


def test_a_network_that_returns_what_depends_on_sizes_alone():
    class Zeros(nn.Module):
        def forward(self, x):
            zeros = torch.zeros_like(x)
            return zeros + 1, x + zeros

    packed = bnn.pack(Zeros(), torch.randn(2, 3))
    x = torch.randn(2, 3)
    ones, same = packed(x)
    assert torch.equal(ones, torch.ones(2, 3))
    assert torch.equal(same, x)
    ones.add_(1)  # the caller's to change
    assert torch.equal(packed(x)[0], torch.ones(2, 3))


class ReActBlock(nn.Module):
    """What ReActNet repeats: thresholds, 1-bit convolution, norm, shortcut, shifted PReLU."""

    def __init__(self, channels):
        super().__init__()
        config = BConfig(RSignInputBinarizer, Identity, IRNetWeightBinarizer)
        self.conv = Conv2d(channels, channels, 3, padding=1, bias=False, bconfig=config)
        self.norm = nn.BatchNorm2d(channels)
        self.act = RPReLU(channels)
        for parameter in (*self.act.parameters(), self.conv.activation_pre_process.threshold):
            nn.init.normal_(parameter, 0, 0.4)

    def forward(self, x):
        return self.act(self.norm(self.conv(x)) + x)


def test_a_reactnet_block_is_one_operation(same):
    model = nn.Sequential(ReActBlock(6), ReActBlock(6)).eval()
    x = torch.randn(2, 6, 9, 8)
    packed = bnn.pack(model, x)
    assert [node.op for node in packed.graph.nodes] == ["pack", "binary_conv", "binary_conv"]
    with torch.no_grad():
        same(packed(x), model(x))
