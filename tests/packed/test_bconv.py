"""Binary convolution: the oracle against torch, the kernels against the oracle; exact."""

from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from bnn.errors import PackedError
from bnn.packed import functional, layout
from bnn.packed.shapes import ConvShape

CHANNELS = (1, 3, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129)
SEEDS = st.integers(0, 2**32)


class Layer(NamedTuple):
    batch: int
    image: tuple
    channels: int
    out_channels: int
    kernel: tuple
    stride: tuple = (1, 1)
    padding: tuple = (0, 0, 0, 0)
    dilation: tuple = (1, 1)
    groups: int = 1
    pad_value: int = 0

    @property
    def shape(self):
        return ConvShape(
            self.batch, *self.image, self.channels, self.out_channels, *self.kernel, *self.stride,
            *self.dilation, *self.padding, self.groups, self.pad_value,
        )  # fmt: skip

    @property
    def options(self):
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
            "pad_value": self.pad_value,
        }


# The shapes of real layers, and those in which something has once gone wrong.
NAMED = {
    "3x3": Layer(1, (14, 14), 256, 64, (3, 3), padding=(1, 1, 1, 1)),
    "3x3 stride 2": Layer(2, (15, 15), 128, 96, (3, 3), (2, 2), (1, 1, 1, 1)),
    "1x1": Layer(1, (7, 9), 256, 128, (1, 1)),
    "1x1 padded": Layer(1, (3, 3), 65, 33, (1, 1), padding=(1, 1, 2, 0)),
    "5x5": Layer(1, (9, 9), 100, 100, (5, 5), padding=(2, 2, 2, 2)),
    "7x7 stride 2": Layer(1, (21, 21), 3, 64, (7, 7), (2, 2), (3, 3, 3, 3)),
    "dilation 2": Layer(1, (9, 9), 64, 64, (3, 3), padding=(2, 2, 2, 2), dilation=(2, 2)),
    "dilation over all": Layer(1, (3, 3), 64, 8, (3, 3), padding=(6, 6, 6, 6), dilation=(6, 6)),
    "groups 4": Layer(1, (14, 14), 256, 256, (3, 3), padding=(1, 1, 1, 1), groups=4),
    "groups of 3": Layer(2, (5, 5), 33, 11, (3, 3), padding=(1, 1, 1, 1), groups=11),
    "depthwise": Layer(1, (14, 14), 129, 129, (3, 3), padding=(1, 1, 1, 1), groups=129),
    "depthwise of 5 words": Layer(2, (4, 5), 300, 300, (3, 3), padding=(1, 1, 1, 1), groups=300),
    "depthwise stride 2": Layer(2, (9, 9), 64, 64, (5, 5), (2, 2), (2, 2, 2, 2), groups=64),
    "one pixel": Layer(1, (1, 1), 1, 1, (1, 1)),
    "one pixel in padding": Layer(1, (1, 1), 65, 3, (3, 3), padding=(1, 1, 1, 1)),
    "kernel as large as the image": Layer(1, (6, 5), 64, 10, (6, 5)),
    "kernel larger than the image": Layer(1, (2, 2), 64, 10, (5, 5), padding=(2, 2, 2, 2)),
    "padding alone": Layer(1, (2, 2), 3, 4, (2, 2), padding=(5, 5, 5, 5)),
    "stride over the image": Layer(1, (3, 3), 3, 4, (1, 1), (7, 7), (4, 4, 4, 4)),
    "no batch": Layer(0, (5, 5), 64, 10, (3, 3)),
    "one filter": Layer(1, (5, 5), 64, 1, (3, 3)),
    "one channel, stride (1, 2)": Layer(2, (3, 1), 1, 1, (3, 3), (1, 2), (0, 1, 0, 2)),
    "one row": Layer(1, (1, 50), 33, 7, (1, 9), padding=(0, 0, 8, 0)),
}


def pairs(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def layers(draw):
    groups = draw(st.sampled_from((1, 1, 1, 2, 3, 5)))
    few = (1, 3, 31, 32, 33, 63, 64, 65)
    channels = draw(st.sampled_from(CHANNELS if groups == 1 else few))
    out_channels = draw(st.sampled_from(CHANNELS if groups == 1 else (1, 3, 31, 33)))
    if draw(st.integers(0, 4)) == 0:  # depthwise, or each channel in several filters
        groups, channels = draw(st.sampled_from(CHANNELS)), 1
        out_channels = draw(st.sampled_from((1, 1, 2)))
    layer = Layer(
        draw(st.integers(0, 3)),
        draw(pairs(1, 9)),
        channels * groups,
        out_channels * groups,
        draw(pairs(1, 4)),
        draw(pairs(1, 3)),
        draw(st.tuples(*[st.integers(0, 4)] * 4)),
        draw(pairs(1, 3)),
        groups,
        draw(st.sampled_from((0, -1, 1))),
    )
    assume(layer.shape.out_h > 0 and layer.shape.out_w > 0)
    return layer


def tensors(layer, signs, seed):
    x = signs(layer.batch, layer.channels, *layer.image, seed=seed)
    weight = signs(layer.out_channels, layer.channels // layer.groups, *layer.kernel, seed=seed + 1)
    return x, weight


def by_torch(layer, x, weight):
    top, bottom, left, right = layer.padding
    padded = F.pad(x, (left, right, top, bottom), value=layer.pad_value)
    out = F.conv2d(padded, weight, None, layer.stride, 0, layer.dilation, layer.groups)
    return out.to(torch.int32)


@settings(max_examples=40)
@given(layer=layers(), seed=SEEDS)
@example(layer=NAMED["one channel, stride (1, 2)"], seed=0)
def test_layout_equals_torch(layer, seed, signs, same):
    x, weight = tensors(layer, signs, seed)
    sums = layout.bconv2d(layer.shape, layout.pack(x), layout.pack(weight))
    same(sums.movedim(-1, 1), by_torch(layer, x, weight))


@pytest.mark.parametrize("pad_value", [0, -1, 1])
@pytest.mark.parametrize("name", NAMED)
def test_named_layers(isa, name, pad_value, signs, same):
    layer = NAMED[name]._replace(pad_value=pad_value)
    x, weight = tensors(layer, signs, seed=0)
    given_ = functional.bconv2d(
        functional.pack(x), functional.pack(weight), layer.channels, output="int32", **layer.options
    )
    same(given_, by_torch(layer, x, weight))


@settings(max_examples=40)
@given(layer=layers(), seed=SEEDS)
@example(layer=NAMED["padding alone"], seed=0)
def test_sums(isa, layer, seed, signs, same):
    x, weight = (layout.pack(t) for t in tensors(layer, signs, seed))
    given_ = functional.bconv2d(x, weight, layer.channels, output="int32", **layer.options)
    same(given_, layout.bconv2d(layer.shape, x, weight).movedim(-1, 1))


@settings(max_examples=40)
@given(layer=layers(), seed=SEEDS)
def test_outputs_agree(isa, layer, seed, signs, same):
    x, weight = (layout.pack(t) for t in tensors(layer, signs, seed))

    def run(output):
        return functional.bconv2d(x, weight, layer.channels, output=output, **layer.options)

    sums, floats, bits, both = map(run, ("int32", "float", "bits", "float_and_bits"))
    same(floats, sums.float())
    same(bits, layout.pack(floats))
    same(both[0], floats)
    same(both[1], bits)
    if floats.numel():
        assert floats.is_contiguous(memory_format=torch.channels_last)


@settings(max_examples=40)
@given(layer=layers(), seed=SEEDS)
def test_one_dimension_is_two_with_height_one(isa, layer, seed, signs, same):
    layer = layer._replace(
        image=(1, layer.image[1]),
        kernel=(1, layer.kernel[1]),
        padding=(0, 0, *layer.padding[2:]),
        stride=(1, layer.stride[1]),
        dilation=(1, layer.dilation[1]),
    )
    x, weight = (layout.pack(t) for t in tensors(layer, signs, seed))
    flat = {k: v[-1:] for k, v in layer.options.items() if k in ("stride", "dilation")}
    options = {**layer.options, **flat, "padding": layer.padding[2:]}
    given_ = functional.bconv1d(x[:, 0], weight[:, 0], layer.channels, output="int32", **options)
    same(given_, layout.bconv2d(layer.shape, x, weight)[:, 0].movedim(-1, 1))


@pytest.mark.parametrize("channels", [7281, 7282, 8192, 14600])  # 9 taps: beyond 16 bits
@pytest.mark.parametrize("sign", [1, -1])
def test_sums_beyond_sixteen_bits(isa, channels, sign, same):
    x, weight = torch.ones(1, channels, 4, 3), torch.full((3, channels, 3, 3), float(sign))
    weight[1, 0] = -sign
    layer = Layer(1, (4, 3), channels, 3, (3, 3), padding=(1, 1, 1, 1))
    given_ = functional.bconv2d(
        functional.pack(x), functional.pack(weight), channels, padding=1, output="int32"
    )
    same(given_, by_torch(layer, x, weight))
    assert given_.abs().max() == 9 * channels


def test_memory_of_any_kind(isa, signs, same):
    layer = NAMED["3x3 stride 2"]
    x, weight = (layout.pack(t) for t in tensors(layer, signs, 0))
    expected = layout.bconv2d(layer.shape, x, weight).movedim(-1, 1)
    spread_x, spread_w = (torch.stack([t, t], -1)[..., 1] for t in (x, weight))
    options = {**layer.options, "output": "int32"}
    same(functional.bconv2d(spread_x, spread_w, layer.channels, **options), expected)
    turned = x.transpose(0, 2).contiguous().transpose(0, 2)
    same(functional.bconv2d(turned, weight, layer.channels, **options), expected)


WORDS = torch.zeros(1, 4, 4, 2, dtype=torch.int64)
WEIGHT = torch.zeros(8, 3, 3, 2, dtype=torch.int64)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"x": WORDS[0]}, "x has shape (4, 4, 2); it must be (N, H, W, words)"),
        ({"x": WORDS.float()}, "x is torch.float32; allowed: torch.int64"),
        ({"x": None}, "x is a NoneType; give a tensor"),
        ({"x": WORDS[..., :1]}, "x has 1 words in its last axis; 100 channels take 2"),
        ({"weight": WEIGHT[..., :1]}, "weight has 1 words in its last axis; 100 input channels"),
        ({"weight": WEIGHT[0]}, "weight has shape (3, 3, 2); it must be (O, kh, kw, words)"),
        ({"weight": WEIGHT[:0]}, "0 out channels in 1 groups"),
        ({"channels": 0}, "channels is 0; it must be at least 1"),
        ({"channels": 129}, "x has 2 words in its last axis; 129 channels take 3"),
        ({"channels": "100"}, "channels is '100'; give an int"),
        ({"stride": 0}, "stride is [0, 0]; each must be from 1"),
        ({"stride": (1, 2, 3)}, "stride is (1, 2, 3); give one or 2"),
        ({"stride": 1.5}, "stride is 1.5; give one or 2"),
        ({"padding": -1}, "padding is [-1, -1, -1, -1]; each must be from 0"),
        ({"padding": "same"}, "padding is 'same'; give one number, two or four"),
        ({"padding": (1, 2, 3)}, "padding is (1, 2, 3); give one number, two or four"),
        ({"dilation": 4}, "the kernel takes 9 of height, dilation included, but x has 4"),
        ({"weight": WEIGHT.repeat(1, 2, 1, 1)}, "the kernel takes 6 of height"),
        ({"dilation": 0}, "dilation is [0, 0]; each must be from 1"),
        ({"groups": 3}, "100 channels in 3 groups; groups must divide the channels"),
        ({"groups": 0}, "100 channels in 0 groups"),
        ({"pad_value": 2}, "pad_value is 2; allowed: -1, 0, 1"),
        ({"pad_value": 0.5}, "pad_value is 0.5; give an int"),
        ({"output": "half"}, "output is 'half'; allowed: ('int32', 'float', 'bits'"),
        ({"output": 3}, "output is 3; give a name"),
        ({"epilogue": {}}, "epilogue is a dict; give an Epilogue"),
        ({"x": WORDS[:, :0]}, "the height of image and kernel must be at least 1"),
        ({"padding": 2**40}, "padding is 1099511627776; no layer is that large"),
        ({"padding": 2**20, "stride": 2**20, "pad_value": 1}, "GiB of working memory"),
        ({"weight": WEIGHT - 1}, "weight has bits beyond its 100 channels"),
    ],
)
def test_says_what_is_wrong(changes, said):
    arguments = {"x": WORDS, "weight": WEIGHT, "channels": 100, **changes}
    with pytest.raises(PackedError) as caught:
        functional.bconv2d(**arguments)
    assert said in str(caught.value)


def test_one_dimension_says_what_is_wrong():
    with pytest.raises(
        PackedError, match="bconv1d: padding is .*; give one number, .before, after"
    ):
        functional.bconv1d(WORDS[0], WEIGHT[0], 100, padding=(1, 2, 3))
    with pytest.raises(PackedError, match="bconv1d: weight has shape .* it must be .O, k, words"):
        functional.bconv1d(WORDS[0], WEIGHT, 100)
