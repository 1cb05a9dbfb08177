"""Pooling: the oracle against torch, the kernels against the oracle."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bnn.errors import PackedError
from bnn.packed import functional, layout
from bnn.packed.checks import pool_shape

CHANNELS = (1, 3, 31, 33, 63, 64, 65, 100, 128, 129)
SEEDS = st.integers(0, 2**32)
pair = st.tuples(st.integers(1, 4), st.integers(1, 4))


@st.composite
def windows(draw, dilated=True):
    """Windows that torch allows: padded by at most half of their extent."""
    image, kernel, stride = (
        draw(st.tuples(st.integers(1, 9), st.integers(1, 9))),
        draw(pair),
        draw(pair),
    )
    dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 3))) if dilated else (1, 1)
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    for size, k, p, d in zip(image, kernel, padding, dilation, strict=True):
        assume(size + 2 * p >= d * (k - 1) + 1)
    options = {"kernel_size": kernel, "stride": stride, "padding": padding}
    return image, options | ({"dilation": dilation} if dilated else {}), draw(st.booleans())


def shape_of(x, options, ceil_mode):
    n, c, h, w = x.shape
    dilation = options.get("dilation", (1, 1))
    return pool_shape(
        "pool", (n, h, w, c), options["kernel_size"], options["stride"], options["padding"],
        dilation, ceil_mode,
    )  # fmt: skip


@settings(max_examples=60)
@given(window=windows(), batch=st.integers(0, 2), channels=st.sampled_from(CHANNELS), seed=SEEDS)
def test_max_pool_equals_torch(isa, window, batch, channels, seed, signs, same):
    image, options, ceil_mode = window
    x = signs(max(batch, 1), channels, *image, seed=seed)
    expected = F.max_pool2d(x, **options, ceil_mode=ceil_mode)
    assume(not expected.isinf().any())
    x, expected = x[:batch], layout.pack(expected[:batch])
    shape = shape_of(x, options, ceil_mode)
    same(layout.max_pool2d(shape, layout.pack(x)), expected)
    words = functional.pack(x)
    same(functional.max_pool2d(words, channels, **options, ceil_mode=ceil_mode), expected)


@settings(max_examples=60)
@given(window=windows(), seed=SEEDS)
def test_window_in_the_padding_alone_is_refused_where_torch_gives_infinity(window, seed, signs):
    image, options, ceil_mode = window
    x = signs(1, 3, *image, seed=seed)
    infinite = F.max_pool2d(x, **options, ceil_mode=ceil_mode).isinf().any()
    try:
        functional.max_pool2d(functional.pack(x), 3, **options, ceil_mode=ceil_mode)
    except PackedError as error:
        assert infinite
        assert "leaves a window without a pixel" in str(error)
    else:
        assert not infinite


@settings(max_examples=60)
@given(
    window=windows(dilated=False),
    batch=st.integers(0, 2),
    channels=st.sampled_from((1, 3, 8, 17, 33)),
    counted=st.booleans(),
    seed=SEEDS,
)
def test_avg_pool_equals_torch(isa, window, batch, channels, counted, seed, values, same):
    image, options, ceil_mode = window
    x = values(batch, channels, *image, seed=seed, specials=seed % 2 == 0)
    try:
        given_ = functional.avg_pool2d(x, **options, ceil_mode=ceil_mode, count_include_pad=counted)
    except PackedError as error:
        assert "windows that end behind the padding" in str(error)
        assert counted
        assert ceil_mode
        return
    expected = F.avg_pool2d(x, **options, ceil_mode=ceil_mode, count_include_pad=counted)
    shape = shape_of(x, options, ceil_mode)
    inside = counted and any(options["padding"])
    same(given_, layout.avg_pool2d(shape, x.movedim(1, -1), inside).movedim(-1, 1))
    torch.testing.assert_close(given_, expected, equal_nan=True)


@settings(max_examples=60)
@given(
    size=st.tuples(st.integers(0, 3), st.integers(1, 20), st.integers(1, 20)),
    channels=st.sampled_from(CHANNELS),
    seed=SEEDS,
)
def test_global_avg_pool_is_exact_sum_divided_once(isa, size, channels, seed, signs, same):
    batch, height, width = size
    x = signs(batch, channels, height, width, seed=seed)
    words = functional.pack(x)
    expected = x.sum((2, 3)) / (height * width)
    same(layout.global_avg_pool(words, channels), expected)
    same(functional.global_avg_pool(words, channels), expected)


def test_global_avg_pool_of_many_pixels(isa, same):
    x = -torch.ones(1, 65, 300, 301, dtype=torch.int8)
    x[0, 3, 7, 9] = 1
    words = functional.pack(x)
    same(functional.global_avg_pool(words, 65), layout.global_avg_pool(words, 65))


WORDS = torch.zeros(1, 4, 4, 1, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: functional.max_pool2d(WORDS, 64, 5), "max_pool2d: the kernel takes 5 of height"),
        (lambda: functional.max_pool2d(WORDS, 64, 2, padding=2), "a window without a pixel"),
        (lambda: functional.max_pool2d(WORDS, 64, 0), "kernel_size is [0, 0]; each must be from 1"),
        (lambda: functional.max_pool2d(WORDS, 64, 2, stride=0), "stride is [0, 0]"),
        (lambda: functional.max_pool2d(WORDS, 64, 2, padding=-1), "padding is [-1, -1]"),
        (lambda: functional.max_pool2d(WORDS, 65, 2), "65 channels take 2"),
        (lambda: functional.max_pool2d(WORDS[0], 64, 2), "it must be (N, H, W, words)"),
        (lambda: functional.max_pool2d(WORDS, 64, 2**20, padding=2**19), "a window has at most"),
        (lambda: functional.global_avg_pool(WORDS[:, :0], 64), "so no pixels"),
        (lambda: functional.global_avg_pool(WORDS.int(), 64), "x is torch.int32"),
        (lambda: functional.avg_pool2d(torch.zeros(4, 4), 2), "it must be (N, C, H, W)"),
        (lambda: functional.avg_pool2d(torch.zeros(1, 1, 4, 4).half(), 2), "x is torch.float16"),
        (lambda: functional.avg_pool2d(torch.zeros(1, 1, 4, 4), (2,)), "kernel_size is (2,)"),
    ],
)
def test_says_what_is_wrong(call, said):
    with pytest.raises(PackedError) as caught:
        call()
    assert said in str(caught.value)
