"""Floats with signs. Floats are added in no fixed order: a small bound on what rounds."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bnn.errors import PackedError
from bnn.packed import functional, layout
from bnn.packed.shapes import ConvShape

SEEDS = st.integers(0, 2**32)
EPS = torch.finfo(torch.float32).eps


def assert_sums(given_, exact, magnitude, taps):
    """The error of adding n floats, in any order, is at most (n - 1) * eps / 2 * sum(|x|)."""
    bound = magnitude * EPS * (taps + 2)
    assert given_.dtype == torch.float32
    assert ((given_.double() - exact).abs() <= bound + 1e-30).all()


@settings(max_examples=40)
@given(
    size=st.tuples(st.integers(0, 2), st.integers(1, 7), st.integers(1, 7)),
    groups=st.sampled_from((1, 1, 2, 3)),
    each=st.sampled_from((1, 3, 31, 33, 64, 65)),
    filters=st.sampled_from((1, 3, 8, 17, 33)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(*[st.integers(0, 3)] * 4),
    factors=st.tuples(st.booleans(), st.booleans()),
    seed=SEEDS,
)
def test_convolution(
    isa,
    size,
    groups,
    each,
    filters,
    kernel,
    stride,
    dilation,
    padding,
    factors,
    seed,
    signs,
    values,
):
    channels, out_channels = groups * each, groups * filters
    shape = ConvShape(*size, channels, out_channels, *kernel, *stride, *dilation, *padding, groups)
    assume(shape.out_h > 0 and shape.out_w > 0)
    x = values(size[0], channels, *size[1:], seed=seed, specials=False)
    weight = signs(out_channels, each, *kernel, seed=seed + 1)
    scale, bias = (
        values(out_channels, seed=seed + 2 + i, specials=False) if there else None
        for i, there in enumerate(factors)
    )
    top, bottom, left, right = padding
    padded = F.pad(x, (left, right, top, bottom)).double()

    def exact(x, w, scale, bias):
        out = F.conv2d(x, w.double(), None, stride, 0, dilation, groups)
        out = out if scale is None else out * scale.view(-1, 1, 1)
        return out if bias is None else out + bias.view(-1, 1, 1)

    truth = exact(padded, weight, scale, bias)
    magnitude = exact(
        padded.abs(), weight.abs(), *(None if v is None else v.abs() for v in (scale, bias))
    )
    words = layout.pack(weight)
    given_ = functional.weight_only_conv2d(
        x, words, scale, bias, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    assert_sums(given_, truth, magnitude, shape.taps_bits)
    oracle = layout.weight_only_conv2d(shape, x.movedim(1, -1), words, scale, bias)
    assert_sums(oracle.movedim(-1, 1), truth, magnitude, shape.taps_bits)


@settings(max_examples=40)
@given(
    lead=st.lists(st.integers(0, 5), max_size=3).map(tuple),
    k=st.integers(1, 300),
    out=st.integers(1, 70),
    seed=SEEDS,
)
def test_linear(isa, lead, k, out, seed, signs, values):
    x = values(*lead, k, seed=seed, specials=False)
    weight = signs(out, k, seed=seed + 1)
    scale = values(out, seed=seed + 2, specials=False)
    given_ = functional.weight_only_linear(x, functional.pack(weight), scale)
    exact = F.linear(x.double(), weight.double()) * scale
    assert_sums(given_, exact, F.linear(x.abs().double(), weight.abs().double()) * scale.abs(), k)


def test_integers_are_exact(isa, same, signs):
    x, weight = torch.randint(-8, 9, (2, 65, 6, 6)).float(), signs(33, 65, 3, 3)
    given_ = functional.weight_only_conv2d(x, functional.pack(weight), padding=1)
    same(given_, F.conv2d(x, weight, padding=1))


def test_memory_of_any_kind(isa, signs, values, same):
    x, weight = values(2, 33, 5, 6, specials=False), functional.pack(signs(8, 33, 3, 3))
    expected = functional.weight_only_conv2d(x, weight)
    same(functional.weight_only_conv2d(x.to(memory_format=torch.channels_last), weight), expected)
    same(functional.weight_only_conv2d(torch.stack([x, x], -1)[..., 0], weight), expected)


WEIGHT = torch.zeros(8, 3, 3, 1, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: functional.weight_only_conv2d(torch.zeros(1, 3, 2, 2), WEIGHT),
            "weight_only_conv2d: the kernel takes 3 of height",
        ),
        (lambda: functional.weight_only_conv2d(torch.zeros(3, 5, 5), WEIGHT), "(N, C, H, W) and"),
        (
            lambda: functional.weight_only_conv2d(torch.zeros(1, 65, 5, 5), WEIGHT),
            "weight has 1 words in its last axis; 65 input channels",
        ),
        (
            lambda: functional.weight_only_conv2d(torch.zeros(1, 3, 5, 5).half(), WEIGHT),
            "x is torch.float16; allowed: torch.float32",
        ),
        (
            lambda: functional.weight_only_conv2d(
                torch.zeros(1, 3, 5, 5), WEIGHT, bias=torch.zeros(3)
            ),
            "bias has shape (3,); one value for each channel is (8,)",
        ),
        (lambda: functional.weight_only_linear(torch.zeros(2, 3), WEIGHT), "(*, K) and (O, words)"),
        (lambda: functional.weight_only_linear(torch.tensor(1.0), WEIGHT[:, 0, 0]), "(*, K) and"),
    ],
)
def test_says_what_is_wrong(call, said):
    with pytest.raises(PackedError) as caught:
        call()
    assert said in str(caught.value)
