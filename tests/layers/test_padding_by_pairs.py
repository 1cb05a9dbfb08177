"""Padding of a different width before and after an axis, as TensorFlow's "same" has it."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F

import bnn
from bnn import BConfig
from bnn.errors import ConfigError
from bnn.layers import Conv1d, Conv2d, Conv3d
from bnn.ops import BasicInputBinarizer, XNORScaleBinarizer, XNORWeightBinarizer, sign
from bnn.packed import PackedConv2d

SIGNS = BConfig(
    BasicInputBinarizer, weight_pre_process=XNORWeightBinarizer.with_args(compute_alpha=False)
)


def padded_by_hand(layer, x, pads, value):
    x = F.pad(sign(x), pads, value=value)
    return type(layer)._convolve(x, sign(layer.weight), None, layer.stride, 0, layer.dilation)


@pytest.mark.parametrize("value", [-1, 0, 1])
@pytest.mark.parametrize(
    ("cls", "size", "padding", "pads"),
    [
        (Conv1d, (8,), ((2, 0),), (2, 0)),
        (Conv2d, (8, 7), ((0, 1), (2, 1)), (2, 1, 0, 1)),
        (Conv3d, (4, 5, 6), ((0, 1), (1, 0), (2, 3)), (2, 3, 1, 0, 0, 1)),
    ],
)
def test_pads_the_signs_on_each_side(cls, size, padding, pads, value):
    layer = cls(3, 5, 3, stride=2, padding=padding, padding_value=value, bias=False, bconfig=SIGNS)
    x = torch.randn(2, 3, *size)
    assert torch.equal(layer(x), padded_by_hand(layer, x, pads, value))


def test_equal_pairs_are_the_plain_padding():
    pairs = Conv2d(3, 5, 3, padding=((1, 1), (1, 1)), bconfig=SIGNS)
    plain = Conv2d(3, 5, 3, padding=1, bconfig=SIGNS)
    plain.load_state_dict(pairs.state_dict())
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(pairs(x), plain(x))


def test_the_input_scale_sees_the_pads():
    config = BConfig(BasicInputBinarizer, XNORScaleBinarizer)
    layer = Conv2d(2, 3, 3, stride=2, padding=((0, 1), (0, 1)), bconfig=config)
    assert layer.activation_post_process.pad == [0, 1, 0, 1]
    assert layer(torch.randn(1, 2, 8, 8)).shape == (1, 3, 4, 4)


@pytest.mark.parametrize("value", [-1, 0, 1])
def test_packs_exactly(value):
    layer = Conv2d(
        70, 33, 3, stride=2, padding=((0, 1), (1, 0)), padding_value=value, bias=False,
        bconfig=SIGNS,
    ).eval()  # fmt: skip
    x = torch.randn(2, 70, 8, 9)
    packed = bnn.pack(torch.nn.Sequential(layer), x)
    assert packed.report.can_be_saved
    assert torch.equal(packed(x), layer(x))
    assert torch.equal(PackedConv2d.from_module(layer)(x), layer(x))


def test_copies_pickles_and_conversions_keep_it():
    layer = Conv2d(2, 3, 3, stride=2, padding=((0, 1), (0, 1)), bconfig=SIGNS).eval()
    x = torch.randn(1, 2, 8, 8)
    again = Conv2d.from_module(
        layer, BConfig(BasicInputBinarizer, weight_pre_process=BasicInputBinarizer)
    )
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), again):
        assert torch.equal(other(x), layer(x))


@pytest.mark.parametrize(
    ("padding", "more", "message"),
    [
        (((0, 1),), {}, "one pair (before, after)"),
        (((0, 1), (0, 1, 2)), {}, "one pair (before, after)"),
        (((0, 1), 1), {}, "one pair (before, after)"),
        (((0, -1), (0, 1)), {}, "from 0"),
        (((0, 0.5), (0, 1)), {}, "one pair (before, after)"),
        (((0, 1), (0, 1)), {"padding_mode": "reflect"}, "padding_mode='zeros'"),
    ],
)
def test_bad_pairs_are_refused(padding, more, message):
    with pytest.raises(ConfigError, match="padding") as caught:
        Conv2d(2, 3, 3, padding=padding, bconfig=SIGNS, **more)
    assert message in str(caught.value)
