"""What is binary is decided on values: both operands, exactly."""

import pytest
import torch
from torch import nn

from bnn import BConfig
from bnn.inspect import count_ops
from bnn.layers import Conv2d, ConvTranspose2d, Linear
from bnn.ops import (
    AdaBinInputBinarizer,
    AdaBinWeightBinarizer,
    BasicInputBinarizer,
    DoReFaInputBinarizer,
    HeavisideInputBinarizer,
    XNORWeightBinarizer,
    sign,
)

PLAIN_SIGNS = XNORWeightBinarizer.with_args(compute_alpha=False)


class Tanh(nn.Module):
    def forward(self, x):
        return torch.tanh(x)


class ScaledSign(nn.Module):
    def forward(self, x):
        return 0.7 * sign(x)


class Ternary(nn.Module):
    def forward(self, x):
        return torch.where(x.abs() < 0.2, 0, sign(x))


class TwoScales(nn.Module):
    """One scale for each sample: no single s."""

    def forward(self, x):
        return sign(x) * torch.arange(1, len(x) + 1)[:, None]


def only(config, x=None, layer=Linear, shape=(6, 4)):
    model = layer(*shape, bconfig=config)
    count = count_ops(model, torch.randn(3, 6) if x is None else x)
    return count.per_layer[0]


@pytest.mark.parametrize(
    ("activation", "weight", "precision", "input_bits", "binary_params"),
    [
        (BasicInputBinarizer, XNORWeightBinarizer, "binary", 1, 24),
        (BasicInputBinarizer, PLAIN_SIGNS, "binary", 1, 24),
        (ScaledSign, ScaledSign, "binary", 1, 24),
        (nn.Identity, XNORWeightBinarizer, "weight-only", 32, 24),
        (Tanh, XNORWeightBinarizer, "weight-only", 32, 24),
        (Ternary, XNORWeightBinarizer, "weight-only", 2, 24),
        (TwoScales, XNORWeightBinarizer, "weight-only", 32, 24),
        (BasicInputBinarizer, nn.Identity, "float", 1, 0),
        (BasicInputBinarizer, Tanh, "float", 1, 0),
        (BasicInputBinarizer, Ternary, "float", 1, 0),
        (nn.Identity, nn.Identity, "float", 32, 0),
    ],
)
def test_precision_of_each_pair(activation, weight, precision, input_bits, binary_params):
    entry = only(BConfig(activation, weight_pre_process=weight))
    assert (entry.precision, entry.input_bits) == (precision, input_bits)
    assert entry.binary_params == binary_params
    by_precision = {
        "binary": entry.binary_macs,
        "weight-only": entry.weight_only_macs,
        "float": entry.float_macs,
    }
    assert by_precision.pop(precision) == entry.macs == 3 * 24
    assert not any(by_precision.values())


def test_a_name_says_nothing():
    class BinaryConv2d(nn.Conv2d):
        pass

    count = count_ops(BinaryConv2d(2, 3, 3), torch.randn(1, 2, 5, 5))
    assert (count.binary_macs, count.binary_params) == (0, 0)


def test_plain_layers_are_float_even_with_binary_operands():
    layer = nn.Linear(6, 4)
    layer.weight.data = sign(layer.weight.data)
    assert count_ops(layer, torch.randn(3, 6).sign()).binary_macs == 0


@pytest.mark.parametrize(("value", "binary"), [(1.0, True), (0.5, False)])
def test_unchanged_weights_are_binary_only_as_plus_minus_one(value, binary):
    model = Linear(6, 4, bconfig=BConfig(BasicInputBinarizer))
    model.weight.data = value * sign(model.weight.data)
    entry = count_ops(model, torch.randn(3, 6)).per_layer[0]
    assert entry.precision == ("binary" if binary else "float")


@pytest.mark.parametrize("weight", [nn.Identity, Tanh])
def test_one_entry_is_no_binary_filter(weight):
    """Any number is plus or minus some alpha: depthwise 1x1 stays float."""
    config = BConfig(BasicInputBinarizer, weight_pre_process=weight)
    model = Conv2d(4, 4, 1, groups=4, bconfig=config)
    assert count_ops(model, torch.randn(1, 4, 3, 3)).per_layer[0].precision == "float"


def test_one_entry_is_binary_if_all_filters_share_the_magnitude():
    config = BConfig(BasicInputBinarizer, weight_pre_process=PLAIN_SIGNS)
    model = Conv2d(4, 4, 1, groups=4, bconfig=config)
    assert count_ops(model, torch.randn(1, 4, 3, 3)).per_layer[0].precision == "binary"


@pytest.mark.parametrize("groups", [1, 2])
def test_filters_of_a_transposed_convolution(groups):
    config = BConfig(BasicInputBinarizer, weight_pre_process=XNORWeightBinarizer)
    model = ConvTranspose2d(4, 6, 3, groups=groups, bconfig=config)
    assert count_ops(model, torch.randn(1, 4, 5, 5)).per_layer[0].precision == "binary"


def test_zero_weights_are_binary_after_a_binarizer_only():
    for weight, precision in ((XNORWeightBinarizer, "binary"), (nn.Identity, "float")):
        config = BConfig(BasicInputBinarizer, weight_pre_process=weight)
        model = Linear(6, 4, bconfig=config)
        nn.init.zeros_(model.weight)
        assert count_ops(model, torch.randn(3, 6)).per_layer[0].precision == precision


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5, float("nan")])
def test_a_constant_input_proves_nothing_without_a_binarizer(value):
    x = torch.full((3, 6), value)
    for activation in (nn.Identity, Tanh):
        config = BConfig(activation, weight_pre_process=XNORWeightBinarizer)
        assert only(config, x).precision == "weight-only"
    config = BConfig(BasicInputBinarizer, weight_pre_process=XNORWeightBinarizer)
    assert only(config, x).precision == "binary"


def test_signs_made_outside_of_the_layer_count():
    class Sign(nn.Module):
        def forward(self, x):
            return sign(x)

    model = nn.Sequential(Sign(), Linear(6, 4, bconfig=BConfig(weight_pre_process=PLAIN_SIGNS)))
    assert count_ops(model, torch.randn(3, 6)).binary_macs == 3 * 24


def test_calls_that_differ_are_counted_one_by_one():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = Linear(6, 6, bconfig=BConfig(weight_pre_process=PLAIN_SIGNS))

        def forward(self, x):
            return self.fc(self.fc(sign(x)) + 0.3)

    (entry,) = count_ops(Net(), torch.randn(2, 6)).per_layer
    assert (entry.binary_macs, entry.weight_only_macs) == (72, 72)
    assert (entry.precision, entry.input_bits, entry.binary_params) == ("weight-only", 32, 36)


def test_positive_share_is_measured_before_padding():
    config = BConfig(BasicInputBinarizer, weight_pre_process=XNORWeightBinarizer)
    model = Conv2d(1, 2, 3, padding=1, padding_value=-1, bconfig=config)
    x = torch.tensor([[1.0, -1.0], [2.0, 0.0]]).view(1, 1, 2, 2)
    assert count_ops(model, x).per_layer[0].positive_share == 0.75
    count = count_ops(model, x.abs())
    assert [entry.positive_share for entry in count.one_sided] == [1.0]
    assert [entry.positive_share for entry in count_ops(model, -x - 5).one_sided] == [0.0]


def test_float_inputs_have_no_positive_share():
    entry = only(BConfig(weight_pre_process=XNORWeightBinarizer))
    assert entry.positive_share is None


def test_zeros_and_ones_of_a_stage_are_one_bit():
    x = torch.randn(8, 6)
    config = BConfig(HeavisideInputBinarizer, weight_pre_process=XNORWeightBinarizer)
    assert only(config, x).precision == "binary"
    half = BConfig(DoReFaInputBinarizer, weight_pre_process=XNORWeightBinarizer)
    assert only(half, x).precision == "weight-only"
    as_given = BConfig(weight_pre_process=XNORWeightBinarizer)
    assert only(as_given, (x > 0).float()).precision == "weight-only"


def test_offsets_cost_what_they_cost():
    x = torch.randn(4, 6, 8, 8)
    config = BConfig(AdaBinInputBinarizer, weight_pre_process=AdaBinWeightBinarizer)
    model = nn.Sequential(Conv2d(6, 4, 3, padding=1, bconfig=config))
    count = count_ops(model, x)
    products = 4 * 4 * 64 * 6 * 9
    assert count.binary_macs == products + products // 4  # and one filter of ones
    assert count.float_macs == (4 + 1) * 64 * 9  # an image of ones, once for each batch
    assert count.per_layer[0].precision == "binary"
